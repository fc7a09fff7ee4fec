"""The whole chain on rows that lack inputs: to a bundle that answers with what it is given, and a report that says what each input is worth."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from compress.device.golden import read_golden
from compress.device.main import main
from compress.device.predictor import Predictor
from compress.models.gradients import explain_row
from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe

RECIPE = """\
name: gaps
data:
  source: manifest
  options: {train: train.csv, test: test.csv}
  inputs: {text: {length: 8}, numbers: {size: 3}}
  allow_missing: true
teacher:
  source: fit
  encoders: {text: {model: minilm_l6}, numbers: {model: raw}}
  head_width: 32
  train: {epochs: 4, batch_size: 16, modality_dropout: 0.3}
student:
  encoders: {text: {options: {layers: 1, width: 16, heads: 1, feedforward: 16}}, numbers: {options: {width: 16}}}
  head_width: 16
  fusion: bottleneck
distill: {train: {epochs: 10, batch_size: 16, modality_dropout: 0.3}}
quantize: {method: int8_ptq, calibration_batches: 4}
export: {targets: [onnxruntime_x86], parity: {samples: 32}, shares: true}
benchmark: {batches: [1], rounds: 10, warmup: 1}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run on rows in which text and numbers each name the label, and a quarter of the rows lacks one of them."""
    folder, draw = tmp_path_factory.mktemp("gaps"), np.random.default_rng(0)
    (folder / "gaps.yaml").write_text(RECIPE)
    for split, count in (("train", 160), ("test", 60)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "numbers", "label"])
            for index in range(count):
                k = index % 3
                text, numbers = (
                    f"it is {['red', 'green', 'blue'][k]} {draw.integers(30)}",
                    " ".join(map(str, 2 * np.eye(3)[k] + draw.normal(size=3))),
                )
                rows.writerow([text if index % 8 else "", numbers if index % 8 != 5 else "", "rgb"[k]])
    return run(load_recipe(folder / "gaps.yaml"), runs=folder / "runs", threads=1, say=lambda line: None)


def test_report_and_summary_count_what_is_missing(made: RunResult) -> None:
    splits = made.artifacts["data"].details["splits"]
    assert splits["test"]["lacking"] == {"text": 8, "numbers": 7}  # rows 0, 8, ... 56 and 5, 13, ... 53
    page = made.report.read_text()
    assert "With some of the inputs alone" in page and "Which input decided" in page and "(none)" in page


def test_every_set_of_inputs_has_its_accuracy(made: RunResult) -> None:
    found = json.loads(made.artifacts["benchmark"].file("measurements.json").read_text())["subsets"]
    assert [line["inputs"] for line in found] == [["text", "numbers"], ["text"], ["numbers"]]
    assert {share["samples"] for line in found for share in line["accuracy"].values()} == {45}
    alone = {line["inputs"][0]: line["accuracy"]["fp32"]["value"] for line in found[1:]}
    assert min(alone.values()) > 0.55  # a third by chance


def test_bundle_answers_with_one_input_and_its_golden_samples_lack_some(made: RunResult) -> None:
    golden = read_golden(made.bundle / "golden.npz")
    assert golden["present"].dtype == np.float32 and (golden["present"].min(0) == 0).all()
    with Predictor(made.bundle) as predictor:
        assert predictor.predict(text="it is red 3")["missing"] == ["numbers"]
        assert predictor.predict(numbers="2 0 0")["missing"] == ["text"]


def test_report_shows_gradients_of_teacher_and_student_and_what_the_fusion_lets_in(made: RunResult) -> None:
    page = made.report.read_text()
    assert "Which input the gradients point at" in page and "What the fusion lets in by its attention" in page
    for model in ("teacher", "student"):
        assert f"<td>{model}</td><td>numbers</td>" in page and f"<td>{model}</td><td>text</td>" in page


def test_files_tell_what_was_let_in_and_the_report_says_it_of_the_shipped_one(made: RunResult, capsys: pytest.CaptureFixture[str]) -> None:
    io, parity = made.artifacts["export"].io_spec, made.artifacts["export"].details["parity"]
    assert [(port.name, port.shape) for port in io.outputs] == [("logits", (3,)), ("shares", (2,))]
    gated = [record["to"] for record in parity if record["to"].endswith(", shares")]
    assert len(gated) == len(parity) / 2 >= 4 and all(record["passed"] for record in parity)
    golden = read_golden(made.bundle / "golden.npz")
    names = [line["name"] for line in json.loads((made.bundle / "models.json").read_text())["models"]]
    assert len([name for name in golden if name.startswith("shares")]) == len(names) >= 3
    assert "What the fusion of the shipped file, as its second output says, weighs" in made.report.read_text()
    assert main(["verify"], folder=made.bundle) == 0
    assert capsys.readouterr().out.count(", of a share ") == len(names)
    assert main(["predict", "--question", "it is red 3", "--numbers", "2 0 0"], folder=made.bundle) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    with Predictor(made.bundle) as predictor:
        contributed = predictor.predict(text="it is red 3", numbers="2 0 0")["contributed"]
    assert told == f"contributed: {{text: {contributed['text']:.2f}, numbers: {contributed['numbers']:.2f}}}"
    assert sum(contributed.values()) == pytest.approx(1)


def test_gradients_of_one_row_add_up_to_its_probability(made: RunResult) -> None:
    student = made.artifacts["distill"].path
    assert student
    found, lines = explain_row(made.bundle, student, ["--question", "it is red 3", "--numbers", "2 0 0"])
    (one,) = found["explained"]
    assert one["baseline"] + sum(one["gradients"].values()) == pytest.approx(one["value"], abs=0.03)
    assert [line.split()[0] for line in lines[2:]] == ["text", "numbers", "error"]
    alone, lines = explain_row(made.bundle, student, ["--numbers", "2 0 0"])
    assert alone["explained"][0]["gradients"]["text"] is None and lines[2].split() == ["text", "was", "missing"]


def test_int8_student_reads_which_inputs_are_there(made: RunResult) -> None:
    files = made.artifacts["export"].details["files"]
    assert {"fp32", "fp16", "int8_ptq"} <= set(files)
    assert made.artifacts["export"].io_spec.modalities == ("text", "numbers", "present")
