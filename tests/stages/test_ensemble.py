"""Several teachers: their answers are combined row by row as said, kept once in the store, and named wherever the teacher is."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from compress.errors import RecipeError
from compress.measures.ensemble import agreement, combine, learn_weights
from compress.pipeline import RunResult, plan, run
from compress.recipe.grammar import load_recipe
from compress.training.batches import Batches, Rows

P = np.log(np.array([[[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]], [[0.5, 0.5], [0.1, 0.9], [0.8, 0.2]]], np.float32))  # two teachers, three rows


def shares(logits: np.ndarray) -> list[float]:
    """The probability of the first of two labels, row by row."""
    return [round(float(p), 4) for p in 1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))]


def test_mean_is_that_of_probabilities_and_agrees_with_a_loop() -> None:
    assert shares(combine(P, "mean", one_of_many=True)) == [0.7, 0.35, 0.8]  # (0.9 + 0.5) / 2, (0.6 + 0.1) / 2
    logits = np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float32) * 4
    sure = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    for how in ("mean", "confidence"):
        for row in range(7):
            weights = [sure[m, row].max() if how == "confidence" else 1 for m in range(3)]
            expected = sum(w * sure[m, row] for m, w in enumerate(weights)) / sum(weights)
            np.testing.assert_allclose(np.exp(combine(logits, how, one_of_many=True)[row]), expected, rtol=1e-5)


def test_confidence_weighs_by_the_largest_probability_at_each_teachers_temperature() -> None:
    assert shares(combine(P, "confidence", one_of_many=True))[0] == pytest.approx((0.9 * 0.9 + 0.5 * 0.5) / 1.4, abs=1e-4)
    cold = combine(P, "confidence", one_of_many=True, temperatures=[1e6, 1.0])  # the first is known to be sure of nothing: 0.5 and 0.9
    assert shares(cold)[1] == pytest.approx((0.5 * 0.6 + 0.9 * 0.1) / 1.4, abs=1e-4)


def test_best_is_the_teacher_of_the_label_or_the_surest() -> None:
    labels = np.array([1, 0, -1])
    assert shares(combine(P, "best", one_of_many=True, labels=labels)) == [0.5, 0.6, 0.8]
    assert shares(combine(P, "best", one_of_many=True)) == [0.9, 0.1, 0.8]


def test_learned_weights_are_those_of_the_likeliest_mixture() -> None:
    draw = np.random.default_rng(0)
    labels, wrong = draw.integers(2, size=4000), np.arange(4000) % 4 == 0
    right = np.log(np.where(np.eye(2)[np.where(wrong, 1 - labels, labels)] > 0, 0.9, 0.1))  # says 0.9, and is right in 3 of 4 rows
    guess = np.log(np.full((4000, 2), 0.5))
    found = learn_weights(np.stack([right, guess]).astype(np.float32), labels)
    # d/dw of 0.75 log(0.5 + 0.4 w) + 0.25 log(0.5 - 0.4 w) is 0 at 0.4 w = 0.5 (0.75 - 0.25)
    np.testing.assert_allclose(found, [0.625, 0.375], atol=2e-3)
    assert shares(combine(P, "learned", one_of_many=True, learned=np.array([0.75, 0.25])))[0] == 0.8  # 0.75 * 0.9 + 0.25 * 0.5


def test_learned_weights_are_equal_where_no_row_says_anything() -> None:
    logits = np.stack([P[0], np.full_like(P[0], np.nan)])
    np.testing.assert_allclose(learn_weights(logits, np.array([0, 1, 0])), [0.5, 0.5])
    np.testing.assert_allclose(learn_weights(P, np.array([-1, -1, -1])), [0.5, 0.5])
    far = np.array([[[0.0, -900.0]], [[0.0, -1000.0]]], np.float32)  # both give the label nothing that a float holds
    assert np.isfinite(learn_weights(far, np.array([1]))).all()


@pytest.mark.parametrize("how", ["mean", "learned", "confidence", "best", "agreement"])
def test_rows_that_a_teacher_did_not_answer_are_the_others_and_equal_teachers_are_one(how: str) -> None:
    some = P.copy()
    some[0, 0], some[:, 1] = np.nan, np.nan
    given = {"one_of_many": True, "labels": np.array([0, 0, 0]), "learned": np.array([0.75, 0.25])}
    found = combine(some, how, **given)
    assert shares(found)[::2] == [0.5, 0.8] and np.isnan(found[1]).all()
    np.testing.assert_allclose(combine(np.stack([P[0], P[0]]), how, **given), P[0], atol=1e-6)


def test_numbers_are_averaged_as_they_are() -> None:
    numbers = np.array([[[1.0], [4.0]], [[3.0], [np.nan]]], np.float32)
    assert combine(numbers, "mean", one_of_many=False).tolist() == [[2.0], [4.0]]


def test_agreement_is_one_for_equal_and_none_for_opposite_answers() -> None:
    sure = np.array([[[40.0, 0], [40, 0], [1, 0]], [[40, 0], [0, 40], [np.nan, np.nan]]], np.float32)
    np.testing.assert_allclose(agreement(sure), [1, 0, 1], atol=1e-6)
    js = sum(0.5 * p * np.log(p / q) for p, q in ((0.9, 0.7), (0.1, 0.3), (0.5, 0.7), (0.5, 0.3)))
    assert agreement(P)[0] == pytest.approx(1 - js / np.log(2), abs=1e-6)


def test_rows_are_heard_as_often_as_the_teachers_agree() -> None:
    rows = Rows(
        {"a": np.arange(4)}, {"a": np.arange(4)}, np.zeros(4, np.int64), np.zeros((1, 4, 2), np.float16), agreed=np.array([0, 1, 0.5, 0.25])
    )
    heard = np.zeros(4)
    for epoch in range(400):
        for batch in Batches(rows, 4, seed=1).epoch(epoch):
            heard[batch.index] += batch.answered.numpy()
    assert heard[0] == 0 and heard[1] == 400 and abs(heard[2] - 200) < 40 and abs(heard[3] - 100) < 40


RECIPE = """\
name: {name}
data:
  source: manifest
  options: {{train: train.csv, test: test.csv}}
  inputs: {{text: {{length: 8}}}}
{teachers}
student: {{encoders: {{text: {{vocab: own, options: {{layers: 1, width: 16, heads: 2, feedforward: 32}}}}}}}}
distill: {{{distill}train: {{epochs: 4, batch_size: 16, learning_rate: 1.0e-2}}}}
quantize: {{calibration_batches: 2, train: {{epochs: 1, batch_size: 16}}}}
export: {{targets: [onnxruntime_x86], parity: {{samples: 16}}}}
benchmark: {{batches: [1], rounds: 10, warmup: 1}}
"""
WORDS = {"glad": ("sun", "song", "gift"), "sad": ("rain", "loss", "bill")}
TABLES = ["{source: answers, path: one.csv, form: probabilities}", "{source: answers, path: two.csv, form: answers, on_bad_answer: labels}"]
RUN = "{source: run, path: runs/alone, inputs: {text: {length: 6}}}"


def write(folder: Path, name: str, *teachers: str, distill: str = "") -> Path:
    several = "teachers:\n" + "".join(f"  - {one}\n" for one in teachers) if len(teachers) > 1 else f"teacher: {teachers[0]}"
    (folder / f"{name}.yaml").write_text(RECIPE.format(name=name, teachers=several, distill=distill))
    return folder / f"{name}.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("several"), np.random.default_rng(0)
    one, two = [("id", "glad", "sad")], [("id", "answer")]
    for split, count in (("train", 120), ("test", 24)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "text", "label"])
            for number in range(count):
                mood = ("glad", "sad")[number % 2]
                rows.writerow([f"{split}-{number}", f"the {draw.choice(WORDS[mood])} of day {number}", mood])
                p = 0.8 if mood == "glad" else 0.2
                one.append((f"{split}-{number}", str(p), str(1 - p)))
                if number % 3:
                    two.append((f"{split}-{number}", mood))
    for name, table in (("one", one), ("two", two)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(table)
    return folder


def make(path: Path, last: str | None = None) -> RunResult:
    return run(load_recipe(path), runs=path.parent / "runs", threads=1, say=lambda _: None, last=last)


@pytest.fixture(scope="module")
def several(folder: Path) -> RunResult:
    """A student of a table and of the student of another run, from the first stage to the bundle."""
    alone = write(folder, "alone", TABLES[0])
    alone.write_text(alone.read_text().replace("length: 8", "length: 6"))
    make(alone, last="distill")
    return make(write(folder, "several", TABLES[0], RUN.replace(", inputs: {text: {length: 6}}", "")))


def test_stored_answers_are_the_mean_of_each_teachers_own(several: RunResult) -> None:
    made = several.artifacts
    p = [np.load(made[name].file("logits.npy"))[0].astype(np.float32) for name in ("targets_1", "targets_2")]
    p = [np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in p]
    found = np.exp(np.load(made["ensemble"].file("logits.npy"))[0].astype(np.float32))
    np.testing.assert_allclose(found, (p[0] + p[1]) / 2, atol=2e-3)
    assert made["teacher_2"].io_spec.inputs[0].shape == (6,) and made["distill"].io_spec.inputs[0].shape == (8,)


def test_each_teacher_is_named_and_measured_by_itself(several: RunResult) -> None:
    measured = json.loads((several.folder / "10-benchmark" / "measurements.json").read_text())["models"]
    assert measured["teacher"]["size"]["value"] is None and measured["teacher"]["accuracy"]["samples"] == 24
    assert measured["teacher_2"]["role"] == "member" and measured["teacher_2"]["size"]["value"] > 0
    assert measured["teacher_2"]["latency"]["1"]["median_ms"] > 0 and "teacher_1" not in measured  # a table has no file
    page = several.report.read_text()
    assert "2 teachers, whose answers are combined by mean" in page and "answers: one.csv" in page and "run: runs/alone" in page
    card = (several.bundle / "model_card.md").read_text()
    assert "one.csv" in card and "runs/alone" in card


def test_int8_learns_from_the_ensemble_too(several: RunResult) -> None:
    made_of = json.loads((several.artifacts["quantize"].path / "ingredients.json").read_text())
    assert made_of["parents"]["ensemble"] == several.artifacts["ensemble"].fingerprint
    assert several.artifacts["quantize"].details["teacher"] == "teacher"


def test_links_name_every_teacher_and_a_second_run_does_no_work(several: RunResult, folder: Path) -> None:
    links = {path.name for path in several.folder.iterdir() if path.is_symlink()}
    assert {
        "1-data",
        "1-data_2",
        "3-teacher_1",
        "3-teacher_2",
        "4-export_teacher_2",
        "5-targets_1",
        "5-targets_2",
        "5-ensemble",
        "6-distill",
    } <= links
    assert {stage.action for stage in plan(load_recipe(folder / "several.yaml"), runs=folder / "runs", threads=1)} == {"reuse"}


def test_answers_of_one_teacher_are_kept_once_for_all_recipes(several: RunResult, folder: Path) -> None:
    path = write(folder, "other", *TABLES, distill="combine: agreement, ")
    planned = {stage.name: stage for stage in plan(load_recipe(path), runs=folder / "runs", threads=1)}
    assert planned["targets_1"].action == "reuse" and planned["targets_2"].action == planned["ensemble"].action == "run"
    assert planned["targets_1"].fingerprint == several.artifacts["targets_1"].fingerprint
    single = {
        stage.name: stage
        for stage in plan(load_recipe(folder / "alone.yaml", ["data.inputs.text.length=8"]), runs=folder / "runs", threads=1)
    }
    assert single["targets"].fingerprint == several.artifacts["targets_1"].fingerprint


def test_weights_learnt_on_validation_are_kept_and_told(folder: Path) -> None:
    ensemble = make(write(folder, "learned", *TABLES, distill="combine: learned, "), last="ensemble").artifacts["ensemble"]
    weights = ensemble.details["weights"]
    assert sum(weights) == pytest.approx(1, abs=1e-3) and weights[1] > 0.6  # the table of answers is always right, and sure


def test_rows_that_only_one_teacher_answered_are_taught_by_it(several: RunResult, folder: Path) -> None:
    made = make(write(folder, "agreeing", *TABLES, distill="combine: agreement, "), last="ensemble").artifacts["ensemble"]
    agreed, logits = np.load(made.file("agreement.npy")), np.load(made.file("logits.npy"))
    first = np.load(make(folder / "alone.yaml", last="targets").artifacts["targets"].file("logits.npy"))
    sole = np.arange(len(agreed))[agreed == 1]
    assert 0 < len(sole) < len(agreed) and agreed.min() < 1
    np.testing.assert_allclose(np.diff(logits[0, sole[:5]]), np.diff(first[0, sole[:5]]), atol=2e-2)


@pytest.mark.parametrize(
    ("teachers", "distill", "said"),
    [
        ([TABLES[0], "{source: answers, path: gone.csv, form: logits}"], "", r"teachers\[1\].path: .*gone.csv is not there"),
        (
            [TABLES[0], "{source: answers, path: two.csv, form: logits, id: a}"],
            "",
            r"teachers\[1\]: source answers does not take the key 'id'",
        ),
        ([TABLES[0], "{source: anwers, path: two.csv}"], "", r"teachers\[1\].source: must be one of .*answers"),
        (TABLES, "teacher: live, ", "distill.teacher: several teachers have stored answers, which are combined once"),
        (TABLES, "losses: [{name: hint}], ", r"distill.losses\[0\].name: hint compares the teacher's embedding, and"),
        (TABLES[:1], "combine: best, ", "distill.combine: there is one teacher, so nothing is combined"),
        (TABLES, "combine: worst, ", "distill.combine: must be one of mean, learned, confidence, best, agreement"),
    ],
)
def test_what_several_teachers_cannot_have_is_a_fault_with_its_place(folder: Path, teachers: list[str], distill: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe(write(folder, "wrong", *teachers, distill=distill))


def test_one_teacher_beside_several_is_refused(folder: Path) -> None:
    path = write(folder, "both", *TABLES)
    path.write_text(path.read_text() + f"teacher: {TABLES[1]}\n")
    with pytest.raises(RecipeError, match="teachers: teacher is set as well, which is one alone"):
        load_recipe(path)
