"""The hidden state that a loss compares, of student and teacher, in float32."""

from __future__ import annotations

from torch import Tensor, nn

from compress.errors import CompressError
from compress.io_spec import Outputs


def hidden_pair(student: Outputs, teacher: Outputs, tap: str, project: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """student (R, D_t) as `project` brings it to the teacher's width (R, D_s where there is none), teacher (R, D_t) without gradient.

    Raises: CompressError where a side has no such state, or one that is no row of numbers.
    """
    s, t = (outputs.at(tap) for outputs in (student, teacher))
    for who, state in (("student", s), ("teacher", t)):
        if state is None:
            raise CompressError(f"distill.losses: the {who} gives no {tap!r}, which a loss reads")
        if state.ndim != 2:
            raise CompressError(f"distill.losses: the {who}'s {tap!r} is {tuple(state.shape)}, and a loss reads one row of numbers a row")
    s = s.float()
    return s if project is None else project(s), t.detach().float()
