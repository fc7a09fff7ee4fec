"""What each file wins and loses, row by row, against the models and baselines that answered the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.baseline import baseline_answers
from compress.measures.paired import compare_paired
from compress.stages.benchmark.quality import share

if TYPE_CHECKING:
    from compress.data.prepared import PreparedData, Split


def pair_test(
    models: dict[str, Any], answers: dict[str, np.ndarray], rows: np.ndarray, *, data: PreparedData, heard: np.ndarray | None = None
) -> None:
    """Adds to the accuracy of every model of the measurements, and to that of each of its heads, how it differs from the teacher, the fp32
    student and the baselines.

    Keys: against_teacher, against_fp32 (not of the teacher), against_majority, against_<modality>_alone, each as `Paired.to_json`; a model
    has none against itself. heard: (R,) bool, the rows that the teacher answered, on which alone it is compared; None: all.
    Shapes: answers[name] (R, ...), rows (R,) indices into the test split."""
    test = data.split("test")
    labels, groups = np.asarray(test.labels)[rows], test.clusters[rows]
    guesses = {name: guessed[rows] for name, guessed in baseline_answers(data).items()}
    told = np.ones(len(rows), bool) if heard is None else heard
    gains, known = ({name: data.task.gains(found, labels) for name, found in some.items()} for some in (answers, guesses))
    _pair(models, {name: model["accuracy"] for name, model in models.items()}, gains, known, groups=groups, heard=told)
    for part in data.task.heads:
        there, own = part.there(labels), part.labels(labels)
        gains, known = (
            {name: part.task.gains(part.labels(found)[there], own[there]) for name, found in some.items()} for some in (answers, guesses)
        )
        entries = {name: model["heads"][part.name]["accuracy"] for name, model in models.items() if part.name in model.get("heads", {})}
        _pair(models, entries, gains, known, groups=groups[there], heard=told[there])


def _pair(
    models: dict[str, Any],
    entries: dict[str, dict[str, Any]],
    gains: dict[str, np.ndarray],
    known: dict[str, np.ndarray],
    *,
    groups: np.ndarray,
    heard: np.ndarray,
) -> None:
    """Adds the comparisons of `gains` (R,), by model, to these entries of the models; known: those of the baselines."""
    for name, entry in entries.items():
        for key, other in {**reference_answers(models, gains, of=name), **known}.items():
            both = heard if "teacher" in (key, models[name]["role"]) else np.ones(len(heard), bool)
            if both.any():
                paired = compare_paired(gains[name][both], other[both], clusters=groups[both])
                entry[f"against_{key}"] = paired.to_json()


def pair_validation(models: dict[str, Any], gains: dict[str, np.ndarray], split: Split, rows: np.ndarray) -> dict[str, dict[str, Any]]:
    """The validation accuracy of each student's file, with against_fp32 as in `pair_test`: gains[name] (R,) of the rows."""
    groups = split.clusters[rows]
    return {
        name: share(hits)
        | {
            f"against_{key}": compare_paired(hits, other, clusters=groups).to_json()
            for key, other in reference_answers(models, gains, of=name).items()
        }
        for name, hits in gains.items()
    }


def reference_answers(models: dict[str, Any], gains: dict[str, np.ndarray], *, of: str) -> dict[str, np.ndarray]:
    """The gains that a model is held against: the teacher's, and the fp32 student's where the model is one of its forms."""
    roles = {"teacher": ("teacher", "fp32"), "fp32": ("student", "fp32")}
    names = {key: name for key, role in roles.items() for name in gains if (models[name]["role"], models[name]["precision"]) == role}
    wanted = ("teacher",) if models[of]["role"] in ("teacher", "member") else tuple(roles)
    return {key: gains[names[key]] for key in wanted if names.get(key) not in (None, of)}
