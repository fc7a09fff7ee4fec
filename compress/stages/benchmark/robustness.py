"""How good the student's files are on images that were changed against it: PGD on its float32 form, at each epsilon, answered by every file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compress.losses.objective import Objective
from compress.modalities.modality import pixels_of
from compress.models.saved import load_model
from compress.models.towers import vectors_of
from compress.recipe.terms import Loss, Robustness
from compress.stages.benchmark.candidate import Candidate
from compress.stages.benchmark.quality import answer, select_rows, share
from compress.stages.benchmark.scoring import score
from compress.store.artifacts import TorchModel
from compress.tasks.labels import known
from compress.training.adversarial import attack
from compress.training.batches import INFERENCE_BATCH, Batches
from compress.training.rows import open_rows

if TYPE_CHECKING:
    from compress.data.prepared import PreparedData


def score_attacked(
    config: Robustness, files: Mapping[str, Candidate], student: TorchModel, data: PreparedData, *, seed: int, threads: int
) -> list[dict[str, Any]]:
    """[{"epsilon", "steps", "accuracy": {file: share}}, ...] on labelled test rows, epsilon 0 first: the same rows as they are."""
    test = data.split("test")
    labels = np.asarray(test.labels)
    labelled = np.flatnonzero(known(labels))
    rows = labelled[select_rows(labels[labelled], config.rows)]
    found = []
    for epsilon in (0, *config.epsilons):
        images = attacked(student, data, rows, epsilon=epsilon, steps=config.steps, seed=seed)
        accuracy = {}
        for name, model in files.items():
            task = data.task.with_facts(model.facts)
            changed = replace(model, inputs={**model.inputs, **images})
            answers = answer(score(changed, test, rows, threads=threads), task, outputs=data.outputs, name=name)
            accuracy[name] = share(task.gains(answers, labels[rows]))
        found.append({"epsilon": epsilon, "steps": config.steps, "accuracy": accuracy})
    return found


def attacked(student: TorchModel, data: PreparedData, rows: np.ndarray, *, epsilon: int, steps: int, seed: int) -> dict[str, np.ndarray]:
    """{modality: (N, H, W, 3) uint8} the test images, those of `rows` changed so that the loss on their labels climbs; {} at epsilon 0."""
    if not epsilon:
        return {}
    assert student.path and student.io_spec
    model, pixels = load_model(student.path), pixels_of(student.io_spec.modalities)
    losses, heads = [Loss.model_validate(term) for term in data.task.on_labels], student.io_spec.outputs[0].heads
    objective = Objective(losses, with_teacher=False, heads=heads, **vectors_of(model))
    opened = open_rows(data.split("test"), student.io_spec, student.path)
    images, draw = np.array(opened.inputs[pixels]), torch.Generator().manual_seed(seed)
    keep = np.zeros(len(opened.labels), bool)
    keep[rows] = True
    for batch in Batches(opened, INFERENCE_BATCH, shuffle=False, keep=keep).epoch(0):

        def loss(changed: torch.Tensor, batch: Any = batch) -> torch.Tensor:
            return objective(model({**batch.inputs, pixels: changed}, batch.rows), None, batch.labels)[0]

        changed = attack(loss, batch.inputs[pixels], epsilon=epsilon, steps=steps, generator=draw).numpy()
        images[np.unique(np.asarray(opened.rows[pixels])[batch.index])] = changed
    return {pixels: images}
