"""Test rows to look at: those on which teacher and student differ, then others that were answered wrongly, then any."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from compress.data.prepared import PreparedData
from compress.modalities.modality import modality

COUNT = 12  # rows of each kind
PLAYERS = 1_500_000  # characters of the page that sounds may take together; what comes behind them is a waveform alone


@dataclass(frozen=True)
class Answered:
    """What `models` gave to the test rows `rows` (R,): answers (R, ...), their probabilities (R,) where the task has some, and whether they
    are right (R,). heard: (R,) bool, the rows that the teacher answered."""

    rows: np.ndarray
    heard: np.ndarray
    answers: dict[str, np.ndarray]
    sure: dict[str, np.ndarray]
    right: dict[str, np.ndarray]


def read_answers(data: PreparedData, predictions: Path, models: Sequence[str]) -> Answered:
    """From the benchmark's predictions.npz; models: names in it."""
    with np.load(predictions) as stored:
        rows, heard = stored["rows"], stored["heard"]
        answers = {name: stored[f"model_{name}"] for name in models}
        sure = {name: stored[f"p_{name}"] for name in models if f"p_{name}" in stored}
    labels = np.asarray(data.split("test").labels)[rows]
    return Answered(rows, heard, answers, sure, {name: data.task.right(found, labels) for name, found in answers.items()})


def differing(data: PreparedData, found: Answered, *, teacher: str, student: str) -> np.ndarray:
    """Places in `found.rows` where both answered, and not the same: by turns one that the teacher alone has right, one that the student
    alone has right, and one that neither or both have; of each, the one first of which both are surest."""
    differ = found.heard & ~data.task.same(found.answers[student], found.answers[teacher])
    theirs, own = found.right[teacher], found.right[student]
    sure = sum((found.sure[name] for name in (teacher, student) if name in found.sure), np.zeros(len(found.rows)))
    parts = (differ & theirs & ~own, differ & own & ~theirs, differ & (own == theirs))
    ordered = [sorted(np.flatnonzero(part).tolist(), key=lambda place: -np.nan_to_num(sure[place])) for part in parts]
    return np.array([place for place in chain(*zip_longest(*ordered)) if place is not None], int)


def others(found: Answered, shown: np.ndarray, *, count: int = COUNT, seed: int = 0) -> np.ndarray:
    """Places in `found.rows` beside those in `shown`: up to half of them wrong in some model, the rest drawn from those that all have right."""
    left = np.ones(len(found.rows), bool)
    left[shown] = False
    wrong = ~np.all([*found.right.values()], axis=0)
    draw = np.random.default_rng(seed)
    hard = draw.permutation(np.flatnonzero(left & wrong))[: count // 2]
    return np.concatenate([hard, draw.permutation(np.flatnonzero(left & ~wrong))[: count - len(hard)]])


def describe_rows(data: PreparedData, found: Answered, places: np.ndarray, *, whole: bool = False) -> list[dict[str, Any]]:
    """[{row, inputs: {modality: HTML}, label, predictions: {model: answer}, drawn: {"label" or model: HTML}, right: {model: bool}, sure: {model: p}}]; a teacher that did not
    answer a row is left out of it. row: in the test split, from 0. whole: with players of sounds, as long as there is room."""
    test, modalities = data.split("test"), data.report["modalities"]
    described, room = [], PLAYERS
    for place in places.tolist():
        row, inputs = int(found.rows[place]), {}
        for m in modalities:
            index = int(test.rows[m][row])
            shown = "(none)" if test.lacks(m)[row] else modality(m).show(test.inputs[m], index)
            if whole and not test.lacks(m)[row]:
                player = modality(m).show_whole(test.inputs[m], index, data.report["inputs"][m])
                if player != shown and len(player) <= room:
                    shown, room = player, room - len(player)
            inputs[m] = shown
        names = [name for name in found.answers if name != "teacher" or found.heard[place]]
        described.append(
            {
                "row": row,
                "inputs": inputs,
                "label": data.task.show(test.labels[row], data.labels),
                "predictions": {name: data.task.show(found.answers[name][place], data.labels) for name in names},
                "right": {name: bool(found.right[name][place]) for name in names},
                "drawn": drawn(data, {"label": test.labels[row], **{name: found.answers[name][place] for name in names}}),
                "sure": {name: float(found.sure[name][place]) for name in names if name in found.sure},
            }
        )
    return described


def drawn(data: PreparedData, answers: dict[str, np.ndarray]) -> dict[str, str]:
    """Answers as HTML by who gave them, where the task draws them."""
    shown = {name: data.task.draw(answer, data.labels) for name, answer in answers.items()}
    return {name: picture for name, picture in shown.items() if picture}


def in_words(shown: str) -> str:
    """An input's HTML as text: what stands in it, or the word that stands for a picture or a sound."""
    text = html.unescape(re.sub(r"<[^>]*>", "", shown)).strip()
    named = re.search(r'(?:alt|aria-label)="([^"]*)"', shown)
    return text or (f"({named[1]})" if named else "")
