"""Runtimes: what runs gives named outputs, what cannot run here is refused with the reason."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from compress.device import main
from compress.device.errors import DeviceError
from compress.device.gpu import missing_gpu
from compress.device.sessions import ON_CPU, PROVIDERS, SESSIONS, keep_products_exact, open_session, refusal, runtime_version

GPU_RUNTIMES = [name for name in SESSIONS if name not in ON_CPU]


def feeds(batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"image": rng.integers(0, 256, (batch, 8, 8, 3), np.uint8), "text": rng.integers(0, 10, (batch, 6))}


@pytest.mark.parametrize("batch", [1, 5])
def test_session_gives_named_outputs(bundle: Path, batch: int) -> None:
    session = open_session(bundle / "model.onnx")
    assert (session.inputs, session.outputs) == (["image", "text"], ["logits"])
    outputs = session.run(feeds(batch))
    assert outputs["logits"].shape == (batch, 4)
    assert outputs["logits"].dtype == np.float32


def test_session_gives_the_same_with_more_threads(bundle: Path) -> None:
    one, two = (open_session(bundle / "model.onnx", threads=n).run(feeds(5))["logits"] for n in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_session_passes_its_options_on(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    create = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, **more: seen.append(options) or create(path, options, **more)
    )
    open_session(bundle / "model.onnx", threads=1)
    open_session(bundle / "model.onnx", threads=2)
    assert [options.intra_op_num_threads for options in seen] == [1, 2]
    assert seen[0].inter_op_num_threads == 1
    assert seen[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert seen[0].execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL


@pytest.mark.parametrize(
    "wrong",
    [{"image": np.zeros((1, 8, 8, 3), np.float32)}, {"text": np.zeros((1, 9), np.int64)}, {"audio": np.zeros((1, 9), np.int64)}],
    ids=["type", "shape", "name"],
)
def test_session_refuses_feeds_that_do_not_fit(bundle: Path, wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(DeviceError, match=r"model\.onnx: the model did not run"):
        open_session(bundle / "model.onnx").run({**feeds(1), **wrong})


def test_session_refuses_a_missing_feed(bundle: Path) -> None:
    with pytest.raises(DeviceError, match="the model did not run.*text"):
        open_session(bundle / "model.onnx").run({"image": feeds(1)["image"]})


def test_open_refuses_an_unknown_runtime(bundle: Path) -> None:
    with pytest.raises(DeviceError, match="unknown runtime 'tflite'; known: onnxruntime_cpu"):
        open_session(bundle / "model.onnx", runtime="tflite")


def test_open_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"a\.onnx: no such model file"):
        open_session(tmp_path / "a.onnx")


@pytest.mark.parametrize("data", [b"", b"no model", bytes(1000)])
def test_open_refuses_a_file_that_is_no_model(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(data)
    with pytest.raises(DeviceError, match=r"a\.onnx: ONNX Runtime .* cannot open the model"):
        open_session(tmp_path / "a.onnx")


def test_open_refuses_no_threads(bundle: Path) -> None:
    with pytest.raises(DeviceError, match="threads is 0"):
        open_session(bundle / "model.onnx", threads=0)


@pytest.fixture
def openvino(bundle: Path) -> Callable[[], Any]:
    """Opens the bundle's model in OpenVINO."""
    pytest.importorskip("openvino")
    return lambda: open_session(bundle / "model.onnx", runtime="openvino")


@pytest.mark.parametrize("batch", [1, 5])
def test_openvino_answers_as_onnx_runtime(bundle: Path, openvino: Callable[[], Any], batch: int) -> None:
    session, reference = openvino(), open_session(bundle / "model.onnx")
    assert sorted(session.inputs) == sorted(reference.inputs)
    answers = session.run(feeds(batch))
    assert answers["logits"].shape == (batch, *reference.run(feeds(batch))["logits"].shape[1:])
    np.testing.assert_allclose(answers["logits"], reference.run(feeds(batch))["logits"], atol=1e-4)


def test_openvino_gives_arrays_that_the_next_call_leaves_alone(openvino: Callable[[], Any]) -> None:
    session = openvino()
    first = session.run(feeds(2))["logits"]
    kept = first.copy()
    session.run({name: np.zeros_like(array) for name, array in feeds(2).items()})
    np.testing.assert_array_equal(first, kept)


def test_openvino_refuses_missing_and_wrong_feeds(openvino: Callable[[], Any]) -> None:
    with pytest.raises(DeviceError, match="the model did not run: no value for text"):
        openvino().run({"image": feeds(1)["image"]})
    with pytest.raises(DeviceError, match="the model did not run"):
        openvino().run({**feeds(1), "image": np.zeros((1, 2, 2, 7), np.uint8)})


def test_openvino_refuses_a_file_that_is_no_model(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(DeviceError, match=r"a\.onnx: OpenVINO .* cannot open the model"):
        open_session(tmp_path / "a.onnx", runtime="openvino")


@pytest.mark.parametrize(("flags", "asked"), [("fma avx2 avx512_vnni", False), ("fma avx_vnni", False), ("fma avx2", True)])
def test_products_are_made_exact_where_the_processor_does_not(monkeypatch: pytest.MonkeyPatch, flags: str, asked: bool) -> None:
    monkeypatch.setattr("compress.device.info._cpu_fields", lambda root: {"flags": flags})
    options = onnxruntime.SessionOptions()
    keep_products_exact(options)
    try:
        value = options.get_session_config_entry("session.x64quantprecision")
    except RuntimeError:  # no such entry
        value = "0"
    assert value == str(int(asked))


@pytest.mark.skipif(missing_gpu() is None, reason="this machine has a GPU")
@pytest.mark.parametrize("runtime", GPU_RUNTIMES)
def test_open_refuses_a_gpu_runtime_without_gpu(bundle: Path, runtime: str) -> None:
    with pytest.raises(DeviceError, match=f"runtime {runtime} cannot run here: .*(driver|GPU)"):
        open_session(bundle / "model.onnx", runtime=runtime)


@pytest.mark.parametrize("runtime", ["onnxruntime_cuda", "onnxruntime_tensorrt"])
def test_open_refuses_a_provider_that_is_not_installed(bundle: Path, monkeypatch: pytest.MonkeyPatch, runtime: str) -> None:
    monkeypatch.setattr("compress.device.sessions.missing_gpu", lambda: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match=f"has CPUExecutionProvider and not {PROVIDERS[runtime]}; install onnxruntime-gpu"):
        open_session(bundle / "model.onnx", runtime=runtime)


def test_open_refuses_a_provider_that_falls_back_to_the_cpu(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.device.sessions.refusal", lambda runtime: None)
    with pytest.warns(UserWarning, match="not in available provider names"), pytest.raises(DeviceError, match="did not load"):
        open_session(bundle / "model.onnx", runtime="onnxruntime_cuda")


def test_refusal_names_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.device.sessions.missing_gpu", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refusal("tensorrt_rtx") == "the package tensorrt_rtx is not installed; pip install tensorrt-rtx"


def test_open_refuses_onnx_for_an_engine_runtime(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.device.sessions.refusal", lambda runtime: None)
    with pytest.raises(DeviceError, match="runs engines and no .onnx files; build one with build-engine"):
        open_session(bundle / "model.onnx", runtime="tensorrt")


def test_tensorrt_provider_gets_batch_profiles(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.device.sessions.refusal", lambda runtime: None)
    seen = []
    create = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *args, providers: seen.append(providers) or create(*args))
    with pytest.raises(DeviceError, match="TensorrtExecutionProvider did not load"):
        open_session(bundle / "model.onnx", runtime="onnxruntime_tensorrt")
    name, options = seen[-1][0]
    assert name == "TensorrtExecutionProvider"
    assert options["trt_profile_min_shapes"] == "image:1x8x8x3,text:1x6"
    assert options["trt_profile_max_shapes"] == "image:32x8x8x3,text:32x6"
    assert options["trt_int8_enable"] is False


def test_version_names_library_and_number() -> None:
    assert runtime_version("onnxruntime_cpu") == f"onnxruntime {onnxruntime.__version__}"


def test_runtimes_of_the_command_line_are_those_of_the_table() -> None:
    assert main.RUNTIMES == tuple(SESSIONS)


def test_onnxruntime_is_imported_in_functions_only() -> None:
    tree = ast.parse(Path(open_session.__code__.co_filename).read_text())
    top = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    assert top == ["numpy"]
