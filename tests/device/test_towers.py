"""A model with a tower for each input on the device: what is asked of one input opens and runs that input's file alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.device.against import rank_against
from compress.device.bundle import check_towers, open_towers
from compress.device.contents import find_model, read_bundle
from compress.device.errors import DeviceError, GoldenError, ManifestError
from compress.device.main import main
from compress.device.predictor import Predictor
from compress.device.sessions import open_session
from compress.device.towers import Towers, Whole
from compress.stages.bundle import write_bundle
from compress.tasks.task import task

QUESTION = "what colour is the square ?"


def apart(path: Path) -> None:
    """The model of `write_onnx` with a layer for each input in place of the one for both."""
    model = onnx.load(path)
    del model.graph.node[-2:]
    del model.graph.output[0]
    draw = np.random.default_rng(0)
    for name, width in (("image", 3), ("text", 4)):
        model.graph.node.append(helper.make_node("MatMul", [f"{name}_mean", f"{name}_weight"], [f"{name}_vector"]))
        model.graph.initializer.append(numpy_helper.from_array(draw.normal(size=(width, 4)).astype(np.float32), f"{name}_weight"))
    model.graph.node.append(helper.make_node("Concat", ["image_vector", "text_vector"], ["logits"], axis=1))
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 8]))
    onnx.save(model, path)


@pytest.fixture
def towers(tmp_path: Path, bundle_arguments: Callable[..., dict[str, Any]]) -> Path:
    arguments = bundle_arguments()
    for path in arguments["models"].values():
        apart(path)
    room, golden = task("retrieval", options={"size": 4}, facts={"towers": ["image", "text"]}), arguments["golden"]
    golden["logits"] = open_session(arguments["models"]["fp32"]).run({name: golden[name] for name in ("image", "text")})["logits"]
    golden["labels"] = np.arange(20)
    io = replace(arguments["io_spec"], outputs=(room.port([]),))
    details = write_bundle(tmp_path / "towers", **{**arguments, "task": room, "labels": [], "io_spec": io})
    assert details["golden"]["fp32, text"]["max_difference"] == 0
    return tmp_path / "towers"


def test_one_input_gives_the_vector_of_its_tower_and_all_give_all(towers: Path, picture: Path) -> None:
    with Predictor(towers) as predictor:
        seen, read = predictor.predict(image=picture), predictor.predict(text=QUESTION)
        both = predictor.predict(image=picture, text=QUESTION)
        assert (seen["tower"], read["tower"]) == ("image", "text") and seen["model"] == "fp32"
        assert both["vectors"] == {"image": seen["vector"], "text": read["vector"]}
        rows = predictor.predict_batch([{"text": QUESTION}, {"image": picture}, {"image": picture, "text": QUESTION}])
        assert [row.get("tower") for row in rows] == ["text", "image", None] and rows[1]["vector"] == pytest.approx(seen["vector"])
        with pytest.raises(DeviceError, match="reads image and text; give --image or --question"):
            predictor.predict()


def test_only_the_tower_that_is_asked_is_opened(towers: Path) -> None:
    opened = read_bundle(towers)
    session = open_towers(opened, find_model(opened, None), runtime="onnxruntime_cpu", threads=1)
    assert isinstance(session, Towers) and not session._opened
    session.run({"text": np.ones((3, 6), np.int64)})
    assert [*session._opened] == ["text"]
    session.close()
    assert not session._opened


def test_a_session_of_the_whole_file_answers_the_same(towers: Path) -> None:
    opened = read_bundle(towers)
    texts = np.array([[2, 3, 4, 5, 6, 0], [2, 4, 5, 6, 7, 9]])
    apart, whole = (
        Predictor(towers),
        Predictor.around(opened, find_model(opened, None), open_session(towers / "model.onnx")),
    )
    assert isinstance(whole._session, Whole)
    np.testing.assert_allclose(whole.run({"text": texts})["logits"], apart.run({"text": texts})["logits"], rtol=1e-6)


def test_against_lets_a_tower_read_the_items(towers: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(f"{QUESTION}\na red square ?\n")
    with Predictor(towers) as predictor:
        seen = predictor.predict(image=picture)
        assert {entry["item"] for entry in rank_against(predictor, seen, tmp_path / "words.txt", top=5)} == {QUESTION, "a red square ?"}
        (entry,) = rank_against(predictor, predictor.predict(text=QUESTION), picture, top=5)
        a, b = (np.array(predictor.predict(**given)["vector"]) for given in ({"text": QUESTION}, {"image": picture}))
        assert entry == {"item": "picture.png", "cosine": pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)}
        with pytest.raises(DeviceError, match="--against ranks by one input, and image and text are given; leave one of them"):
            rank_against(predictor, predictor.predict(image=picture, text=QUESTION), tmp_path / "words.txt", top=1)


def test_verify_looks_at_every_tower(towers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"], folder=towers) == 0
    told = capsys.readouterr().out
    assert "int8_qat, image: " in told and "fp32, text: " in told
    opened = read_bundle(towers)
    model = find_model(opened, None)
    swapped = replace(model, towers={**model.towers, "text": model.towers["image"]})
    with pytest.raises(GoldenError, match="logits differ"):
        check_towers(opened, swapped, runtime="onnxruntime_cpu", threads=1)
    with open(towers / model.towers["text"], "ab") as file:
        file.write(b"x")
    with pytest.raises(ManifestError, match=r"towers/fp32-text\.onnx"):
        check_towers(opened, model, runtime="onnxruntime_cpu", threads=1)
