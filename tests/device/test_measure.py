"""What the runner measures of a bundle, and where it writes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.device.contents import read_bundle
from compress.device.errors import DeviceError
from compress.device.measure import bench

OPTIONS = {"rounds": 5, "warmup": 1, "threads": 1, "runtime": "onnxruntime_cpu"}


def test_bench_writes_every_model_and_batch(bundle: Path) -> None:
    opened = read_bundle(bundle)
    result = bench(opened, list(opened.models), batches=[1, 32], **OPTIONS)
    assert json.loads((bundle / "measurements.json").read_text()) == result
    lines = {(line["model"], line["batch"]): line for line in result["measurements"]}
    assert list(lines) == [("fp32", 1), ("int8_qat", 1), ("fp32", 32), ("int8_qat", 32)]
    assert all(0 < line["low_ms"] <= line["median_ms"] <= line["high_ms"] for line in lines.values())
    assert result["bundle"] == opened.identity
    assert result["device"]["name"] and result["runtime"]["version"].startswith("onnxruntime ")
    assert set(result["sensors"]) == {"before", "after"}
    assert [(how["batch"], how["warmup"] >= 1, how["noise"] >= 0) for how in result["timing"]] == [(1, True, True), (32, True, True)]


@pytest.mark.parametrize("batch", [0, 33])
def test_bench_refuses_a_batch_that_the_model_does_not_take(bundle: Path, batch: int) -> None:
    opened = read_bundle(bundle)
    with pytest.raises(DeviceError, match=f"batch {batch} is outside 1 to 32"):
        bench(opened, list(opened.models), batches=[batch], **OPTIONS)


def test_bench_names_a_place_that_cannot_be_written(bundle: Path, tmp_path: Path) -> None:
    opened = read_bundle(bundle)
    with pytest.raises(DeviceError, match="cannot be written .*--out"):
        bench(opened, list(opened.models), batches=[1], out=tmp_path / "none" / "x.json", **OPTIONS)
