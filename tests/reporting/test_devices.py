"""The page of several devices: its table, what is escaped, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from compress.errors import BundleError, CompressError
from compress.reporting.devices import render_devices, tabulate, write_devices


def line(model: str, batch: int, median: float) -> dict[str, Any]:
    times = {"median_ms": median, "p95_ms": 2 * median, "low_ms": 0.9 * median, "high_ms": 1.1 * median, "samples_per_s": 1000 / median}
    return {
        "model": model,
        "precision": model[:4],
        "sha256": model.ljust(64, "0"),
        "size_bytes": 4_000_000,
        "batch": batch,
        "rounds": 200,
        **times,
    }


def measured(name: str, lines: list[dict[str, Any]], clocks: tuple[float, float] | None = None) -> dict[str, Any]:
    sensors = [{"clocks_mhz": {"cpu0": clock, "cpu1": clock - 100}, "temperatures_c": {}} for clock in clocks or ()]
    before, after = sensors or [{"clocks_mhz": {}, "temperatures_c": {}}] * 2
    return {
        "schema": 1,
        "kind": "measurements",
        "bundle": "ab" * 32,
        "device": {"name": name, "machine": "aarch64", "cores": 4, "flags": ["asimd", "asimddp"]},
        "runtime": {"name": "onnxruntime_cpu", "version": "onnxruntime 1.23.0"},
        "threads": 1,
        "sensors": {"before": before, "after": after},
        "measurements": lines,
    }


BOARD = measured("Board", [line("fp32", 8, 30.0), line("fp32", 1, 4.0), line("int8", 1, 2.0)], (1500.0, 600.0))
LAPTOP = measured("Laptop", [line("fp32", 1, 1.0), line("int8", 1, 1.5)])


def test_the_table_is_by_batch_and_model_with_a_cell_for_each_device() -> None:
    rows = tabulate([BOARD, LAPTOP])
    assert [(row["batch"], row["model"]) for row in rows] == [(1, "fp32"), (1, "int8"), (8, "fp32")]
    assert [[cell and cell["median_ms"] for cell in row["cells"]] for row in rows] == [[4.0, 1.0], [2.0, 1.5], [30.0, None]]


def test_the_fastest_is_marked_for_each_device_where_there_is_a_choice() -> None:
    rows = tabulate([BOARD, LAPTOP])
    assert [[cell and cell["fastest"] for cell in row["cells"]] for row in rows] == [[False, True], [True, False], [False, None]]


def test_models_of_one_name_but_another_file_are_rows_of_their_own() -> None:
    other = measured("Other", [{**line("fp32", 1, 1.0), "sha256": "f" * 64}])
    assert [row["sha256"][:4] for row in tabulate([LAPTOP, other])] == ["fp32", "int8", "ffff"]


def test_the_page_shows_times_devices_and_a_falling_clock() -> None:
    page = render_devices([BOARD, LAPTOP], name="mine", sources=["a.json", "b.json"])
    text = re.sub(r"<[^>]+>", " ", page)
    assert "mine on 2 devices" in text
    assert "4.00 / 8.00" in text and "3.60 – 4.40, 200 rounds" in text
    assert text.count("unmeasured") == 1
    assert "1500 – 600" in text  # the highest clock before and after
    assert "a.json" in text and "asimd, asimddp" in text and "4.00 MB" in text
    assert not re.search(r'(?:src|href)="', page)  # self-contained


def test_the_page_escapes_what_a_device_calls_itself() -> None:
    page = render_devices([measured("<script>alert(1)</script>", LAPTOP["measurements"])], name="<b>", sources=["<i>"])
    assert "<script>" not in page and "<i>" not in page and "&lt;script&gt;" in page


def test_a_page_that_cannot_be_written_is_named(bundle: Path, tmp_path: Path) -> None:
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    same = {**line("fp32", 1, 1.0), "sha256": files["model.onnx"]["sha256"]}
    (tmp_path / "a.json").write_text(json.dumps(measured("Board", [same])))
    write_devices(tmp_path / "page.html", bundle, [tmp_path / "a.json"])
    assert "<title>tiny on devices" in (tmp_path / "page.html").read_text()
    with pytest.raises(CompressError, match="cannot be written .*--out"):
        write_devices(tmp_path / "none" / "page.html", bundle, [tmp_path / "a.json"])


def test_measurements_of_another_bundle_are_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(BOARD))
    with pytest.raises(BundleError, match=r"a\.json: measured another bundle"):
        write_devices(tmp_path / "page.html", bundle, [tmp_path / "a.json"])
    assert not (tmp_path / "page.html").exists()
