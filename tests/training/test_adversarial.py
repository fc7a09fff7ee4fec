"""Changed images: within epsilon and a byte, up the loss, and what is trained on them withstands them better."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compress.io_spec import Outputs
from compress.losses.objective import Objective
from compress.recipe.terms import Adversarial, Loss
from compress.training.adversarial import against, attack, attack_batch
from compress.training.batches import Batch

WEIGHTS = torch.randn(8 * 8 * 3, 3, generator=torch.Generator().manual_seed(0))


class Linear(nn.Module):
    """Logits that are a weighted sum of pixels, so that the worst change within epsilon is known: its sign, epsilon everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.weight = nn.Parameter(WEIGHTS.clone())

    def forward(self, inputs: dict, rows: dict) -> Outputs:
        x = inputs["image"].float().flatten(1) / 255
        return Outputs(self.norm(x @ self.weight)[rows["image"]])


def images(count: int = 6) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), np.uint8))


def batch_of(labels: list[int], teacher: torch.Tensor | None = None) -> Batch:
    rows = torch.arange(len(labels))
    answers = None if teacher is None else Outputs(teacher)
    return Batch({"image": images(len(labels))}, {"image": rows}, torch.tensor(labels), answers, rows.numpy(), rows.numpy())


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_pixels_stay_within_epsilon_and_a_byte_and_reach_the_worst_corner_of_a_linear_loss(steps: int) -> None:
    clean, direction = images(), WEIGHTS[:, 0].reshape(8, 8, 3)
    found = attack(lambda x: (x * direction).sum(), clean, epsilon=4, steps=steps, generator=torch.Generator().manual_seed(0))
    assert found.dtype == torch.uint8
    worst = (clean.float() + 4 * direction.sign()).clamp(0, 255)
    assert (found.float() - clean.float()).abs().max() <= 4
    if steps != 2:  # from a corner opposite, 2.5 epsilon in two steps do not reach this one everywhere
        torch.testing.assert_close(found.float(), worst)


def test_several_steps_start_anywhere_by_the_seed_alone() -> None:
    def changed(seed: int) -> torch.Tensor:
        return attack(lambda x: x.sum() * 0, images(), epsilon=8, steps=3, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(changed(1), changed(1)) and not torch.equal(changed(1), changed(2))


def test_the_students_own_loss_climbs_and_its_statistics_and_mode_stay() -> None:
    model, objective = Linear().train(), Objective([Loss(name="cross_entropy"), Loss(name="kd")])
    teacher = torch.randn(6, 3, generator=torch.Generator().manual_seed(2))
    batch = batch_of([0, 1, 2, -1, 0, 1], teacher)
    statistics = model.norm.running_mean.clone()
    changed = attack_batch(model, batch, objective, Adversarial(epsilon=8, steps=5), pixels="image", seed=0, done=0.0)
    assert model.training and torch.equal(model.norm.running_mean, statistics) and model.weight.grad is None
    assert torch.equal(changed.teacher.logits, teacher)  # the clean answer
    model.eval()
    before, after = (float(objective(model(b.inputs, b.rows), b.teacher, b.labels)[0].detach()) for b in (batch, changed))
    assert after > before + 0.1


def test_a_share_is_attacked_and_no_words_are_no_attack() -> None:
    batch, objective = batch_of([0, 1, 2] * 40), Objective([Loss(name="cross_entropy")], with_teacher=False)
    changed = attack_batch(Linear(), batch, objective, Adversarial(epsilon=4, steps=1, share=0.5), pixels="image", seed=0, done=0.0)
    touched = (changed.inputs["image"] != batch.inputs["image"]).flatten(1).any(1).float().mean()
    assert 0.35 < touched < 0.65
    assert against(None, "image", 0) is None


def test_each_step_has_an_attack_of_its_own_that_another_run_repeats() -> None:
    perturb, objective = against(Adversarial(epsilon=8, steps=2), "image", 3), Objective([Loss(name="cross_entropy")], with_teacher=False)
    batch, model = batch_of([0, 1, 2]), Linear()
    first, again, other = (perturb(model, batch, objective, step, 0.0).inputs["image"] for step in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
