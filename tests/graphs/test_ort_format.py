"""ORT format: the same answers as the ONNX file, the list of operators, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compress.device.sessions import open_session
from compress.errors import CompressError, ParityError
from compress.graphs.ort_format import to_ort_format, why_unchecked


def save(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "student.onnx")
    return folder / "student.onnx"


@pytest.mark.parametrize("target", ["arm", "amd64"])
@pytest.mark.parametrize("name", ["int8_convnet", "float_convnet"])
def test_the_file_answers_as_its_onnx(name: str, target: str, request: pytest.FixtureRequest, images: dict, tmp_path: Path) -> None:
    source = save(request.getfixturevalue(name), tmp_path)
    written = to_ort_format(source, tmp_path / "ort", target=target, feeds=images)
    assert written.model == tmp_path / "ort" / "student.ort"
    expected, actual = (open_session(path).run(images)["logits"] for path in (source, written.model))
    np.testing.assert_allclose(actual, expected, atol=1e-3 * np.abs(expected).max())


def test_the_operators_of_an_int8_file_are_listed(int8_convnet: onnx.ModelProto, images: dict, tmp_path: Path) -> None:
    written = to_ort_format(save(int8_convnet, tmp_path), tmp_path, target="arm", feeds=images)
    listed = [line for line in written.operators.read_text().splitlines() if not line.startswith("#")]
    assert any("QLinearConv" in line for line in listed)  # fused ahead: the device needs no float Conv
    assert all(len(line.split(";")) == 3 for line in listed)


def test_a_file_with_other_answers_is_not_left_behind(float_convnet: onnx.ModelProto, images: dict, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"student\.ort: logits differ by"):
        to_ort_format(save(float_convnet, tmp_path), tmp_path / "ort", target="arm", feeds=images, tolerance=-1.0)
    assert list((tmp_path / "ort").iterdir()) == []


def test_an_unknown_target_and_a_broken_file_are_refused(images: dict, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(CompressError, match="target 'mips': known are arm, amd64"):
        to_ort_format(tmp_path / "broken.onnx", tmp_path, target="mips", feeds=images)
    with pytest.raises(CompressError, match=r"broken\.onnx: ONNX Runtime .* cannot write it as \.ort for arm"):
        to_ort_format(tmp_path / "broken.onnx", tmp_path, target="arm", feeds=images)


def test_int8_can_be_checked_only_where_its_products_do_not_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("compress.graphs.ort_format.has_vnni", lambda: False)
    assert "no VNNI" in (why_unchecked("int8_qat-onnxruntime_arm") or "")
    assert why_unchecked("fp32") is None
    monkeypatch.setattr("compress.graphs.ort_format.has_vnni", lambda: True)
    assert why_unchecked("int8_qat-onnxruntime_arm") is None
