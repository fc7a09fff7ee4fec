"""Integrated gradients (arXiv 1703.01365, section 3), summed by input: how much of an answer's numbers comes from which modality.

Which numbers those are, such as the probability of a label, the task says (`explained` in compress/device/tasks). The path is straight, of all inputs at once, from their mean over some rows to the row's own. Texts are no numbers, so of them the vectors that
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

from compress.device.explain import Explain, describe, explainer, of_one_row
from compress.device.main import parse
from compress.device.predictor import Predictor
from compress.device.tasks import Explained
from compress.io_spec import PRESENT
from compress.models.saved import load_model

STEPS = 32  # places on the path, at which Gauss and Legendre's rule asks for the gradient
Arrays = dict[str, np.ndarray]


class Attribution(NamedTuple):
    """What `integrated_gradients` gives of one number."""

    of: Explained  # what it is, and (R,) its value in each row's answer
    points: Arrays  # modality -> (R,) its part of what the path adds; NaN where the row lacks it
    baseline: np.ndarray  # (R,) the same number, of the same answer, at the start of the path

    @property
    def answered(self) -> np.ndarray:
        """(R,) the number at the end of the path."""
        return np.asarray(self.of.values)

    @property
    def error(self) -> np.ndarray:
        """(R,) how far the sum over all modalities is from what the path adds, which it would be with steps without end."""
        return np.asarray(np.abs(np.nansum([*self.points.values()], axis=0) - (self.answered - self.baseline)))


def integrated_gradients(model: nn.Module, feeds: Arrays, others: Arrays, *, explain: Explain, steps: int = STEPS) -> list[Attribution]:
    """Of R rows, each for the answer that the model gives it, and of each number that `explain` finds in it; the model is in eval mode.

    feeds: (R, ...) by port; others: (N, ...) rows whose mean the path starts from; explain: of torch's tensors.
    Formula: sum_i (x_i - x'_i) integral_0^1 df/dx_i (x' + a (x - x')) da, f the number, i over the numbers of an input.
    """
    inputs, rows = {name: torch.from_numpy(array) for name, array in feeds.items()}, len(next(iter(feeds.values())))
    tables = word_tables(model, inputs)
    smooth = {name: x.float() for name, x in inputs.items() if name != PRESENT and name not in tables}
    start = {name: torch.from_numpy(others[name]).float().mean(0, keepdim=True) for name in smooth}
    start |= {name: mean_word(table, torch.from_numpy(others[name])) for name, table in tables.items()}

    def along(place: float) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Logits (R, K), what was moved, and by how much from start to end, at one place of the path."""
        span = {name: x - start[name] for name, x in smooth.items()}
        moved = {name: (start[name] + place * whole).requires_grad_() for name, whole in span.items()}

        def replace(name: str) -> Callable[..., Tensor]:
            def hook(module: nn.Module, given: Any, vectors: Tensor) -> Tensor:
                span[name] = (vectors.detach() - start[name]) * (inputs[name] != 0)[:, :, None]
                moved[name] = (vectors.detach() - (1 - place) * span[name]).requires_grad_()
                return moved[name]

            return hook

        with hooked(tables, replace):
            logits = model({**inputs, **moved}).logits
        return logits, moved, span

    with torch.no_grad():
        answered, _, _ = along(1.0)
        ends, starts = (explain(logits, answered) for logits in (answered, along(0.0)[0]))
    totals = [{name: np.zeros(rows) for name in (*smooth, *tables)} for _ in ends]
    places, weights = np.polynomial.legendre.leggauss(steps)
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        logits, moved, span = along(float(place))
        for number, total in zip(explain(logits, answered), totals, strict=True):
            gradients = torch.autograd.grad(number.values.sum(), [*moved.values()], retain_graph=True, materialize_grads=True)
            for name, gradient in zip(moved, gradients, strict=True):
                total[name] += weight * (gradient * span[name]).flatten(1).sum(1).double().numpy()
    names = [name for name in feeds if name != PRESENT]
    if PRESENT in feeds:
        totals = [{m: np.where(feeds[PRESENT][:, index] > 0, total[m], np.nan) for index, m in enumerate(names)} for total in totals]
    found = zip(ends, starts, totals, strict=True)
    return [
        Attribution(end._replace(values=end.values.double().numpy()), {m: total[m] for m in names}, start.values.double().numpy())
        for end, start, total in found
    ]


def explain_row(bundle: Path, student: Path, arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What gradients say of the float32 student in a model folder, of the row that the runner's `explain` was given: data, and lines to print.

    Raises: DeviceError for inputs that cannot be read, and for answers that inputs have no part in.
    """
    given = vars(parse(["explain", *arguments], bundle))
    with Predictor(bundle) as predictor:
        explain = explainer(predictor.bundle, xp=torch)
        feeds, others = predictor.read({name: given[name] for name in predictor.bundle.asked}), predictor.samples()
    found, rows = integrated_gradients(load_model(student), feeds, others, explain=explain), len(next(iter(others.values())))
    lines = [f"integrated gradients of torch's float32 student, in {STEPS} steps from the mean of {rows} samples:"]
    told = []
    for one in found:
        start, error, points = float(one.baseline[0]), float(one.error[0]), of_one_row(one.points)
        told.append({**describe(one.of), "gradients": points, "baseline": start, "error": error})
        lines.append(f"{one.of.head and f'{one.of.head}: '}{one.of.what} is {start:.3f} there, {one.answered[0]:.3f} here")
        lines += [f"  {name:<10} {'was missing' if value is None else f'{value:+.3f}'}" for name, value in points.items()]
        lines.append(f"  {'error':<10} {error:.3f}, by which these miss what the path adds")
    return {"explained": told, "steps": STEPS}, lines


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
