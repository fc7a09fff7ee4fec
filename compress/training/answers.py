"""A model's logits for every training row, written to a memory-mapped array: what a student is taught with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compress.store.arrays import allocate
from compress.training.batches import INFERENCE_BATCH, Batches, Rows
from compress.training.views import Views


@torch.no_grad()
def write_answers(
    out: np.ndarray, model: nn.Module, rows: Rows, *, vary: tuple[Views, int] | None, tell: Callable[[int], None] = lambda _: None
) -> None:
    """out: (R, K) float16, filled row by row; `tell` hears how many; `vary` is the view of the grouping inputs that the model is to see, None: as they are stored."""
    for batch in Batches(rows, INFERENCE_BATCH, shuffle=False).epoch(0):
        inputs = batch.inputs
        if vary and vary[1]:
            inputs = {**inputs, rows.group: vary[0].vary(inputs[rows.group], vary[1], batch.grouping)}
        with np.errstate(over="ignore"):  # the caller finds infinities, and says it in words
            out[batch.index] = model(inputs, batch.rows).logits.numpy()
        tell(len(batch.index))


@torch.no_grad()
def encode(encoder: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Features (N, D) float16 of inputs (N, ...), in memory."""
    starts = range(0, len(inputs), INFERENCE_BATCH)
    return np.concatenate([encoder(torch.from_numpy(inputs[i : i + INFERENCE_BATCH])).numpy().astype(np.float16) for i in starts])


def second_teacher(model: nn.Module, rows: Rows, path: Path, *, alone: bool) -> np.ndarray:
    """(V, R, K) float16 at `path`: the model's own answers to each view of `rows`, or their mean with the stored ones.

    The mean of two teachers' logits is their geometric mean as probabilities (up to the norm), so both must agree on a class.
    """
    assert rows.targets is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    out = allocate(path, rows.targets.shape, np.float16)
    for view in range(len(rows.targets)):
        write_answers(out[view], model, rows, vary=(rows.views, view))
        if not alone:
            out[view] = (out[view].astype(np.float32) + rows.targets[view]) / 2
    out.flush()
    return out
