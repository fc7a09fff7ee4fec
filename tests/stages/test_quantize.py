"""The quantize stage on a trained student: what each method leaves, and layers that go back to float."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from compress.context import Context
from compress.data.prepared import open_data
from compress.errors import RecipeError
from compress.models.saved import load_model
from compress.pipeline import STAGES
from compress.quantizers import quantized_modules
from compress.quantizers.prepare import activation_quantizers
from compress.quantizers.saved import open_quantized
from compress.quantizers.sensitivity import int8_layers
from compress.recipe.grammar import load_recipe
from compress.stages import quantize as stage
from compress.store.ingredients import only
from compress.tasks.single_label import SingleLabel
from compress.training.batches import Batches
from compress.training.loop import predict
from compress.training.rows import training_rows

ROWS = 40  # validation rows where a test says how good the answers are


@pytest.fixture
def call(whole_run, tmp_path: Path) -> Callable[..., Any]:
    """Runs the stage of the finished run once more, with overrides of its recipe; gives its artifact and what it said."""
    made = whole_run.result.artifacts

    def run(*overrides: str, **details: Any):
        recipe, said = load_recipe(whole_run.recipe, list(overrides)).recipe, []
        part = only(recipe, STAGES["quantize"].reads)
        ctx = Context(tmp_path, seed=recipe.seed, threads=1, say=said.append)
        student = replace(made["distill"], details={**made["distill"].details, **details})
        artifact = stage.quantize(part, student, made["targets"], open_data(made["data"].path), ctx=ctx)
        return artifact, said, recipe.quantize

    return run


def folders(path: Path) -> set[str]:
    return {folder.name for folder in path.iterdir() if folder.is_dir()} - {"logs", "checkpoint"}


def open_state(whole_run, folder: Path, config) -> nn.Module:
    return open_quantized(whole_run.result.artifacts["distill"].path, folder, config)


def test_training_leaves_the_trained_and_the_calibrated_student(call, whole_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.9, 0.5])  # fp32, calibrated; training then gains, which a student of a few steps need not do
    monkeypatch.setattr(SingleLabel, "marks", lambda self, logits, labels: np.full(ROWS, next(scores, 0.7)))
    artifact, said, config = call()
    assert folders(tmp_path) == {"ptq", "qat"}
    assert set(artifact.details["validation"]) == {"fp32", "int8_ptq", "int8_qat"}
    ptq, qat = (open_state(whole_run, tmp_path / name, config) for name in ("ptq", "qat"))
    assert int8_layers(ptq) == int8_layers(qat) == list(quantized_modules(qat))
    assert not torch.equal(ptq.state_dict()["head.output.weight"], qat.state_dict()["head.output.weight"])
    assert artifact.metrics["validation_accuracy"]["value"] == pytest.approx(100 * artifact.details["validation"]["int8_qat"])
    assert said[-1].startswith("quantize: validation fp32 ")


@pytest.mark.parametrize(("lost", "won", "kept"), [(3, 2, True), (9, 2, False)])
def test_calibrated_weights_are_kept_where_they_are_better_by_a_standard_error(
    call, monkeypatch: pytest.MonkeyPatch, lost: int, won: int, kept: bool
) -> None:
    calibrated = np.arange(ROWS) < 0.7 * ROWS
    trained = calibrated.copy()
    trained[:lost], trained[-won:] = False, True
    marks = iter([calibrated, calibrated])  # fp32, calibrated; then the trained weights, each time they are scored
    monkeypatch.setattr(SingleLabel, "marks", lambda self, logits, labels: next(marks, trained).astype(np.float64))
    artifact, _, _ = call()
    assert (artifact.details["history"]["best_step"] > 0) == kept


def test_training_again_gives_the_same_weights(call, whole_run, tmp_path: Path) -> None:
    call()
    published = whole_run.result.artifacts["quantize"]
    for name in ("ptq", "qat"):
        assert (tmp_path / name / "model.safetensors").read_bytes() == published.file(f"{name}/model.safetensors").read_bytes()


@pytest.mark.parametrize("teacher", ["student", "both"])
def test_float_student_can_teach(call, whole_run, tmp_path: Path, teacher: str) -> None:
    call(f"quantize.teacher={teacher}")
    made = whole_run.result.artifacts
    answers = np.load(tmp_path / "checkpoint" / "answers" / "logits.npy")  # (V, R, K)
    stored = np.load(made["targets"].file("logits.npy"))
    assert answers.shape == stored.shape
    student, data = load_model(made["distill"].path), open_data(made["data"].path)
    rows = training_rows(data.split("train"), made["distill"].io_spec, made["targets"], made["distill"].path)
    mirrored = replace(rows, inputs={**rows.inputs, "image": rows.inputs["image"][:, :, ::-1].copy()})
    assert rows.views.variants[1][2:] == (True, 0, 1.0, 0.0, 0.0, 0.0)  # mirrored and nothing else
    for view, seen in enumerate((rows, mirrored)):
        own = predict(student, Batches(seen, 50, shuffle=False))
        expected = own if teacher == "student" else (own + stored[view]) / 2
        np.testing.assert_allclose(answers[view], expected, atol=0.02)


@pytest.mark.parametrize("teacher", ["teacher", "student", "both"])
def test_student_that_ships_alone_is_never_led_back_to_the_teacher(call, whole_run, tmp_path: Path, teacher: str) -> None:
    artifact, said, _ = call(f"quantize.teacher={teacher}", shipped_arm="alone")
    assert artifact.details["teacher"] == "student"
    made = whole_run.result.artifacts
    train = open_data(made["data"].path).split("train")
    rows = training_rows(train, made["distill"].io_spec, made["targets"], made["distill"].path)
    own = predict(load_model(made["distill"].path), Batches(rows, 50, shuffle=False))
    np.testing.assert_allclose(np.load(tmp_path / "checkpoint" / "answers" / "logits.npy")[0], own, atol=0.02)
    assert any("teaches its int8 form in place of" in line for line in said) == (teacher != "student")


def test_teacher_of_the_recipe_teaches_the_int8_form_of_a_distilled_student(call, tmp_path: Path) -> None:
    artifact, said, _ = call("quantize.train.max_steps=1")
    assert artifact.details["teacher"] == "teacher"
    assert not (tmp_path / "checkpoint" / "answers" / "logits.npy").exists()
    assert not any("ships, so it teaches" in line for line in said)


def test_training_that_does_harm_leaves_the_calibrated_student(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.9, 0.8])  # fp32, calibrated; then every trained state
    monkeypatch.setattr(SingleLabel, "marks", lambda self, logits, labels: np.full(ROWS, next(scores, 0.5)))
    artifact, _, _ = call()
    assert (artifact.details["history"]["best"], artifact.details["history"]["best_step"]) == (0.8, 0)
    ptq, qat = (load_file(tmp_path / name / "model.safetensors")["head.output.weight"] for name in ("ptq", "qat"))
    assert torch.equal(ptq, qat)


def test_calibration_alone_trains_nothing(call, whole_run, tmp_path: Path) -> None:
    artifact, _, config = call("quantize.method=int8_ptq")
    assert folders(tmp_path) == {"ptq"}
    assert "history" not in artifact.details
    assert set(artifact.details["validation"]) == {"fp32", "int8_ptq"}
    model = open_state(whole_run, tmp_path / "ptq", config)
    student = load_model(whole_run.result.artifacts["distill"].path)
    np.testing.assert_array_equal(model.state_dict()["head.output.weight"], student.state_dict()["head.output.weight"])


@pytest.mark.parametrize("method", ["none", "int8_dynamic"])
def test_method_without_calibration_leaves_the_student_as_it_is(call, tmp_path: Path, method: str) -> None:
    artifact, _, _ = call(f"quantize.method={method}")
    assert list(tmp_path.iterdir()) == []
    assert set(artifact.details["validation"]) == {"fp32"}


def test_layers_that_the_recipe_keeps_stay_in_float(call, whole_run, tmp_path: Path) -> None:
    _, _, config = call("quantize.method=int8_ptq", "quantize.keep_float=[encoders.text, head.output]")
    model = open_state(whole_run, tmp_path / "ptq", config)
    left = set(quantized_modules(model)) - set(int8_layers(model))
    assert left == {name for name in quantized_modules(model) if name.startswith("encoders.text.") or name == "head.output"}


def test_unknown_layer_to_keep_is_an_error_with_near_names(call) -> None:
    with pytest.raises(RecipeError, match=r"keep_float: 'head\.outptu' covers no layer .*'head\.output'"):
        call("quantize.keep_float=[head.outptu]")


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes one layer lose everything in int8: validation gives what a student without it would score."""
    layer, real = "head.mix.0", SingleLabel("single_label").score
    seen: list[nn.Module] = []

    def predict(model: nn.Module, batches: Any) -> np.ndarray:
        seen[:] = [model]
        return real_predict(model, batches)

    def score(self: SingleLabel, logits: np.ndarray, labels: np.ndarray) -> float:
        modules = quantized_modules(seen[0])
        return real(logits, labels) / 2 if layer in modules and not modules[layer].floating.on else real(logits, labels)

    real_predict = stage.predict
    monkeypatch.setattr(stage, "predict", predict)
    monkeypatch.setattr(SingleLabel, "score", score)
    return layer


@pytest.mark.parametrize(("method", "folder"), [("int8_ptq", "ptq"), ("int8_qat", "qat")])
def test_layer_that_costs_too_much_goes_back_to_float(call, fragile: str, whole_run, tmp_path: Path, method: str, folder: str) -> None:
    artifact, said, config = call(f"quantize.method={method}", "quantize.max_drop_points=8")
    assert artifact.details["restored"]["names"] == [fragile]
    assert artifact.details["restored"]["reached"]
    assert artifact.details["sensitivity"][0]["name"] == fragile
    assert f"1 layers back in float to stay within 8 points: {fragile}" in "\n".join(said)
    model = open_state(whole_run, tmp_path / folder, config)  # what is exported is what was scored
    assert set(quantized_modules(model)) - set(int8_layers(model)) == {fragile}
    assert artifact.details["validation"][method] > 0.75 * artifact.details["validation"]["fp32"]


def test_drop_that_no_float_layer_wins_back_is_said(call, monkeypatch: pytest.MonkeyPatch) -> None:
    real = SingleLabel("single_label").score
    scores = iter([1.0])
    monkeypatch.setattr(SingleLabel, "score", lambda self, logits, labels: next(scores, real(logits, labels)))
    artifact, said, _ = call("quantize.method=int8_ptq", "quantize.max_drop_points=0")
    assert not artifact.details["restored"]["reached"]
    assert artifact.details["restored"]["names"] == []
    assert any("not even float layers win them back" in line for line in said)


@pytest.mark.parametrize(("targets", "unsigned"), [("[onnxruntime_arm, tensorrt]", True), ("[tensorrt, onnxruntime_x86]", False)])
def test_student_computes_in_the_codes_of_the_first_target(call, whole_run, tmp_path: Path, targets: str, unsigned: bool) -> None:
    _, _, config = call("quantize.method=int8_ptq", f"export.targets={targets}")
    model = open_state(whole_run, tmp_path / "ptq", config)
    assert any(quantizer.unsigned.on for quantizer in activation_quantizers(model).values()) == unsigned
