"""Stored answers: logits and hidden states of each row, of one teacher or of two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.io_spec import Outputs
from compress.training.answers import hidden_widths, second_teacher, write_answers
from compress.training.batches import Rows

NUMBERS = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
USED = np.array([4, 0, 0, 2, 1, 3])


class Model(nn.Module):
    """Of numbers (N, 3): twice them, and the first two of them as embedding."""

    def forward(self, inputs: dict[str, Tensor], rows: dict[str, Tensor]) -> Outputs:
        values = inputs["numbers"][rows["numbers"]]
        return Outputs(2 * values, values[:, :2])


def rows_of(hidden: dict[str, np.ndarray]) -> Rows:
    targets = np.zeros((1, len(USED), 3), np.float16)
    return Rows({"numbers": NUMBERS}, {"numbers": USED}, np.zeros(len(USED), int), targets, hidden=hidden)


def test_answers_are_written_row_by_row_with_the_states_that_were_asked_for() -> None:
    out = {"logits": np.zeros((6, 3), np.float16), "embedding": np.zeros((6, 2), np.float16)}
    write_answers(out, Model(), rows_of({}), vary=None)
    np.testing.assert_allclose(out["logits"], 2 * NUMBERS[USED], atol=5e-3)
    np.testing.assert_allclose(out["embedding"], NUMBERS[USED][:, :2], atol=5e-3)


def test_width_of_a_state_is_that_of_the_model_and_none_is_looked_for_where_none_is_asked_for() -> None:
    assert hidden_widths(Model(), rows_of({}), ["embedding"]) == {"embedding": 2}
    assert hidden_widths(nn.Identity(), rows_of({}), []) == {}


@pytest.mark.parametrize(("state", "words"), [(None, "but the teacher has none"), (torch.zeros(2, 4, 2), r"the teacher gives \(4, 2\)")])
def test_teacher_without_such_a_state_is_refused(state: Tensor | None, words: str) -> None:
    class Other(nn.Module):
        def forward(self, inputs: dict[str, Tensor], rows: dict[str, Tensor]) -> Outputs:
            return Outputs(torch.zeros(2, 3), state)

    with pytest.raises(RecipeError, match=words):
        hidden_widths(Other(), rows_of({}), ["embedding"])


def test_student_that_teaches_itself_gives_its_own_states_and_beside_the_teacher_the_teachers_stay(tmp_path: Path) -> None:
    theirs = {"embedding": np.full((1, 6, 7), 9, np.float16)}
    alone = second_teacher(Model(), rows_of(theirs), tmp_path / "alone", alone=True)
    np.testing.assert_allclose(alone.hidden["embedding"][0], NUMBERS[USED][:, :2], atol=5e-3)
    both = second_teacher(Model(), rows_of(theirs), tmp_path / "both", alone=False)
    assert both.hidden["embedding"] is theirs["embedding"]
    np.testing.assert_allclose(both.targets[0], NUMBERS[USED], atol=5e-3)  # the mean of 2 x and 0
    assert second_teacher(Model(), rows_of({}), tmp_path / "none", alone=True).hidden == {}
