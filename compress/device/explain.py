"""Which input decided: how far the probability of an answer falls when one input gives way to those of other rows, or is left out.

An input is left out where the model reads which are there; else others stand in for it, one after the other, and their mean counts. The
figures need not add up to anything: two inputs may each be enough, or be worth something together alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .contents import PRESENT
from .errors import DeviceError
from .tasks import answerer

Arrays = dict[str, np.ndarray]


def weigh_inputs(
    run: Callable[[Arrays], Arrays], feeds: Arrays, others: Arrays, *, probability: Callable[[Arrays, Arrays], np.ndarray]
) -> dict[str, np.ndarray]:
    """{input: (R,) probability of each row's answer that is lost without it}; NaN where the row lacks it, or has nothing else.

    feeds: (R, ...) by port; others: (N, ...) rows to take inputs from; `probability(outputs, answered)`: (R,) what `outputs` give to the
    answers of `answered`, the outputs to the rows as they are.
    """
    answered = run(feeds)
    p = probability(answered, answered)
    names = [name for name in feeds if name != PRESENT]
    lost = {}
    for place, name in enumerate(names):
        if PRESENT in feeds:
            present = feeds[PRESENT].copy()
            present[:, place] = 0
            left = probability(run({**feeds, PRESENT: present}), answered)
            meaningful = (feeds[PRESENT][:, place] > 0) & present.any(axis=1)
            lost[name] = np.where(meaningful, p - left, np.nan)
        else:
            rows = np.arange(len(p))
            tried = [{**feeds, name: others[name][(rows + shift) % len(others[name])]} for shift in range(len(others[name]))]
            lost[name] = p - np.mean([probability(run(changed), answered) for changed in tried], axis=0)
    return lost


def explain(predictor: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The answer of a Predictor to one row, with "lost": {input: probability of the answer that is lost without it, or None}."""
    task = answerer(predictor.bundle.task)
    if not hasattr(task, "probability"):
        raise DeviceError(f"answers of the task {predictor.bundle.task!r} have no probability that an input could be weighed by")
    lost = weigh_inputs(
        predictor.run, predictor.read(given), predictor.samples(), probability=partial(task.probability, facts=predictor.bundle.facts)
    )
    return {**predictor.predict(**given), "lost": {name: None if np.isnan(value[0]) else float(value[0]) for name, value in lost.items()}}


def lines(explained: dict[str, Any]) -> list[str]:
    """What `explain` prints: the answer, then each input, the one that decided most first."""
    told = [f"{explained['label']}  {explained['probability']:.3f}"]
    for name, lost in sorted(explained["lost"].items(), key=lambda item: (item[1] is None, -(item[1] or 0.0))):
        if lost is not None:
            told.append(f"  {name:<10} {lost:+.3f} of its probability come from it: {explained['probability'] - lost:.3f} without")
        elif name in explained.get("missing", []):
            told.append(f"  {name:<10} was missing")
        else:
            told.append(f"  {name:<10} is all there is")
    return told
