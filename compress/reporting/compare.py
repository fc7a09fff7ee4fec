"""Several runs side by side: figures, paired differences where the test rows are the same, and in what their recipes differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from compress.measures.paired import compare_paired, show_interval, show_p
from compress.reporting.budgets import in_mb, measured
from compress.reporting.cells import count, percent, show_bytes, significant
from compress.reporting.markdown import table, with_interval
from compress.reporting.page import find_template
from compress.reporting.plots import plot_tradeoff
from compress.reporting.runs import Run
from compress.store.artifacts import hash_file

PAIRED_COLUMNS = ("what", "run", "against", "points (95 %)", "rows it alone has right", "rows the other alone has right", "p", "difference")
WATCHED = ("name", "description", "budget")  # of a recipe: what makes no model


def compare_runs(runs: Sequence[Run]) -> dict[str, Any]:
    """{names, figures: [(title, cells)], kinds: the same, paired: rows of PAIRED_COLUMNS, recipes: [(place, cells)], notes}, a cell a run."""
    names = _names(runs)
    paired, notes = _pairs(runs, names)
    devices = {f"{run.measurements['device']['name']}, {run.measurements['device']['runtime']}" for run in runs}
    if len(devices) > 1:
        notes.append(f"Times were taken on different devices ({'; '.join(sorted(devices))}): compare “faster than its teacher” alone.")
    else:
        notes.append("Times of different runs were not taken in turns: “faster than its teacher” is, and so is the fairer figure.")
    return {
        "names": names,
        "figures": list(_figures(runs)),
        "kinds": list(_kinds(runs)),
        "paired": paired,
        "recipes": list(_recipe_differences(runs)),
        "notes": notes,
    }


def comparison_markdown(comparison: dict[str, Any]) -> str:
    """The comparison as Markdown, which also reads well in a terminal."""
    head = ["", *comparison["names"]]
    parts = [table(head, [[title, *cells] for title, cells in comparison["figures"]])]
    if comparison["paired"]:
        parts.append(table(PAIRED_COLUMNS, comparison["paired"]))
    if comparison["kinds"]:
        parts.append(table(["kind of row", *comparison["names"]], [[title, *cells] for title, cells in comparison["kinds"]]))
    if comparison["recipes"]:
        parts.append(table(["recipe", *comparison["names"]], [[place, *cells] for place, cells in comparison["recipes"]]))
    return "\n\n".join([*parts, *comparison["notes"]])


def write_comparison(out: Path, runs: Sequence[Run], comparison: dict[str, Any]) -> None:
    """Writes the page, self-contained."""
    page = find_template("compare.html.j2").render(**comparison, columns=PAIRED_COLUMNS, tradeoff=_tradeoff(runs, comparison["names"]))
    out.write_text(page, encoding="utf-8")


def why_not_same_rows(one: Run, other: Run) -> str | None:
    """Why the two runs were not scored on the same test rows, or None where they were.

    The same: rows of the same numbers with the same labels, and either data sets of one identity or test inputs equal byte for byte.
    """
    rows = one.answers["rows"]
    if not np.array_equal(rows, other.answers["rows"]):
        return "other test rows were scored"
    if one.data.labels != other.data.labels:
        return "the answers that there are differ"
    mine, theirs = one.data.split("test"), other.data.split("test")
    if not np.array_equal(np.asarray(mine.labels)[rows], np.asarray(theirs.labels)[rows]):
        return "the labels of the test rows differ"
    if one.data.report["identity"] == other.data.report["identity"]:
        return None
    shared = [m for m in mine.rows if m in theirs.rows]
    if shared and all(np.array_equal(mine.rows[m], theirs.rows[m]) and _same_files(one, other, m) for m in shared):
        return None
    return "the data sets differ, and their test inputs are not equal byte for byte"


def _same_files(one: Run, other: Run, modality: str) -> bool:
    files = [sorted((run.data.path / "test").glob(f"{modality}.*")) for run in (one, other)]
    return bool(files[0]) and [(p.name, hash_file(p)) for p in files[0]] == [(p.name, hash_file(p)) for p in files[1]]


def _names(runs: Sequence[Run]) -> list[str]:
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def _figures(runs: Sequence[Run]) -> Iterator[tuple[str, list[str]]]:
    measure = runs[0].summary.get("measure", "accuracy")
    yield "ships", [run.summary["shipped_model"] for run in runs]
    for who in ("shipped", "student", "teacher"):
        yield f"{who} {measure}, % (95 %)", [_accuracy(run, who) for run in runs]
    yield "shipped against its teacher, points", [_against(run) for run in runs]
    yield "test samples", [f"{run.measurements['samples']:,}" for run in runs]
    yield "shipped size", [show_bytes(run.summary["shipped_size_bytes"]) for run in runs]
    yield "smaller than its teacher", [_smaller(run) for run in runs]
    yield "parameters of the student", [count(run.summary["student_parameters"]) for run in runs]
    yield "batch 1, ms (p95)", [_times(run) for run in runs]
    yield "faster than its teacher", [_faster(run) for run in runs]
    yield "peak memory, MB", [significant(in_mb(measured(run.shipped, "peak_memory"))) for run in runs]
    yield "cold start, ms", [significant(measured(run.shipped, "cold_start")) for run in runs]
    yield "made in, s", [significant(run.summary["seconds_cold"]) for run in runs]


def _against(run: Run) -> str:
    paired = run.shipped["accuracy"].get("against_teacher")
    return show_interval(paired) if paired else "–"


def _smaller(run: Run) -> str:
    ratio = run.summary["shipped_size_ratio"]
    return "–" if ratio is None else f"{significant(ratio)}x"


def _accuracy(run: Run, who: str) -> str:
    models = run.measurements["models"].values()
    found = run.shipped if who == "shipped" else next(m for m in models if m["role"] == who and m["precision"] == "fp32")
    return with_interval(*(percent(found["accuracy"][key]) for key in ("value", "low", "high")))


def _times(run: Run) -> str:
    first = (run.shipped["latency"] or {}).get("1")
    return f"{significant(first['median_ms'])} ({significant(first['p95_ms'])})" if first else "–"


def _faster(run: Run) -> str:
    over = ((run.shipped["latency"] or {}).get("1") or {}).get("teacher_over_this")
    return with_interval(*(f"{significant(over[key])}x" for key in ("value", "low", "high"))) if over else "–"


def _kinds(runs: Sequence[Run]) -> Iterator[tuple[str, list[str]]]:
    """What the shipped files have right of each kind of row."""
    tables = [{entry["name"]: entry for entry in run.shipped["by_kind"]} for run in runs]
    for kind in dict.fromkeys(kind for known in tables for kind in known):
        yield kind, [f"{percent(known[kind]['value'], 1)} of {known[kind]['samples']:,}" if kind in known else "–" for known in tables]


def _pairs(runs: Sequence[Run], names: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Rows of PAIRED_COLUMNS, each later run against the first; and why there are none for a run."""
    rows, notes, first = [], [], runs[0]
    for run, name in zip(runs[1:], names[1:], strict=True):
        reason = why_not_same_rows(first, run)
        if reason:
            notes.append(f"{name} and {names[0]} cannot be compared row by row: {reason}.")
            continue
        heard = all(one.answers["heard"].all() for one in (run, first) if "heard" in one.answers)  # a teacher answered each row
        compared = ("shipped", "student", *(["teacher"] if heard else []))
        rows += [_pair(run, first, who, name, names[0]) for who in compared]
    return rows, notes


def _pair(run: Run, first: Run, who: str, name: str, against: str) -> list[str]:
    test, scored = first.data.split("test"), first.answers["rows"]
    labels = np.asarray(test.labels)[scored]
    gains = [one.data.task.gains(one.answers[f"model_{_model(one, who)}"], labels) for one in (run, first)]
    paired = compare_paired(*gains, clusters=test.clusters[scored])
    counts = [f"{paired.a_only:,}", f"{paired.b_only:,}", show_p(paired.p).removeprefix("p ")]
    return [
        who,
        name,
        against,
        with_interval(*(f"{v:+.2f}" for v in (paired.difference, paired.low, paired.high))),
        *counts,
        paired.verdict,
    ]


def _model(run: Run, who: str) -> str:
    models = run.measurements["models"].items()
    return run.summary["shipped_model"] if who == "shipped" else next(n for n, m in models if m["role"] == who and m["precision"] == "fp32")


def _recipe_differences(runs: Sequence[Run]) -> Iterator[tuple[str, list[str]]]:
    """Each place of the recipes in which they differ."""
    flat = [dict(_flatten({key: value for key, value in run.recipe.items() if key not in WATCHED})) for run in runs]
    for place in dict.fromkeys(place for values in flat for place in values):
        cells = [json.dumps(values[place]) if place in values else "–" for values in flat]
        if len(set(cells)) > 1:
            yield place, cells


def _flatten(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{place}.{key}" if place else str(key))
    else:
        yield place, value


def _tradeoff(runs: Sequence[Run], names: Sequence[str]) -> Markup | None:
    points = []
    for run, name in zip(runs, names, strict=True):
        for who in ("shipped", "teacher"):
            model = run.measurements["models"][_model(run, who)]
            if timed := (model["latency"] or {}).get("1"):
                accuracy = {key: model["accuracy"][end] for key, end in (("accuracy", "value"), ("low", "low"), ("high", "high"))}
                point = {"name": f"{name}: {who}", "role": model["role"], "shipped": who == "shipped", "latency_ms": timed["median_ms"]}
                points.append({**point, **accuracy})
    return Markup(plot_tradeoff(points)) if points else None
