"""`compress data`: what a recipe's data are, as tables for the terminal and as a page with some rows of each split to look at and to hear.

The page is one file that fetches nothing, and says so to the browser; everything on it comes from the folder of the data stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from compress.data.duplicates import list_leaks
from compress.data.prepared import PreparedData
from compress.errors import CompressError
from compress.modalities.modality import modality
from compress.reporting.cells import percent, significant
from compress.reporting.duplicates import show_near
from compress.reporting.markdown import table
from compress.reporting.notes import list_skew
from compress.reporting.page import find_template
from compress.tasks.labels import known

SPLITS = ("train", "validation", "test")
MOST_BYTES = 12_000_000  # of the shown rows, a third for each split: a page that opens at once, and can be sent
MOST_LINES = 200  # of the tables of labels and kinds

Table = tuple[str, str, list[str], list[list[str]]]  # title, note, head, rows


def describe_data(data: PreparedData) -> tuple[list[Table], list[str]]:
    """The tables, empty ones left out, and what a reader must know, a sentence each."""
    tables = [_counts(data), *_answers(data), _kinds(data), _sizes(data), _left_out(data)]
    return [found for found in tables if found[3]], [*_notes(data)]


def data_markdown(data: PreparedData) -> str:
    """The tables and sentences as Markdown, which also reads well in a terminal."""
    tables, notes = describe_data(data)
    return "\n\n".join([*(table([title, *head[1:]], rows) for title, _, head, rows in tables), *notes])


def write_sheet(out: Path, data: PreparedData, *, name: str, description: str, samples: int) -> None:
    """Writes the page with up to `samples` rows of each split. Raises CompressError where it cannot be written."""
    tables, notes = describe_data(data)
    page = find_template("data_sheet.html.j2").render(
        name=name,
        description=description,
        figures=[(f"{data.report['splits'][split]['rows']:,}", f"rows of {split}") for split in SPLITS]
        + [(significant(100 * value) + " %", f"by {key.replace('_', ' ')}") for key, value in data.report["baselines"].items()],
        tables=tables,
        notes=notes,
        pairs=[
            (split, [{**p, "test": Markup(p["test"]), "train": Markup(p["train"])} for p in show_near(data, split)]) for split in SPLITS[1:]
        ],
        sheets=[(split, *show_rows(data, split, count=samples, most_bytes=MOST_BYTES // len(SPLITS))) for split in SPLITS],
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CompressError(f"{out}: cannot be written ({error.strerror}); give another place with --out") from error


def show_rows(data: PreparedData, split: str, *, count: int, most_bytes: int) -> tuple[list[dict[str, Any]], str]:
    """Up to `count` rows of a split as {inputs: {modality: HTML}, label, kind}, each label in turn, and the sentence that says how many.

    Rows are drawn by a fixed seed; the first that would make more than `most_bytes` of HTML ends the sheet.
    """
    rows, size = data.split(split), 0
    labelled = known(rows.labels)
    shown: list[dict[str, Any]] = []
    for row in _in_turns(data.task.strata(np.asarray(rows.labels)))[:count]:
        inputs = {
            m: "(none)" if rows.lacks(m)[row] else modality(m).show_whole(rows.inputs[m], int(rows.rows[m][row]), data.report["inputs"][m])
            for m in data.report["modalities"]
        }
        size += sum(len(html.encode()) for html in inputs.values())
        if size > most_bytes:
            break
        kind = int(rows.kinds[row])
        shown.append(
            {
                "inputs": {m: Markup(html) for m, html in inputs.items()},  # noqa: S704 - rooms escape what they show
                "drawn": Markup(data.task.draw(rows.labels[row], data.labels)) if labelled[row] else "",  # noqa: S704
                "label": data.task.show(rows.labels[row], data.labels) if labelled[row] else "(none)",
                "kind": data.kinds[kind] if kind >= 0 else None,
            }
        )
    full = f"; more would take over {most_bytes / 1e6:.0f} MB" if size > most_bytes else ""
    return shown, f"{len(shown):,} of {len(rows):,} rows, drawn at random, each label in turn{full}. Inputs are as the student reads them."


def _in_turns(strata: np.ndarray) -> list[int]:
    """All rows (R,) at random, but the first of each class before the second of any."""
    order = np.random.default_rng(0).permutation(len(strata))
    drawn = np.asarray(strata)[order]
    turn = np.zeros(len(drawn), np.int64)
    for label in np.unique(drawn):
        turn[drawn == label] = np.arange(np.sum(drawn == label))
    return order[np.lexsort((drawn, turn))].tolist()


def _counts(data: PreparedData) -> Table:
    """Rows, inputs, groups and what test and validation share with train."""
    accounts = data.report["splits"]
    lines: dict[str, list[str]] = {}

    def line(title: str, cells: list[int | None]) -> None:
        if any(cell is not None for cell in cells):
            lines[title] = ["–" if cell is None else f"{cell:,}" for cell in cells]

    line("rows", [accounts[s]["rows"] for s in SPLITS])
    line("without a label", [accounts[s]["unlabelled_rows"] or None for s in SPLITS])
    for m in data.report["modalities"]:
        line(f"rows without {m}", [accounts[s].get("lacking", {}).get(m) or None for s in SPLITS])
        line(f"different {m} inputs", [accounts[s]["inputs"][m] for s in SPLITS])
        line(f"{m} inputs that train has too", [None if s == "train" else accounts[s]["seen_in_train"][m] for s in SPLITS])
    near = [None if s == "train" else accounts[s]["near_duplicates"] for s in SPLITS]
    line("near duplicates of train's inputs", [found and found["inputs"] for found in near])
    groups = [accounts[s]["groups"] for s in SPLITS]
    line("groups", [found and found["groups"] for found in groups])
    line(
        "groups that train has too",
        [None if s == "train" else found and found["in_train"] for s, found in zip(SPLITS, groups, strict=True)],
    )
    return "Splits", f"Validation is {data.report['validation']}.", ["", *SPLITS], [[title, *cells] for title, cells in lines.items()]


def _answers(data: PreparedData) -> Iterator[Table]:
    """How often each label is there, of several heads head by head; of numbers, where they lie."""
    accounts = [data.report["splits"][split] for split in SPLITS]
    parts = [(f": {part.name}", part.names, [account["heads"][part.name] for account in accounts]) for part in data.task.heads]
    for of, names, own in parts or [("", data.labels, accounts)]:
        counts, rows_of = [account.get("label_counts") or {} for account in own], [account["labelled_rows"] for account in own]
        words = any(max(found.values(), default=0) > rows for found, rows in zip(counts, rows_of, strict=True))  # words or places a row
        yield _balance(f"Labels{of}", names, counts, [sum(found.values()) for found in counts] if words else rows_of)
        ranges = [account.get("ranges") or {} for account in own]
        rows = [[name, *(_range(found.get(name)) for found in ranges)] for name in ranges[0]]
        yield f"Numbers{of}", "Mean, and from the least to the largest.", ["", *SPLITS], rows


def _range(found: dict[str, float] | None) -> str:
    return f"{found['mean']:.4g} ({found['low']:.4g} to {found['high']:.4g})" if found else "–"


def _kinds(data: PreparedData) -> Table:
    accounts = [data.report["splits"][split] for split in SPLITS]
    return _balance(
        "Kinds of rows", data.kinds, [account["kind_counts"] for account in accounts], [account["rows"] for account in accounts]
    )


def _balance(title: str, names: list[str], counts: list[dict[str, int]], rows: list[int]) -> Table:
    """Each name with its rows and their share, the commonest in train first."""
    order = sorted(filter(counts[0].__contains__, names), key=lambda name: -counts[0][name])
    cells = [[name, *(f"{c[name]:,} ({percent(c[name] / max(n, 1), 1)} %)" for c, n in zip(counts, rows, strict=True))] for name in order]
    more = len(cells) - MOST_LINES
    return title, f"{more:,} rarer ones are not shown." if more > 0 else "", ["", *SPLITS], cells[:MOST_LINES]


def _sizes(data: PreparedData) -> Table:
    """Of each input as the user has it, beside the form in which the student reads it."""
    rows = []
    for m in data.report["modalities"]:
        found = [data.report["splits"][split]["sizes"][m] for split in SPLITS]
        form = ", ".join(f"{word} {value}" for word, value in data.report["inputs"][m].items())
        rows += [[f"{m}: {what}", *(_spread(sizes.get(what)) for sizes in found), form] for what in found[0]]
    note = "The least, the median, the 95th percentile and the largest, before anything is cut or resized; of at most 2,000 inputs a split."
    return "Sizes", note, ["", *SPLITS, "the student reads"], rows


def _spread(found: dict[str, float] | None) -> str:
    return " – ".join(significant(found[key]) for key in ("low", "median", "p95", "high")) if found else "–"


def _left_out(data: PreparedData) -> Table:
    """Broken rows by reason with the first of them, and what the source has and does not give."""
    broken = [
        [reason, f"{found['count']:,}", "; ".join(f"{e['split']} row {e['row']}: {e['value']}" for e in found["examples"])]
        for reason, found in data.report["skipped"]["reasons"].items()
    ]
    source = [[reason, f"{count:,}", "by the source"] for reason, count in data.report.get("left_out", {}).items()]
    return "Left out", "", ["why", "rows", "such as"], [*broken, *source]


def _notes(data: PreparedData) -> Iterator[str]:
    for leak in [*list_leaks(data.report), *list_skew(data)]:
        yield leak[0].upper() + leak[1:]
    together = data.report.get("kept_together")
    if together and together["inputs"]:
        yield f"{together['inputs']:,} inputs of train and validation are near duplicates of each other and were kept on one side."
