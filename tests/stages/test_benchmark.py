"""The benchmark on three tiny ONNX files whose accuracy is known by hand."""

import json
from pathlib import Path

import fastjsonschema
import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.context import Context
from compress.data.prepared import open_data
from compress.errors import CompressError
from compress.measures.document import json_schema
from compress.modalities.tokens import write_texts
from compress.recipe.sections import Benchmark
from compress.stages.benchmark import Candidate, compare
from compress.stages.benchmark.pairs import pair_test
from compress.stages.benchmark.streams import stream_counts

CLASSES = 3
TOKENS = np.array([[5, 0], [6, 0]])  # of the 2 test texts
SMALL = np.ascontiguousarray(np.broadcast_to(np.arange(3, dtype=np.uint8)[:, None, None, None], (3, 2, 2, 3)))
INPUTS = {"image": SMALL, "text": TOKENS}
LARGE = {"image": np.repeat(np.repeat(SMALL, 2, 1), 2, 2), "text": TOKENS}
REPORT = {"modalities": ["image", "text"], "teacher_apart": ["image"], "task": "single_label"}


def write_split(folder, *, images, rows, labels, kinds):
    folder.mkdir(parents=True)
    np.save(folder / "image.npy", images)
    write_texts(folder / "text.arrow", pa.array(["which?", "is it?"]))
    for modality, values in rows.items():
        np.save(folder / f"rows_{modality}.npy", np.array(values, np.int32))
    np.save(folder / "labels.npy", np.array(labels, np.int32))
    np.save(folder / "kinds.npy", np.array(kinds, np.int16))
    np.save(folder / "groups.npy", np.full(len(labels), -1, np.int32))
    np.save(folder / "slice_0.npy", np.array([0, 0, 0, 0, 1, 1, -1, 1], np.int16))
    np.save(folder / "near_train.npy", np.zeros(len(labels), bool))


@pytest.fixture
def data(tmp_path):
    """Image n is all n; 8 test rows: their label is the image's value but in the last one. Row 2 repeats row 0, row 7 is unlabelled."""
    folder = tmp_path / "data"
    images = np.broadcast_to(np.arange(3, dtype=np.uint8)[:, None, None, None], (3, 2, 2, 3))
    image, text = [0, 1, 0, 2, 1, 2, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]
    for name in ("train", "validation", "test"):
        rows = {"image": image, "text": text}
        write_split(folder / name, images=images, rows=rows, labels=[0, 1, 0, 2, 1, 2, 1, -1], kinds=[0, 0, 0, 0, 1, 1, 1, 1])
    for name in ("train", "validation", "test"):
        np.save(folder / name / "teacher_image.npy", np.repeat(np.repeat(images, 2, 1), 2, 2))
    named = {"labels": ["no", "yes", "red"], "kinds": ["colour", "yes/no"], "slices": {"site": ["Oslo", "Rome", "Paris"]}}
    for name, value in {**named, "report": REPORT}.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return open_data(folder)


def write_model(path: Path, *, weights, size=2, pad=0):
    """logits = mean of the pixels compared with 0, 1, 2 (as -|mean - k|) @ weights + 0 * tokens; `pad` zeros make the file larger."""
    constants = {
        "zero": np.float32([[0]]),
        "classes": np.arange(3, dtype=np.float32)[None],
        "weights": np.float32(weights),
        "axes": np.int64([1, 2, 3]),
    }
    constants["flat"] = np.int64([0, 1])
    constants["padding"] = np.zeros((1, pad + 1), np.float32)
    constants["last"] = np.int64([1])
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean4"]),
        helper.make_node("Reshape", ["mean4", "shape"], ["mean"]),
        helper.make_node("Sub", ["mean", "classes"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distance"]),
        helper.make_node("Neg", ["distance"], ["scores"]),
        helper.make_node("MatMul", ["scores", "weights"], ["mixed"]),
        helper.make_node("Cast", ["text"], ["tokens"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["tokens", "last"], ["token_sum"]),
        helper.make_node("Mul", ["token_sum", "zero"], ["nothing"]),
        helper.make_node("ReduceSum", ["padding", "last"], ["padding_sum"]),
        helper.make_node("Add", ["mixed", "nothing"], ["sum"]),
        helper.make_node("Add", ["sum", "padding_sum"], ["logits"]),
    ]
    constants["shape"] = np.int64([-1, 1])
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", size, size, 3]),
        helper.make_tensor_value_info("text", TensorProto.INT64, ["batch", 2]),
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", np.float32(weights).shape[1]])
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


SWAPPED = np.eye(3)[:, [1, 0, 2]]  # takes "no" for "yes" and "yes" for "no"
CONFIG = Benchmark(batches=[1, 4], rounds=10, warmup=1)


@pytest.fixture
def models(tmp_path):
    return {
        "teacher": Candidate(write_model(tmp_path / "t.onnx", weights=np.eye(3), size=4, pad=9999), "teacher", "fp32", 20_000, LARGE),
        "student": Candidate(write_model(tmp_path / "s.onnx", weights=np.eye(3)), "student", "fp32", 500, INPUTS),
        "student_int8": Candidate(write_model(tmp_path / "q.onnx", weights=SWAPPED), "student", "int8_qat", 500, INPUTS),
        "student_arm": Candidate(tmp_path / "q.onnx", "student", "int8_qat", 500, INPUTS, target="tensorrt"),
    }


def run(tmp_path, models, data, config=CONFIG):
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    return compare(config, models, data=data, ctx=Context(out, threads=1, say=lambda _: None))


def test_benchmark_measures_what_is_known_by_hand(tmp_path, models, data):
    measured = run(tmp_path, models, data)
    teacher, student, swapped = (measured["models"][name] for name in ("teacher", "student", "student_int8"))
    assert measured["samples"] == 7  # the unlabelled row is left out
    assert (student["accuracy"]["correct"], swapped["accuracy"]["correct"]) == (6, 3)  # swapped: the two "red" and the odd last row
    assert student["agreement"]["value"] == 1.0 and swapped["agreement"]["value"] == pytest.approx(2 / 7)
    assert {entry["name"]: entry["value"] for entry in swapped["by_answer"]} == {"no": 0.0, "yes": pytest.approx(1 / 3), "red": 1.0}
    assert {entry["name"]: entry["samples"] for entry in swapped["by_kind"]} == {"colour": 4, "yes/no": 3}
    assert {e["name"]: (e["correct"], e["samples"]) for e in swapped["by_slice"]["site"]} == {"Oslo": (1, 4), "Rome": (1, 2)}
    assert teacher["size"]["value"] == (tmp_path / "t.onnx").stat().st_size > 39_000
    assert student["parameters"] == {"value": 500, "unit": "parameters"}

    timed = student["latency"]["4"]
    assert (timed["rounds"], timed["batch"], timed["threads"], timed["unit"]) == (10, 4, 1, "ms")
    assert 0 < timed["median_ms"] <= timed["p95_ms"]
    assert student["latency"]["1"]["this_over_fp32"]["value"] == 1.0 == teacher["latency"]["1"]["teacher_over_this"]["value"]
    assert measured["models"]["student_arm"]["latency"] is None  # a file for another machine is scored and not timed
    assert measured["models"]["student_arm"]["accuracy"] == swapped["accuracy"]
    assert 1e6 < student["peak_memory"]["value"] < 3e8 and student["peak_memory"]["includes"] == "python, numpy, onnxruntime"
    assert student["cold_start"]["low"] <= student["cold_start"]["value"] <= student["cold_start"]["high"]
    asked = [[line["streams"] for line in model.get("streams", [])] for model in measured["models"].values()]
    assert asked == [*[stream_counts(measured["device"]["cores"])] * 3, []]
    assert student["cold_start"]["value"] > student["latency"]["1"]["median_ms"]  # Python, numpy and the runtime start first

    assert measured["baselines"]["majority"]["value"] == pytest.approx(3 / 7)
    assert measured["device"]["runtime"].startswith("onnxruntime ") and measured["threads"] == 1
    assert json.loads((tmp_path / "out" / "measurements.json").read_text()) == measured
    fastjsonschema.compile(json_schema())(measured)
    answers = np.load(tmp_path / "out" / "predictions.npz")
    assert measured["models"]["student"]["differs"]["value"] == 0  # the teacher has the same weights
    counted = {key: swapped["differs"][key] for key in ("value", "samples", "teacher_alone", "this_alone", "neither", "both")}
    assert counted == {"value": 5, "samples": 7, "teacher_alone": 4, "this_alone": 1, "neither": 0, "both": 0}
    distance = np.exp([0, -1, -2])  # of row 0, whose mean is 0, from each class
    assert answers["p_student"][0] == pytest.approx(distance[0] / distance.sum(), abs=1e-6)
    assert answers["model_student"].tolist() == [0, 1, 0, 2, 1, 2, 0] and answers["rows"].tolist() == list(range(7))


def test_benchmark_thins_the_rows_evenly(tmp_path, models, data):
    measured = run(tmp_path, models, data, Benchmark(batches=[1], rounds=10, warmup=1, test_limit=3))
    assert measured["samples"] == 3 and np.load(tmp_path / "out" / "predictions.npz")["rows"].tolist() == [0, 2, 4]


def test_benchmark_names_a_model_with_another_number_of_answers(tmp_path, models, data):
    wide = Candidate(write_model(tmp_path / "w.onnx", weights=np.eye(3, 4)), "student", "fp32", 500, INPUTS)
    with pytest.raises(CompressError, match=r"wide: gives logits of shape \(4,\), but the data has 3 answers"):
        run(tmp_path, {"teacher": models["teacher"], "wide": wide}, data)


def test_benchmark_names_a_missing_file(tmp_path, models, data):
    gone = Candidate(tmp_path / "gone.onnx", "student", "fp32", 1, INPUTS)
    with pytest.raises(CompressError, match="gone.onnx: no such model file"):
        run(tmp_path, {"teacher": models["teacher"], "gone": gone}, data)


def test_benchmark_needs_a_teacher(tmp_path, models, data):
    with pytest.raises(CompressError, match="exactly one teacher among student"):
        run(tmp_path, {"student": models["student"]}, data)


def test_benchmark_counts_logits_that_are_not_finite_as_wrong(tmp_path, models, data):
    broken = Candidate(write_model(tmp_path / "nan.onnx", weights=np.full((3, 3), np.nan)), "student", "fp16", 500, INPUTS)
    model = run(tmp_path, {**models, "broken": broken}, data)["models"]["broken"]
    assert model["non_finite"]["value"] == 7 and model["accuracy"]["correct"] == 0 and model["metrics"]["cross_entropy"]["value"] is None


def told(tmp_path, answers):
    np.save(tmp_path / "answers.npy", np.float32(answers))
    return {"file": str(tmp_path / "answers.npy"), "facts": {}}


def test_stored_answers_stand_for_a_teacher_on_the_rows_that_have_one(tmp_path, models, data):
    """Rows 0, 1 and 6 are answered no, no and yes, of which the second is wrong; the student says no, yes, no there."""
    answers = np.full((8, 3), np.nan)
    answers[[0, 1, 6]] = np.eye(3)[[0, 0, 1]]
    students = {name: model for name, model in models.items() if name != "teacher"}
    measured = compare(CONFIG, students, data=data, ctx=Context(tmp_path, threads=1, say=lambda _: None), told=told(tmp_path, answers))
    teacher = measured["models"]["teacher"]
    assert (teacher["accuracy"]["correct"], teacher["accuracy"]["samples"]) == (2, 3)
    assert teacher["size"]["value"] is None and teacher["latency"] is None and teacher["parameters"]["value"] is None
    assert measured["models"]["student"]["agreement"]["value"] == pytest.approx(1 / 3)
    stored = np.load(tmp_path / "predictions.npz")
    assert stored["heard"].tolist() == [True, True, False, False, False, False, True]
    pair_test(measured["models"], {n: stored[f"model_{n}"] for n in measured["models"]}, stored["rows"], data=data, heard=stored["heard"])
    fastjsonschema.compile(json_schema())(measured)
    paired = measured["models"]["student"]["accuracy"]["against_teacher"]
    assert (paired["samples"], paired["a_only"], paired["b_only"]) == (3, 1, 1)
    assert measured["models"]["student_int8"]["accuracy"]["against_fp32"]["samples"] == 7


def test_teacher_that_answered_no_test_row_is_not_known(tmp_path, models, data):
    only = {"student": models["student"]}
    measured = compare(
        CONFIG, only, data=data, ctx=Context(tmp_path, threads=1, say=lambda _: None), told=told(tmp_path, np.full((8, 3), np.nan))
    )
    teacher, student = measured["models"]["teacher"], measured["models"]["student"]
    assert (
        teacher["accuracy"]["value"] is None and teacher["metrics"]["macro_f1"]["value"] is None and student["agreement"]["value"] is None
    )
    stored = np.load(tmp_path / "predictions.npz")
    pair_test(measured["models"], {n: stored[f"model_{n}"] for n in measured["models"]}, stored["rows"], data=data, heard=stored["heard"])
    assert "against_teacher" not in student["accuracy"]
