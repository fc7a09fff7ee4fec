"""The same on a real CUDA device; skipped where there is none, because what runs elsewhere shows no kernel of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.context import Context
from compress.io_spec import Outputs
from compress.losses.objective import Objective
from compress.pipeline import run
from compress.recipe.grammar import load_recipe
from compress.recipe.sections import Loss, Train
from compress.training.batches import Batches, Rows
from compress.training.loop import History, predict, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke.yaml"
OVERRIDES = ["data.train_limit=40", "data.test_limit=10", "quantize.train.epochs=1", "distill.train.epochs=1"]


class Small(nn.Module):
    """Rows of 8 numbers to two logits, with dropout, which draws from the device's own random numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))

    def forward(self, inputs: dict, rows: dict) -> Outputs:
        return Outputs(self.layers(inputs["numbers"])[rows["numbers"]])


def toy_rows() -> Rows:
    """256 rows whose label is the sign of their first number."""
    numbers = np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32)
    return Rows({"numbers": numbers}, {"numbers": np.arange(256)}, (numbers[:, 0] > 0).astype(np.int64))


def fit(out: Path, model: nn.Module, *, killed_at: int | None = None, precision: str = "fp32") -> History:
    """A training on the first CUDA device; `killed_at`: the validation that ends it from outside."""
    rows, validations = toy_rows(), []

    def validate(trained: nn.Module) -> np.ndarray:
        validations.append(1)
        if len(validations) == killed_at:
            raise KeyboardInterrupt
        return np.asarray(predict(trained, Batches(rows, 256, shuffle=False)).argmax(1) == rows.labels, np.float64)

    words = {"epochs": 12, "batch_size": 32, "learning_rate": 0.02, "checkpoint_seconds": 0, "trackers": [], "precision": precision}
    objective = Objective([Loss(name="cross_entropy")], with_teacher=False)
    ctx = Context(out, say=lambda line: None, device="cuda:0")
    return train(model, Batches(rows, 32), objective=objective, config=Train(**words), ctx=ctx, validate=validate, label="toy")


def test_a_run_on_the_gpu_answers_as_one_on_the_processor(tmp_path: Path) -> None:
    recipe, answers = load_recipe(SMOKE, OVERRIDES), []
    for device in ("cpu", "cuda:0"):
        result = run(recipe, runs=tmp_path / device.replace(":", ""), device=device, last="quantize", say=lambda line: None)
        answers.append(np.load(result.artifacts["targets"].file("logits.npy")).astype(np.float32))
        assert result.artifacts["quantize"].metrics["validation_accuracy"]["samples"] > 0
    assert np.corrcoef(answers[0].ravel(), answers[1].ravel())[0, 1] > 0.99  # two trainings of the head, and bfloat16 on one side


def test_a_killed_training_goes_on_with_the_device_s_random_numbers(tmp_path: Path) -> None:
    whole, resumed = Small(), Small()
    fit(tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "killed", Small(), killed_at=6)
    assert fit(tmp_path / "killed", resumed).resumed_at > 0
    for name, value in whole.state_dict().items():  # sums on a GPU may come in another order
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_model_learns_in_each_precision(precision: str, tmp_path: Path) -> None:
    model = Small()
    history = fit(tmp_path, model, precision=precision)
    assert history.best > 0.9
    assert {(p.dtype, p.device.type) for p in model.parameters()} == {(torch.float32, "cuda")}
