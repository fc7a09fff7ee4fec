"""Which input decided: how far the numbers of an answer fall when one input gives way to those of other rows, or is left out.

Which numbers those are, such as the probability of a label, its task says (`explained` in `tasks`). An input is left out where the model
reads which are there; else others stand in for it, one after the other, and their mean counts. The figures need not add up to anything: two
inputs may each be enough, or be worth something together alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .contents import PRESENT, BundleFolder
from .errors import DeviceError
from .tasks import Explained, answerer

LONG = 100  # letters of an answer's first line that are printed
Arrays = dict[str, np.ndarray]
Explain = Callable[[Any, Any], list[Explained]]  # of logits (R, K), and of those that the rows have as they are


def weigh_inputs(
    run: Callable[[Arrays], Arrays], feeds: Arrays, others: Arrays, *, explain: Explain
) -> list[tuple[Explained, dict[str, np.ndarray]]]:
    """Each number that `explain` finds in the rows' answers, with {input: (R,) what of it is lost without that input}; NaN where the row lacks
    the input, or has nothing else.

    feeds: (R, ...) by port; others: (N, ...) rows to take inputs from.
    """
    answered = _logits(run, feeds)
    whole = explain(answered, answered)

    def left(changed: Arrays) -> np.ndarray:
        """(S, R) what the S numbers of the rows are with these inputs."""
        return np.stack([number.values for number in explain(_logits(run, changed), answered)])

    now = np.stack([number.values for number in whole])
    names = [name for name in feeds if name != PRESENT]
    lost: dict[str, np.ndarray] = {}
    for place, name in enumerate(names):
        if PRESENT in feeds:
            present = feeds[PRESENT].copy()
            present[:, place] = 0
            meaningful = (feeds[PRESENT][:, place] > 0) & present.any(axis=1)
            lost[name] = np.where(meaningful, now - left({**feeds, PRESENT: present}), np.nan)
        else:
            rows = np.arange(now.shape[1])
            tried = [{**feeds, name: others[name][(rows + shift) % len(others[name])]} for shift in range(len(others[name]))]
            lost[name] = now - np.mean([left(changed) for changed in tried], axis=0)
    return [(number, {name: values[index] for name, values in lost.items()}) for index, number in enumerate(whole)]


def _logits(run: Callable[[Arrays], Arrays], feeds: Arrays) -> np.ndarray:
    return run(feeds)["logits"].astype(np.float64)


def explainer(bundle: BundleFolder, *, xp: Any = np) -> Explain:
    """`explained` of a bundle's task, for its answers; raises DeviceError where inputs have no part in one."""
    explained = getattr(answerer(bundle.task), "explained", None)
    if explained is None:
        raise DeviceError(f"an answer of the task {bundle.task!r} has no number that inputs could be weighed by")
    return partial(explained, labels=bundle.labels, facts=bundle.facts, xp=xp)


def explain(predictor: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The answer of a Predictor to one row, with "explained": of each of its numbers [{what, head, unit, value, lost}], where `lost` is
    {input: what of it is lost without that input, or None}."""
    feeds, others = predictor.read(given), predictor.samples()
    weighed = weigh_inputs(predictor.run, feeds, others, explain=explainer(predictor.bundle))
    return {**predictor.predict(**given), "explained": [{**describe(number), "lost": of_one_row(lost)} for number, lost in weighed]}


def describe(number: Explained) -> dict[str, Any]:
    """What it is, and its value in the first row, as plain data."""
    return {"what": number.what, "head": number.head, "unit": number.unit, "value": float(number.values[0])}


def of_one_row(values: Arrays) -> dict[str, float | None]:
    """{input: that of the first row, None where it says nothing}."""
    return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in values.items()}


def lines(explained: dict[str, Any], task: str) -> list[str]:
    """What `explain` prints of answers of a task: the answer, then each input, the one that decided most first; so of each head and number."""
    told: list[str] = []
    for number in explained["explained"]:
        own = explained["heads"][number["head"]] if number["head"] else {**explained, "task": task}
        said = answerer(own["task"]).lines(own)[0]
        said = f"{number['head']}: {said}" if number["head"] else said if len(said) <= LONG else f"{said[:LONG]} ..."
        told += [] if said in told else [said]
        for name, lost in sorted(number["lost"].items(), key=lambda item: (item[1] is None, -abs(item[1] or 0.0))):
            if lost is not None:
                told.append(f"  {name:<10} {lost:+.3f} of {number['what']} come from it: {number['value'] - lost:.3f} without")
            elif name in explained.get("missing", []):
                told.append(f"  {name:<10} was missing")
            else:
                told.append(f"  {name:<10} is all there is")
    return told
