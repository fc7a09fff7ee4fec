"""The commands of run.py: what they print, and how they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.device.main import main
from compress.device.manifest import MANIFEST
from compress.stages.bundle import write_bundle

QUESTION = ["--question", "what colour is the square ?"]


def test_predict_prints_label_probability_and_the_three_best(bundle: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--image", str(picture), *QUESTION], folder=bundle) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    label, probability = lines[0].split()
    assert lines[1].split() == [probability, label]


def test_predict_prints_one_line_of_json(bundle: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--image", str(picture), *QUESTION, "--json", "--model", "int8_qat"], folder=bundle) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"label", "probability", "top", "model"}
    assert answer["model"] == "int8_qat"
    assert len(answer["top"]) == 3


def test_predict_asks_for_inputs_alone_and_says_what_was_missing(
    tmp_path: Path, bundle_arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path / "gaps", **bundle_arguments(("image", "text", "present")))
    assert main(["predict", *QUESTION], folder=tmp_path / "gaps") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "answered without image"
    with pytest.raises(SystemExit):
        main(["predict", *QUESTION, "--present", "1 1"], folder=tmp_path / "gaps")


def test_explain_prints_the_answer_and_a_line_for_each_input(bundle: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--image", str(picture), *QUESTION], folder=bundle) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and {line.split()[0] for line in lines[1:]} == {"image", "text"}


def test_verify_reports_hashes_and_golden_answers(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--json"], folder=bundle) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["files"] == len(json.loads((bundle / MANIFEST).read_text())["files"])
    assert result["signature"] == "none"
    assert result["golden"].keys() == {"fp32", "int8_qat"}
    assert result["golden"]["fp32"] == {"max_difference": pytest.approx(0, abs=1e-5), "agreement": 1.0, "samples": 20}


def test_verify_ends_with_9_for_a_changed_file(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "recipe.yaml").write_text("name: evil\n")
    assert main(["verify"], folder=bundle) == 9
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "recipe.yaml" in error
    assert error.count("\n") == 1


def test_verify_ends_with_7_for_other_answers(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--tolerance", "-1"], folder=bundle) == 7
    assert "logits differ" in capsys.readouterr().err


def test_verify_checks_the_signature_first(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization", reason="signatures need cryptography")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from compress.device.signature import sign_manifest

    keys = [Ed25519PrivateKey.generate() for _ in range(2)]
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    sign_manifest(bundle, keys[0].private_bytes(*plain))
    for name, key in zip(["right", "wrong"], keys, strict=True):
        public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / name).write_bytes(public)
    assert main(["verify"], folder=bundle) == 0
    assert "signature: not checked: give --key" in capsys.readouterr().out
    assert main(["verify", "--key", str(tmp_path / "right")], folder=bundle) == 0
    assert "signature: verified" in capsys.readouterr().out
    assert main(["verify", "--key", str(tmp_path / "wrong")], folder=bundle) == 9
    assert "wrong key" in capsys.readouterr().err
    assert main(["verify", "--key", str(tmp_path / "none")], folder=bundle) == 1
    assert "check --key" in capsys.readouterr().err


def test_bench_writes_measurements_and_leaves_the_bundle_verified(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--batches", "1", "2", "--rounds", "3", "--warmup", "1"], folder=bundle) == 0
    assert capsys.readouterr().out.count("median") == 4
    assert len(json.loads((bundle / "measurements.json").read_text())["measurements"]) == 4
    assert main(["verify"], folder=bundle) == 0


def test_info_names_models_device_and_runtimes(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"], folder=bundle) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["models"] == ["fp32", "int8_qat"]
    assert result["inputs"] == {"image": ["uint8", 8, 8, 3], "text": ["int64", 6]}
    assert result["runtimes"]["onnxruntime_cpu"] is None
    assert main(["info"], folder=bundle) == 0
    assert "onnxruntime_cpu: available" in capsys.readouterr().out


def test_build_engine_is_refused_with_the_reason(bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["build-engine", "--flavour", "tensorrt"], folder=bundle) == 8
    assert "tensorrt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", *QUESTION], "give --image"),
        (["predict", "--image", "none.png", *QUESTION], "none.png: missing file"),
        (["predict", "--image", "PICTURE", "--question", ""], "the question is empty"),
        (["predict", "--image", "PICTURE", *QUESTION, "--model", "int4"], "unknown model 'int4'"),
        (["bench", "--batches", "64"], "batch 64 is outside 1 to 32"),
    ],
)
def test_unusable_input_ends_with_1_and_one_line(
    bundle: Path, picture: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([str(picture) if word == "PICTURE" else word for word in arguments], folder=bundle) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["bench", "--rounds", "0"], ["predict", "--runtime", "tflite"], ["verify", "--mod", "x"]]
)
def test_wrong_usage_ends_with_2(bundle: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, folder=bundle)
    assert ended.value.code == 2


def test_folder_without_manifest_ends_with_9(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"], folder=tmp_path) == 9
    assert "not a bundle" in capsys.readouterr().err
