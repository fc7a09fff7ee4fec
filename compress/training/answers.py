"""A model's logits, and hidden states where a loss compares them, for every training row: what a student is taught with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compress.data.prepared import Split
from compress.errors import RecipeError
from compress.models.saved import load_model
from compress.placement import ask
from compress.store.arrays import allocate
from compress.store.artifacts import TorchModel
from compress.training.batches import INFERENCE_BATCH, Batches, Rows
from compress.training.loop import predict
from compress.training.rows import open_rows
from compress.training.views import Views


@torch.no_grad()
def write_answers(
    out: Mapping[str, np.ndarray],
    model: nn.Module,
    rows: Rows,
    *,
    vary: tuple[Views, int] | None,
    tell: Callable[[int], None] = lambda _: None,
) -> None:
    """out: "logits" (R, K) and hidden states by name (R, D), float16, filled row by row; `tell` hears how many rows.

    `vary` is the view of the grouping inputs that the model is to see, None: as they are stored.
    """
    for batch in Batches(rows, INFERENCE_BATCH, shuffle=False).epoch(0):
        inputs = batch.inputs
        if vary and vary[1]:
            inputs = {**inputs, rows.group: vary[0].vary(inputs[rows.group], vary[1], batch.grouping)}
        found = ask(model, inputs, batch.rows)
        for name, array in out.items():
            with np.errstate(over="ignore"):  # the caller finds infinities, and says it in words
                array[batch.index] = (found.logits if name == "logits" else found.at(name)).cpu().numpy()
        tell(len(batch.index))


def answers_to(split: Split, teacher: TorchModel, *, device: str) -> np.ndarray:
    """(R, K) float32 logits of a teacher to the rows of a split that nobody learns from, as it gave them or as it is asked; NaN where it has no answer."""
    assert teacher.path and teacher.io_spec
    if f"answers-{split.name}.npy" in teacher.files:
        return np.load(teacher.file(f"answers-{split.name}.npy"))
    rows = open_rows(split, teacher.io_spec, teacher.path, teacher=True)
    return predict(load_model(teacher.path).to(device), Batches(rows, INFERENCE_BATCH, shuffle=False))


@torch.no_grad()
def hidden_widths(model: nn.Module, rows: Rows, names: Iterable[str]) -> dict[str, int]:
    """The width D of each named hidden state (R, D) of a model.

    Raises: RecipeError where it has no such state, or one of another shape.
    """
    batches, names = Batches(rows, 1, shuffle=False), list(names)
    if not names:
        return {}
    sample = batches.collect(np.arange(min(2, len(batches.groups))))
    found = ask(model, sample.inputs, sample.rows)
    for name in names:
        state = found.at(name)
        if state is None or state.ndim != 2:
            shape = "has none" if state is None else f"gives {tuple(state.shape[1:])}"
            raise RecipeError(f"distill.losses: a loss compares the teacher's {name!r} as one row of numbers, but the teacher {shape}")
    return {name: found.at(name).shape[1] for name in names}


@torch.no_grad()
def encode(encoder: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Features (N, D) float16 of inputs (N, ...), in memory."""
    starts = range(0, len(inputs), INFERENCE_BATCH)
    return np.concatenate(
        [ask(encoder, torch.from_numpy(inputs[i : i + INFERENCE_BATCH])).cpu().numpy().astype(np.float16) for i in starts]
    )


def second_teacher(model: nn.Module, rows: Rows, folder: Path, *, alone: bool) -> Rows:
    """`rows` with the model's own answers to each view in place of the stored ones, or with the mean of both; arrays lie in `folder`.

    The mean of two teachers' logits is their geometric mean as probabilities (up to the norm), so both must agree on a class. Hidden states
    of different models have no mean: beside it they stay the first teacher's.
    """
    assert rows.targets is not None
    folder.mkdir(parents=True, exist_ok=True)
    views, count = rows.targets.shape[:2]
    widths = hidden_widths(model, rows, rows.hidden if alone else ())
    out = {"logits": allocate(folder / "logits.npy", rows.targets.shape, np.float16)}
    out |= {name: allocate(folder / f"{name}.npy", (views, count, width), np.float16) for name, width in widths.items()}
    for view in range(views):
        write_answers({name: array[view] for name, array in out.items()}, model, rows, vary=(rows.views, view))
        if not alone:
            own = out["logits"][view].astype(np.float32)
            both = (own + rows.targets[view]) / 2
            out["logits"][view] = both if rows.answered is None else np.where(rows.answered[:, None], both, own)
    for array in out.values():
        array.flush()
    agreed = None if alone else rows.agreed
    return replace(
        rows, targets=out["logits"], answered=None, agreed=agreed, hidden={**rows.hidden, **{name: out[name] for name in widths}}
    )
