"""A batch among processes: each encodes its part of the distinct inputs and answers its part of the rows; all get every answer.

So the losses see the whole batch in each process, as they do in one, and every input is encoded once. Gradients of weights are the sum of
what the parts give. What is gathered hands its gradient back: features, which rows of other processes use, its sum over the processes;
answers, of which each process has the whole gradient already, its part alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from compress.ranks.group import here

ROWS = "rows"  # the part of the rows, beside those of the modalities
Parts = dict[str, "Part | None"]


@dataclass(frozen=True)
class Part:
    """Of `total` things those from `start` to `stop`, which this process has."""

    start: int
    stop: int
    total: int

    @property
    def own(self) -> slice:
        """The same to index with."""
        return slice(self.start, self.stop)


def part_of(total: int, *, rank: int | None = None) -> Part | None:
    """This process's part of so many things, or that of another; None where there are fewer than processes, and each has them all."""
    ranks = here()
    rank = ranks.rank if rank is None else rank
    return None if total < ranks.world else Part(total * rank // ranks.world, total * (rank + 1) // ranks.world, total)


def own_of(parts: Parts | None, name: str) -> slice:
    """What this process has, to index with: all of it where nothing is dealt."""
    part = parts.get(name) if parts else None
    return part.own if part else slice(None)


_parts: Parts | None = None  # of the batch that a model is asked, or none is dealt
_now: Part | None = None  # what the layers that run at this moment have of it


def now() -> Part | None:
    """The part that the layers which run at this moment have; None: all of it."""
    return _now


def count_all(x: Tensor) -> int:
    """How many there are of x (n, ...) in the batch, of which this process has a part or all."""
    return len(x) if _now is None else _now.total


def ask_all(model: nn.Module, inputs: dict[str, Tensor], rows: dict[str, Tensor], parts: Parts | None) -> Any:
    """The model's `Outputs` for all rows of a batch that is dealt as `parts` say: inputs[m] are this process's, rows[m] (R,) are all."""
    global _parts, _now
    if parts is None:
        return model(inputs, rows)
    _parts, _now = parts, parts[ROWS]
    try:
        assert _now
        outputs = model(inputs, {m: which[_now.own] for m, which in rows.items()})
        return outputs.map(lambda x: _Answers.apply(x, _now))
    finally:
        _parts = _now = None


def everyones(x: Any, modality: str) -> Any:
    """What is given for each distinct input of a modality (n, ...), of all processes: (N, ...). As it is where nothing is dealt."""
    if _parts is None or modality not in _parts:
        return x
    if isinstance(x, tuple) and not hasattr(x, "_replace"):  # maps of several sizes
        return type(x)(everyones(one, modality) for one in x)
    if isinstance(x, tuple):
        return x._replace(**{name: everyones(one, modality) for name, one in x._asdict().items() if one is not None})  # type: ignore[attr-defined]
    found = _Features.apply(x, _parts[modality])
    if (maker := getattr(x, "made_by", None)) is not None:  # the quantized layer that the values come from
        found.made_by = maker
    return found


@contextmanager
def dealt(model: Any) -> Iterator[None]:
    """Inside, each of the model's encoders is given its part of the inputs, and what all of them give goes on to the head."""
    handles = []
    for m, encoder in model.encoders.items() if model is not None else ():

        def before(module: nn.Module, given: Any, m: str = m) -> None:
            global _now
            _now = _parts[m] if _parts else None

        def after(module: nn.Module, given: Any, found: Any, m: str = m) -> Any:
            global _now
            _now = _parts[ROWS] if _parts else None
            return everyones(found, m)

        handles += [encoder.register_forward_pre_hook(before), encoder.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gather(x: Tensor, part: Part | None) -> Tensor:
    """(n, ...) of each process, put together: (N, ...) in the order of one process."""
    if part is None:
        return x
    parts = [part_of(part.total, rank=rank) for rank in range(here().world)]
    padded = x.new_zeros((-(-part.total // len(parts)), *x.shape[1:]))  # all alike, as a gathering wants it
    padded[: len(x)] = x
    out = [torch.empty_like(padded) for _ in parts]
    distributed.all_gather(out, padded)
    return torch.cat([one[: p.stop - p.start] for one, p in zip(out, parts, strict=True) if p])


def largest(x: Tensor) -> Tensor:
    """The largest of a number () over what all processes have at this moment."""
    if _now is not None:
        distributed.all_reduce(x, distributed.ReduceOp.MAX)
    return x


def summed(x: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    distributed.all_reduce(x)
    return x


def sum_gradients(own: Iterable[nn.Parameter], common: Iterable[nn.Parameter]) -> None:
    """Sums the gradients of `own` over the processes; those of `common`, which saw the whole batch in each, are averaged. Nothing in one process."""
    if (world := here().world) == 1:
        return
    for parameter in common:
        if parameter.grad is not None:
            parameter.grad /= world
    found = [p.grad for p in (*own, *common) if p.grad is not None]
    flat = summed(torch.cat([gradient.flatten() for gradient in found]))
    for gradient, total in zip(found, flat.split([gradient.numel() for gradient in found]), strict=True):
        gradient.copy_(total.view_as(gradient))


def bytes_of_first(make: Callable[[], bytes]) -> bytes:
    """What `make` gives in the first process, in all of them."""
    found = make() if not here().rank else b""
    size = here().same(len(found))
    moved = torch.frombuffer(bytearray(found), dtype=torch.uint8) if found else torch.empty(size, dtype=torch.uint8)
    distributed.broadcast(moved, 0)
    return moved.numpy().tobytes()


def gather_rows(found: list[tuple[np.ndarray, Tensor]], covered: np.ndarray, count: int) -> Tensor:
    """(count, K) of what each process found of some rows: their numbers (r,), and (r, K). Rows that are not `covered` are NaN."""
    several = here().world > 1
    width = torch.tensor(found[0][1].shape[1] if found else 0)
    if several:
        distributed.all_reduce(width, distributed.ReduceOp.MAX)  # a process may have had no batch
    out = torch.zeros((count, int(width)))
    for index, values in found:
        out[torch.from_numpy(index)] = values
    without = torch.ones(count, dtype=torch.bool)
    without[torch.from_numpy(covered)] = False
    (summed(out) if several else out)[without] = torch.nan
    return out


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, part: Part | None) -> Tensor:
        ctx.part = part
        return gather(x, part) if part else x.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        slope = summed(slopes[0].clone(memory_format=torch.contiguous_format))  # autograd may hand its own on to others
        return (slope[ctx.part.own] if ctx.part else slope / here().world), None


class _Answers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, part: Part) -> Tensor:
        ctx.part = part
        return gather(x, part)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return slopes[0][ctx.part.own], None
