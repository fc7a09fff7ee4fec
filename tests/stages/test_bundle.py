"""What stands in a bundle, that it is the same each time, and what is refused before anything ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compress.device.golden import read_golden
from compress.device.manifest import hash_file, verify_folder
from compress.device.sessions import open_session
from compress.errors import BundleError
from compress.io_spec import IOSpec
from compress.stages.bundle import write_bundle


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_bundle_holds_everything_a_device_needs(bundle: Path) -> None:
    files = names(bundle)
    assert [name for name in files if not name.startswith("device/")] == [
        "README.md",
        "engine.json",
        "golden.npz",
        "io_spec.json",
        "labels.json",
        "manifest.json",
        "model.onnx",
        "model_card.md",
        "models.json",
        "models/int8_qat.onnx",
        "recipe.yaml",
        "requirements.txt",
        "run.py",
        "tokenizer.json",
    ]
    assert {"device/__init__.py", "device/main.py", "device/sessions.py"} <= set(files)
    assert "device/run_entry.py" not in files


def test_bundle_is_byte_identical_when_built_twice(tmp_path: Path, bundle_arguments, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_bundle(tmp_path / "a", **bundle_arguments())
    monkeypatch.setattr("time.time", lambda: 2e9)
    second = write_bundle(tmp_path / "b", **bundle_arguments())
    assert first == second
    assert names(tmp_path / "a") == names(tmp_path / "b")
    for name in names(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_bundle_verifies_and_reports_what_it_is(tmp_path: Path, bundle_arguments) -> None:
    result = write_bundle(tmp_path / "a", **bundle_arguments())
    manifest = verify_folder(tmp_path / "a")
    assert result["files"] == len(manifest["files"])
    assert result["size_bytes"] == sum((tmp_path / "a" / name).stat().st_size for name in manifest["files"])
    assert result["manifest_sha256"] == hash_file(tmp_path / "a" / "manifest.json")
    assert result["golden"]["fp32"]["agreement"] == 1.0


def test_bundle_of_one_golden_row_verifies(tmp_path: Path, bundle_arguments) -> None:
    arguments = bundle_arguments()
    one_row = {name: array[:1] for name, array in arguments["golden"].items()}
    result = write_bundle(tmp_path / "a", **{**arguments, "golden": one_row})
    assert result["golden"]["fp32"]["samples"] == 1
    verify_folder(tmp_path / "a")


def test_bundle_lists_every_model_with_its_hash(bundle: Path) -> None:
    table = json.loads((bundle / "models.json").read_text())
    assert table["chosen"] == "fp32"
    for line in table["models"]:
        assert line["sha256"] == hash_file(bundle / line["file"])
        assert line["size_bytes"] == (bundle / line["file"]).stat().st_size


def test_bundle_keeps_the_answers_of_every_model(bundle: Path) -> None:
    arrays = read_golden(bundle / "golden.npz")
    assert sorted(arrays) == ["image", "labels", "logits", "logits.int8_qat", "text"]
    assert 0 < np.abs(arrays["logits"] - arrays["logits.int8_qat"]).max()


def test_bundle_ships_the_chosen_model_as_model_onnx(tmp_path: Path, bundle_arguments) -> None:
    arguments = {**bundle_arguments(), "chosen": "int8_qat"}
    feeds = {name: arguments["golden"][name] for name in ("image", "text")}
    arguments["golden"]["logits"] = open_session(arguments["models"]["int8_qat"]).run(feeds)["logits"]
    write_bundle(tmp_path / "a", **arguments)
    assert hash_file(tmp_path / "a" / "model.onnx") == hash_file(arguments["models"]["int8_qat"])
    assert hash_file(tmp_path / "a" / "models" / "fp32.onnx") == hash_file(arguments["models"]["fp32"])


def test_bundle_keeps_the_ports(bundle: Path, bundle_arguments) -> None:
    assert IOSpec.load(bundle / "io_spec.json") == bundle_arguments()["io_spec"]


def test_engine_json_gives_the_trtexec_lines(bundle: Path) -> None:
    engine = json.loads((bundle / "engine.json").read_text())
    shapes = "--minShapes=image:1x8x8x3,text:1x6 --optShapes=image:4x8x8x3,text:4x6 --maxShapes=image:32x8x8x3,text:32x6"
    line = f"trtexec --onnx=model.onnx --saveEngine=engines/fp32.engine {shapes}"
    line += " --memPoolSize=workspace:64M --timingCacheFile=engines/timing.cache"
    assert engine["trtexec"] == {"10": f"{line} --stronglyTyped", "11": line}
    assert engine["onnx_sha256"] == hash_file(bundle / "model.onnx")
    assert engine["profiles"]["text"] == {"min": [1, 6], "opt": [4, 6], "max": [32, 6]}


def test_engine_json_is_left_out_without_engine(tmp_path: Path, bundle_arguments) -> None:
    write_bundle(tmp_path / "a", **{**bundle_arguments(), "engine": None})
    assert not (tmp_path / "a" / "engine.json").exists()


def test_model_card_gives_quality_with_samples_and_interval(bundle: Path) -> None:
    card = (bundle / "model_card.md").read_text()
    # Wilson interval of 197 of 200 at 95 %: 95.68 to 99.49 %
    assert "| shipped | 98.50% | 95.68% to 99.49% | 200 |" in card
    assert "| teacher | not recorded | | |" in card
    assert "| easy-vqa | data | MIT | PyPI |" in card
    assert "image uint8 8x8x3, text int64 6" in card


def test_model_card_refuses_percent(tmp_path: Path, bundle_arguments) -> None:
    with pytest.raises(BundleError, match="shipped_accuracy is 98.5; give it as a fraction"):
        write_bundle(tmp_path / "a", **{**bundle_arguments(), "summary": {"samples": 200, "shipped_accuracy": 98.5}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chosen": "fp16"}, "'fp16' is not among fp32, int8_qat"),
        ({"models": {"fp32": Path("/none.onnx")}}, "none.onnx is missing"),
        ({"models": {"best": Path("/none.onnx")}, "chosen": "best"}, "'best' does not start with its precision"),
        ({"labels": ["no", "yes"]}, "2 labels, but the model has 4 outputs"),
        ({"assets": []}, "needs .*tokenizer.json.*, found none"),
        ({"engine": {"model": "int4"}}, "engine.model is 'int4'"),
    ],
)
def test_bundle_refuses_arguments_that_do_not_fit(tmp_path: Path, bundle_arguments, changes: dict, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "a", **{**bundle_arguments(), **changes})


def test_bundle_refuses_a_folder_with_files(tmp_path: Path, bundle_arguments) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("")
    with pytest.raises(BundleError, match="holds files already"):
        write_bundle(tmp_path / "a", **bundle_arguments())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda golden: {name: array[:0] for name, array in golden.items()}, "no golden samples"),
        (lambda golden: {**golden, "image": golden["image"][:, :4]}, r"golden array 'image' is uint8 \(20, 4, 8, 3\)"),
        (lambda golden: {**golden, "text": golden["text"].astype(np.int32)}, "golden array 'text' is int32"),
        (lambda golden: {"image": golden["image"]}, "golden array 'text' is missing"),
        (lambda golden: {**golden, "logits": golden["logits"] + 1}, "logits differ"),
    ],
    ids=["none", "shape", "dtype", "missing", "other answers"],
)
def test_bundle_refuses_golden_samples_that_prove_nothing(tmp_path: Path, bundle_arguments, change, message: str) -> None:
    arguments = bundle_arguments()
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "a", **{**arguments, "golden": change(arguments["golden"])})


def test_bundle_refuses_a_model_with_other_ports(tmp_path: Path, bundle_arguments) -> None:
    image_only = bundle_arguments(("image",))["models"]["int8_qat"].read_bytes()
    arguments = bundle_arguments()
    arguments["models"]["int8_qat"].write_bytes(image_only)
    with pytest.raises(BundleError, match=r"model 'int8_qat' reads \['image'\]"):
        write_bundle(tmp_path / "a", **arguments)


def test_bundle_refuses_a_file_that_is_no_model(tmp_path: Path, bundle_arguments) -> None:
    arguments = bundle_arguments()
    arguments["models"]["int8_qat"].write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"int8_qat\.onnx: ONNX Runtime .* cannot open"):
        write_bundle(tmp_path / "a", **arguments)
