"""What the report says of skewed labels."""

from types import SimpleNamespace

import numpy as np
import pytest

from compress.measures.paired import compare_paired
from compress.reporting.notes import list_doubts, list_moods, list_skew


def data(counts: dict[str, int], imbalance: str = "none", *, balances: bool = True) -> SimpleNamespace:
    report = {"imbalance": imbalance, "splits": {"train": {"label_counts": counts}}}
    return SimpleNamespace(report=report, task=SimpleNamespace(balances=balances))


def test_labels_with_less_than_a_tenth_of_the_commonest_are_named() -> None:
    (note,) = list_skew(data({"a": 1000, "b": 100, "c": 99, "d": 3}))
    assert note.startswith(
        "2 labels have less than a tenth of the commonest one's 1,000 training rows (c 99, d 3): read the means over labels"
    )


@pytest.mark.parametrize(
    "quiet",
    [data({"a": 10, "b": 1}), data({"a": 100, "b": 1}, "logits"), data({}), data({"a": 100, "b": 1}, balances=False)],
    ids=["even", "done", "none", "of a task that balances nothing"],
)
def test_nothing_is_said_of_even_labels_or_where_something_was_done(quiet: SimpleNamespace) -> None:
    assert list_skew(quiet) == []


QUIET = {"warmup": 20, "steady": True, "noise": 0.04, "noisy": False}


def test_noisy_machine_and_cold_start_are_told_by_batch() -> None:
    assert list_moods({"1": QUIET, "8": QUIET}) == []
    (noisy,) = list_moods({"1": QUIET, "8": {**QUIET, "noise": 0.312, "noisy": True}})
    assert "31 % at batch 8 (10th to 90th" in noisy
    (cold,) = list_moods({"1": {**QUIET, "warmup": 200, "steady": False}})
    assert cold.startswith("A model still got faster after 200 calls at batch 1 of warm-up")


def test_what_ships_is_doubted_where_it_is_not_shown_to_be_better_than_a_guess() -> None:
    right, half = np.array([True] * 6 + [False] * 4), np.array([True] * 3 + [False] * 7)
    even, better = (compare_paired(np.repeat(a, 3), np.repeat(half, 3)).to_json() for a in (half, right))
    baselines = {"majority": {"value": 0.158}, "text_alone": {"value": 0.105}}
    known = SimpleNamespace(report={"modalities": ["image", "text"]}, task=SimpleNamespace(constant="the commonest answer"))
    accuracy = {"against_majority": even, "against_text_alone": better}
    (doubt,) = list_doubts(accuracy, baselines, known)
    assert doubt.startswith("What ships is not shown to be better than the commonest answer (15.8 %): ") and doubt.endswith(
        "; do not use it"
    )
    assert not list_doubts({"against_majority": better}, baselines, known)
