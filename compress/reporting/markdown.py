"""report.md and what `compress show` prints: a run's figures as Markdown that also reads well in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from compress.measures.paired import describe_paired
from compress.reporting.budgets import Line, in_mb, measured
from compress.reporting.cells import percent, show_bytes, significant
from compress.reporting.heads import show_heads
from compress.reporting.samples import in_words
from compress.reporting.service import show_around, show_streams

MAX_PARTS = 20
ROWS_TOLD = 5  # of those on which teacher and student differ
MODEL_COLUMNS = (
    "model",
    "accuracy, % (95 %)",
    "against teacher, points (95 %)",
    "size",
    "batch 1, ms (p95)",
    "faster (95 %)",
    "memory, MB",
)


def render_markdown(
    summary: dict[str, Any],
    measurements: dict[str, Any],
    budget: Sequence[Line] = (),
    *,
    description: str = "",
    differing: Sequence[dict[str, Any]] = (),
    stages: Sequence[dict[str, Any]] = (),
) -> str:
    """The text. summary and measurements: as the report stage has them; budget: the lines that were set; differing: rows that teacher and
    student answer otherwise, as `describe_rows` has them; stages: as the page has them."""
    models, name = measurements["models"], summary["shipped_model"]
    shipped, device = models[name], measurements["device"]
    parts = [f"# {summary['name']}", *([escape(description)] if description else []), headline(summary)]
    parts += [f"**{escape(doubt)}.**" for doubt in summary.get("doubts", [])]
    missed = [line for line in budget if line.missed]
    if budget:
        parts += [f"Budget: {len(missed)} of {len(budget)} lines missed." if missed else f"Budget: all {len(budget)} lines met."]
        parts += [table(["budget", "measured", "limit", ""], map(_budget_row, budget))]
    parts += [
        f"What it costs: {against_teacher(shipped)}.",
        f"Which file ships: {escape(summary['precision_reason'])}.",
    ]
    if summary["teacher_comparison"]:
        parts.append(f"Was the teacher worth it? {escape(summary['teacher_comparison'])}.")
    measure = summary.get("measure", "accuracy")
    columns = [column.replace("accuracy", measure) for column in MODEL_COLUMNS]
    parts += ["## Teacher and students", table(columns, [_model_row(n, m, ships=n == name) for n, m in models.items()])]
    parts.append(
        f"{measurements['samples']:,} test samples, answered by the exported files. {device['name']}, {device['runtime']}, "
        f"{measurements['threads']} thread(s), models taking turns; “faster” is the teacher's time over the model's."
    )
    if shipped.get("differs"):
        parts += ["## Where teacher and student differ", escape(differing_in_words(shipped["differs"], name))]
        parts += [table(["test row", "inputs", "label", "teacher", name], map(_row_of, differing[:ROWS_TOLD]))] if differing else []
    for shown in (show_heads(models, shipped=name), show_around(measurements, shipped=name), show_streams(measurements)):
        if shown["rows"]:
            parts += [f"## {shown['title']}", table([*shown["rows"][0]], [[str(cell) for cell in row.values()] for row in shown["rows"]])]
            parts.append(escape(shown["note"]))
    if reused := [f"{stage['name']} ({origin(stage)})" for stage in stages if stage.get("reused")]:
        parts.append(f"Not made by this run: {escape(', '.join(reused))}.")
    teacher = next(m for m in models.values() if m["role"] == "teacher")
    cuts = [("kind of row", teacher["by_kind"], shipped["by_kind"]), ("answer", teacher["by_answer"], shipped["by_answer"])]
    cuts += [(column, teacher["by_slice"][column], known) for column, known in shipped.get("by_slice", {}).items()]
    for title, theirs, own in cuts:
        if own:
            parts.append(table([title, "samples", "teacher, %", f"{name}, %"], _part_rows(theirs, own)))
    return "\n\n".join(parts) + "\n"


def headline(summary: dict[str, Any]) -> str:
    """One line: what ships beside the teacher."""
    speed = f"{significant(summary['shipped_latency_ratio'])}x faster" if summary["shipped_latency_ratio"] else "not timed on this machine"
    beside = f"{significant(summary['shipped_size_ratio'])}x smaller, {speed} at batch 1"
    if summary["shipped_size_ratio"] is None:
        beside = "size and latency of the teacher are unknown"
    return (
        f"**{summary['shipped_model']}** ships: {percent(summary['shipped_accuracy'])} % {summary.get('measure', 'accuracy')} "
        f"(teacher {percent(summary['teacher_accuracy'])} %), {show_bytes(summary['shipped_size_bytes'])}, {beside}"
    )


def against_teacher(model: dict[str, Any]) -> str:
    """The paired comparison of a file with the teacher, in words."""
    paired = model["accuracy"].get("against_teacher")
    return describe_paired(paired) if paired else "not known, for the teacher answered no test row"


def differing_in_words(found: dict[str, Any], name: str) -> str:
    """The sentence of how many test rows the model `name` answers otherwise than its teacher, and who has them right."""
    if not found["value"]:
        return f"They answer alike on all {found['samples']:,} test rows."
    parts = {"the teacher alone": "teacher_alone", f"{name} alone": "this_alone", "neither": "neither", "both": "both"}
    right = ", ".join(f"{who} on {found[key]:,}" for who, key in parts.items() if found[key] or key != "both")
    return f"{found['value']:,} of {found['samples']:,} test rows are answered otherwise; right is {right}."


def origin(stage: dict[str, Any]) -> str:
    """Where a stage's result is from: this run, or another one."""
    if not stage.get("reused"):
        return "made"
    return f"reused from {stage.get('run') or 'an earlier run'}" + (f", {stage['created'][:10]}" if stage.get("created") else "")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with its columns in line: the first to the left, all others to the right. Cells are escaped."""
    cells = [[escape(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [[row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))] for row in cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:]))


def escape(text: str) -> str:
    """A text from a user's data on one line and in one cell, without markup of its own."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return plain.replace("|", "\\|").replace("`", "\\`") or " "


def with_interval(value: str, low: str, high: str) -> str:
    """ "1.00 (0.98 to 1.02)"."""
    return f"{value} ({low} to {high})"


def _budget_row(line: Line) -> list[str]:
    return [line.key, "not measured" if line.value is None else f"{line.value:.4g}", f"{line.limit:g}", "missed" if line.missed else "met"]


def _model_row(name: str, model: dict[str, Any], *, ships: bool) -> list[str]:
    accuracy, first = model["accuracy"], (model["latency"] or {}).get("1")
    paired = accuracy.get("against_teacher")
    over = first and first.get("teacher_over_this")
    return [
        f"{name} (ships)" if ships else name,
        with_interval(*(percent(accuracy[key]) for key in ("value", "low", "high"))),
        with_interval(*(f"{paired[key]:+.2f}" for key in ("difference", "low", "high"))) if paired else "–",
        show_bytes(model["size"]["value"]),
        f"{significant(first['median_ms'])} ({significant(first['p95_ms'])})" if first else "unmeasured",
        with_interval(*(f"{significant(over[key])}x" for key in ("value", "low", "high"))) if over else "–",
        significant(in_mb(measured(model, "peak_memory"))),
    ]


def _row_of(sample: dict[str, Any]) -> list[str]:
    def said(name: str) -> str:
        p = sample["sure"].get(name)
        return sample["predictions"][name] + ("" if p is None else f" ({percent(p, 1)} %)") + (" ✓" if sample["right"][name] else "")

    names = [*sample["predictions"]]
    inputs = "; ".join(f"{m}: {in_words(shown)}" for m, shown in sample["inputs"].items())
    return [str(sample["row"]), inputs, sample["label"], said(names[0]), said(names[-1])]


def _part_rows(teacher: list[dict[str, Any]], shipped: list[dict[str, Any]]) -> list[list[str]]:
    """Where there are many parts, those of which the shipped file has least right."""
    known = {entry["name"]: entry["value"] for entry in teacher}
    shown = shipped if len(shipped) <= MAX_PARTS else sorted(shipped, key=lambda entry: entry["value"])[:MAX_PARTS]
    return [[e["name"], f"{e['samples']:,}", percent(known.get(e["name"]), 1), percent(e["value"], 1)] for e in shown]
