"""Images changed by at most epsilon levels a pixel so that the loss climbs: FGSM in one step (arXiv 1412.6572), PGD in several (arXiv 1706.06083)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from compress.losses.objective import Objective
from compress.ranks.dealing import Part, ask_all
from compress.recipe.terms import Adversarial
from compress.training.batches import Batch

REACH = 2.5  # all steps together over epsilon: far enough to cross the box, as PGD's authors have it
BYTES = (0, 255)


def attack(
    loss: Callable[[Tensor], Tensor],
    clean: Tensor,
    *,
    epsilon: int,
    steps: int,
    generator: torch.Generator | None = None,
    part: Part | None = None,
) -> Tensor:
    """(N, H, W, 3) uint8 near `clean`, the same shape: sign steps up `loss`, each kept within epsilon levels (of 255) and within a byte.

    One step from the image itself is FGSM; of several, the first starts anywhere in the box. Rounded at the end, so that what is attacked
    is a picture that a file can hold. `part`: of a batch that is dealt to several processes what `clean` is, whose noise is drawn whole.
    """
    start = clean.float()
    size = float(epsilon) if steps == 1 else REACH * epsilon / steps
    found = start
    if steps > 1:
        noise = draw_for(start.shape, part, generator).to(start.device)
        found = (start + epsilon * (2 * noise - 1)).clamp(*BYTES)
    for _ in range(steps):
        found = found.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(found), found)
        found = (found + size * slope.sign()).detach()
        found = torch.maximum(torch.minimum(found, start + epsilon), start - epsilon).clamp(*BYTES)
    return found.round().to(clean.dtype)


def against(config: Adversarial | None, pixels: str, seed: int) -> Any:
    """`perturb` of `train` for a recipe's words; None where it has none. Each step has attacks of its own, the same in every run."""
    if config is None:
        return None

    def perturb(model: nn.Module, batch: Batch, objective: Objective, step: int, done: float) -> Batch:
        return attack_batch(model, batch, objective, config, pixels=pixels, seed=seed * 1_000_003 + step, done=done)

    return perturb


def attack_batch(
    model: nn.Module, batch: Batch, objective: Objective, config: Adversarial, *, pixels: str, seed: int, done: float
) -> Batch:
    """The batch with a share of its images of the modality `pixels` attacked; the teacher's answers stay those to the clean images.

    What climbs is the very loss that the student then descends. Batch statistics stay as they are.
    """
    draw = torch.Generator().manual_seed(seed)
    clean, was = batch.inputs[pixels], model.training
    model.eval()

    def loss(images: Tensor) -> Tensor:
        outputs = ask_all(model, {**batch.inputs, pixels: images}, batch.rows, batch.parts)
        given = {"done": done, "shift": batch.shift, "answered": batch.answered}
        return objective(outputs, batch.teacher, batch.labels, batch.mixed, **given)[0]

    part = (batch.parts or {}).get(pixels)
    found = attack(loss, clean, epsilon=config.epsilon, steps=config.steps, generator=draw, part=part)
    model.train(was)
    chosen = (draw_for((len(clean),), part, draw) < config.share).to(clean.device)
    return replace(batch, inputs={**batch.inputs, pixels: torch.where(chosen[:, None, None, None], found, clean)})


def draw_for(shape: Sequence[int], part: Part | None, generator: torch.Generator | None) -> Tensor:
    """Numbers from 0 to 1 of that shape (n, ...): of a part of a batch those that one process would draw for it."""
    if part is None:
        return torch.rand(*shape, generator=generator)
    return torch.rand(part.total, *shape[1:], generator=generator)[part.own]
