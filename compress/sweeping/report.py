"""A sweep in Markdown: its trials, which of them are best, and which places mattered; and the winner as a recipe of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from compress.errors import CompressError, RecipeError
from compress.recipe.grammar import load_recipe
from compress.recipe.sweep import as_override, with_overrides
from compress.sweeping.study import Found, Result, text_hash
from compress.sweeping.trials import SIZES

UNITS = {"accuracy": "%", "latency_ms": "ms", "latency_ratio": "x the teacher's speed", "size_mb": "MB", "memory_mb": "MB"}

UNFINISHED = {
    "pruned": "were ended on their way, because their validation accuracy was behind",
    "refused": "were refused before they were trained, because the student is larger than the limits",
    "failed": "failed",
}


def sweep_markdown(result: Result) -> str:
    """The report; numbers as they were measured, one run each."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    places, objectives = list(result.asked["places"]), result.asked["objectives"]
    yield f"# Sweep {result.name}\n"
    done = sum(1 for trial in result.trials if trial.objectives)
    yield f"{done} trials of {result.asked['recipe']}, proposed by {result.asked['sampler']}; accuracy is of the validation rows."
    for state, told in UNFINISHED.items():
        if count := sum(1 for trial in result.trials if trial.state == state):
            yield f"{count} more {told}."
    yield "No other is as good in everything and better in something: " + ", ".join(trial.name for trial in result.front) + ".\n"
    sizes = [name for name in SIZES if name not in objectives and any(trial.student for trial in result.trials)]
    named = [", ".join(filter(None, (name, UNITS.get(name)))) for name in (*objectives, *sizes)]
    yield "| run | " + " | ".join([*places, *named]) + " | best |"
    yield "| --- |" + " --- |" * len(places) + " ---: |" * len(named) + " --- |"
    for trial in result.trials:
        unfinished = [_cell(f"{trial.state}: {trial.why}"), *[""] * (len(objectives) - 1)]
        measured = [_number(trial.objectives[name]) for name in objectives] if trial.objectives else unfinished
        size = [_number(trial.student[name]) if trial.student else "" for name in sizes]
        cells = [trial.name, *(_cell(trial.values.get(place)) for place in places), *measured, *size, "yes" if trial.best else ""]
        yield "| " + " | ".join(cells) + " |"
    for objective, shares in result.importances.items():
        told = ", ".join(f"{place} {100 * share:.0f} %" for place, share in shares.items())
        yield f"\nWhat {objective} varied by (PED-ANOVA, an estimate): {told}."


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10_000 else f"{value:.4g}"


def _cell(value: object) -> str:
    return (f"{value:.4g}" if isinstance(value, float) else str(value)).replace("|", "\\|")


def choose(result: Result, number: int | None = None) -> Found:
    """The trial of that number, or the best by the first objective. Raises: CompressError where there is none."""
    done = {trial.number: trial for trial in result.trials if trial.objectives}
    if not done or (number is not None and number not in done):
        raise CompressError(
            f"{result.name}: no finished trial{'' if number is None else f' {number}'}; there are {list(done) or 'none yet'}"
        )
    return result.front[0] if number is None else done[number]


def write_best(result: Result, trial: Found, out: Path | None, *, force: bool = False) -> Path:
    """The recipe of a trial, written beside the one that was swept (where its relative paths hold), or to `out`.

    Raises: RecipeError where the swept recipe is no longer what it was, CompressError where a file is in the way.
    """
    source = Path(result.asked["recipe"])
    place = out or source.with_name(f"{source.stem}.best.yaml")
    overrides = [*result.asked["overrides"], *(as_override(name, value) for name, value in trial.values.items())]
    loaded = load_recipe(source, overrides)
    if result.asked["sha256"] != text_hash(loaded):
        raise RecipeError(f"{source}: has changed since it was swept; the trial's values are {', '.join(overrides)}")
    if place.exists() and not force:
        raise CompressError(f"{place}: is there already; give --force to replace it, or another --out")
    told = ", ".join(" ".join(filter(None, (name, _number(value), UNITS.get(name)))) for name, value in trial.objectives.items())
    place.write_text(f"# {trial.name} of sweep {result.name}: {told}\n{with_overrides(loaded.text, overrides)}")
    load_recipe(place)
    return place
