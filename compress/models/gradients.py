"""Integrated gradients (arXiv 1703.01365, section 3), summed by input: how much of an answer's probability comes from which modality.

The path is straight, of all inputs at once, from their mean over some rows to the row's own. Texts are no numbers, so of them the vectors that
the model has for their tokens are moved, from the mean vector of the words; their length stays, and so does which inputs are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from compress.device.errors import DeviceError
from compress.device.main import parse
from compress.device.predictor import Predictor
from compress.io_spec import PRESENT
from compress.models.saved import load_model

STEPS = 32  # places on the path, at which Gauss and Legendre's rule asks for the gradient
Arrays = dict[str, np.ndarray]


class Attribution(NamedTuple):
    """What `integrated_gradients` gives."""

    points: Arrays  # modality -> (R,) its share of the probability, in what the path adds; NaN where the row lacks it
    answered: np.ndarray  # (R,) probability of each row's answer
    baseline: np.ndarray  # (R,) of the same answer at the start of the path

    @property
    def error(self) -> np.ndarray:
        """(R,) how far the sum over all modalities is from what the path adds, which it would be with steps without end."""
        return np.asarray(np.abs(np.nansum([*self.points.values()], axis=0) - (self.answered - self.baseline)))


def integrated_gradients(model: nn.Module, feeds: Arrays, others: Arrays, *, temperature: float = 1.0, steps: int = STEPS) -> Attribution:
    """Of R rows, each for the label that the model gives it; the model is in eval mode.

    feeds: (R, ...) by port; others: (N, ...) rows whose mean the path starts from.
    Formula: sum_i (x_i - x'_i) integral_0^1 dp/dx_i (x' + a (x - x')) da, p = softmax(logits / temperature)[answer], i over the numbers of an input.
    """
    inputs, rows = {name: torch.from_numpy(array) for name, array in feeds.items()}, len(next(iter(feeds.values())))
    tables = word_tables(model, inputs)
    smooth = {name: x.float() for name, x in inputs.items() if name != PRESENT and name not in tables}
    start = {name: torch.from_numpy(others[name]).float().mean(0, keepdim=True) for name in smooth}
    start |= {name: mean_word(table, torch.from_numpy(others[name])) for name, table in tables.items()}

    def along(place: float, label: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """logits or p (R,), what was moved, and by how much from start to end, at one place of the path."""
        span = {name: x - start[name] for name, x in smooth.items()}
        moved = {name: (start[name] + place * whole).requires_grad_() for name, whole in span.items()}

        def replace(name: str) -> Callable[..., Tensor]:
            def hook(module: nn.Module, given: Any, vectors: Tensor) -> Tensor:
                span[name] = (vectors.detach() - start[name]) * (inputs[name] != 0)[:, :, None]
                moved[name] = (vectors.detach() - (1 - place) * span[name]).requires_grad_()
                return moved[name]

            return hook

        with hooked(tables, replace):
            logits = model({**inputs, **moved}).logits / temperature
        return (logits if label is None else logits.softmax(1).gather(1, label[:, None])[:, 0]), moved, span

    with torch.no_grad():
        logits, _, _ = along(1.0)
        label = logits.argmax(1)
        answered, baseline = (along(place, label)[0].double().numpy() for place in (1.0, 0.0))
    totals = {name: np.zeros(rows) for name in (*smooth, *tables)}
    places, weights = np.polynomial.legendre.leggauss(steps)
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        p, moved, span = along(float(place), label)
        for name, gradient in zip(moved, torch.autograd.grad(p.sum(), [*moved.values()], materialize_grads=True), strict=True):
            totals[name] += weight * (gradient * span[name]).flatten(1).sum(1).double().numpy()
    names = [name for name in feeds if name != PRESENT]
    if PRESENT in feeds:
        totals = {name: np.where(feeds[PRESENT][:, index] > 0, totals[name], np.nan) for index, name in enumerate(names)}
    return Attribution({name: totals[name] for name in names}, answered, baseline)


def explain_row(bundle: Path, student: Path, arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What gradients say of the float32 student in a model folder, of the row that the runner's `explain` was given: data, and lines to print.

    Raises: DeviceError for inputs that cannot be read, and for answers that are not one of several labels.
    """
    given = vars(parse(["explain", *arguments], bundle))
    with Predictor(bundle) as predictor:
        if predictor.bundle.task != "single_label":
            raise DeviceError(f"answers of the task {predictor.bundle.task!r} have no probability whose gradient could be asked for")
        feeds, others = predictor.read({name: given[name] for name in predictor.bundle.asked}), predictor.samples()
        temperature = float(predictor.bundle.facts.get("temperature", 1.0))
    found = integrated_gradients(load_model(student), feeds, others, temperature=temperature)
    points = {name: None if np.isnan(values[0]) else float(values[0]) for name, values in found.points.items()}
    start, end, rows = float(found.baseline[0]), float(found.answered[0]), len(next(iter(others.values())))
    lines = [
        f"integrated gradients of torch's float32 student, in {STEPS} steps from the mean of {rows} samples: {start:.3f} there, {end:.3f} here"
    ]
    lines += [f"  {name:<10} {'was missing' if value is None else f'{value:+.3f}'}" for name, value in points.items()]
    lines.append(f"  {'error':<10} {found.error[0]:.3f}, by which these miss what the path adds")
    return {"gradients": points, "baseline": start, "probability": end, "error": float(found.error[0]), "steps": STEPS}, lines


@torch.no_grad()
def word_tables(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, nn.Embedding]:
    """Input -> the table in which the model looks its numbers up, of those that it does not calculate with."""
    found: dict[str, nn.Embedding] = {}

    def look(table: nn.Embedding, given: tuple[Tensor, ...]) -> None:
        for name, x in inputs.items():
            if not x.is_floating_point() and given[0].shape == x.shape and torch.equal(given[0].to(x.dtype), x):
                found.setdefault(name, table)

    handles = [part.register_forward_pre_hook(look) for part in model.modules() if isinstance(part, nn.Embedding)]
    try:
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


@torch.no_grad()
def mean_word(table: nn.Embedding, texts: Tensor) -> Tensor:
    """(1, 1, D) the mean vector of the tokens (N, T) that are not padding."""
    return table.weight[texts[texts != 0].long()].mean(0)[None, None]


@contextmanager
def hooked(tables: dict[str, nn.Embedding], make: Callable[[str], Callable[..., Tensor]]) -> Iterator[None]:
    """Inside, each table gives what the hook that `make` makes for its input returns."""
    handles = [table.register_forward_hook(make(name)) for name, table in tables.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
