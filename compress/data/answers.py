"""What a look at the user's files tells of the answers, where a row has something else than one of K labels; for `compress init`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.columns import ANSWER, as_one, join_answers, label_column
from compress.recipe.seen import SeenHead
from compress.tasks.labels import known
from compress.tasks.task import Task, task

if TYPE_CHECKING:
    import pyarrow as pa

OWN_SIZE = 384  # of the sentence encoder and of the sound encoder that `compress init` takes for teachers
SHARED_SIZE = 128  # of the space that the towers of pretrained encoders are fitted to
SEPARATORS = ("|", ";", ",")
MASKS, MASK_SIDE = 400, 128  # masks of a split that are read, as for pictures of so many pixels a side
MOST_LABELS = 20  # different whole numbers of a column up to which they are taken for names


@dataclass(frozen=True)
class Answers:
    """The answers of all splits, as the recipe's writer needs them."""

    options: dict[str, Any]  # data.task_options
    labels: dict[str, int]  # training rows by label, the commonest first; none where answers are numbers
    broken: dict[str, int]  # rows that cannot be used, by reason
    unlabelled: int  # training rows
    told: tuple[str, ...] = field(default=())  # comments beside the task


def look_at_answers(columns: Mapping[str, pa.ChunkedArray], name: str) -> Answers:
    """The columns of the splits, train among them, as the task `name` reads them; raises DataError where they are of another task."""
    if task(name).dense:
        return _look_at_masks(columns, name)
    columns = {split: label_column(column, f"--label of {split}") for split, column in columns.items()}
    options, told = _options(columns["train"], name)
    room = task(name, options=options)
    cells = {split: room.cells(column, f"--label of {split}") for split, column in columns.items()}
    names = room.names(as_one(cells.values()) if room.open_set else cells["train"])
    room = room.with_facts({**room.learn(cells["train"], names), **({"towers": ["the inputs"]} if room.towers else {})})
    found = {split: room.encode(column, names) for split, column in cells.items()}
    labels, blank = found["train"]
    account = room.account(labels[known(labels)], names)
    counts = Counter(account["label_counts"])
    told += [f"{room.sentence(names)}; {_shown(account)}"]
    return Answers(options, dict(counts.most_common()), _broken(room, found), int(blank.sum()), tuple(told))


def _broken(room: Task, found: Mapping[str, tuple[np.ndarray, np.ndarray]], blank: Mapping[str, int] | None = None) -> dict[str, int]:
    """Reason -> how many rows cannot be used, of what `encode` gave for each split; `blank`: how many are blank, where some rows alone were read."""
    blank = blank or {split: int(empty.sum()) for split, (_, empty) in found.items()}
    counts = {
        room.unknown: sum(int((~known(labels) & ~empty).sum()) for labels, empty in found.values()),
        "no label": sum(count for split, count in blank.items() if split != "train"),  # of train they teach without one
    }
    return {reason: count for reason, count in counts.items() if count}


def _look_at_masks(columns: Mapping[str, pa.ChunkedArray], name: str) -> Answers:
    """Of files, some of each split are read; classes are told by number, for nobody names them here."""
    room: Any = task(name)
    cells = {split: room.cells(column, f"--label of {split}") for split, column in columns.items()}
    blank = {split: column.null_count for split, column in cells.items()}
    some = {split: column.take(np.unique(np.linspace(0, len(column) - 1, MASKS).astype(int))) for split, column in cells.items()}
    names = room.names(some["train"])
    square = {"grid": MASK_SIDE // room.stride, "size": MASK_SIDE, "resize": "stretch", "edge": None}
    room = room.with_facts({**square, **room.learn(some["train"], names)})
    found = {split: room.encode(column, names) for split, column in some.items()}
    account = room.account(found["train"][0][known(found["train"][0])], names)
    counts = Counter({f"class {number}": count for number, count in account["label_counts"].items()})
    places = max(sum(counts.values()), 1)
    shares = ", ".join(f"{one} {100 * count / places:.1f} %" for one, count in counts.items())
    told = (
        f"{len(names)} classes by the numbers in {len(some['train']):,} masks of train; shares of their places: {shares}",
        f"names: [...] in the order of the numbers gives them names; {100 * account['ignored_share']:.1f} % of the places are 255, which is ignored",
    )
    return Answers({"stride": room.stride}, dict(counts.most_common()), _broken(room, found, blank), blank["train"], told)


def look_at_heads(tables: Mapping[str, Mapping[str, pa.ChunkedArray]]) -> tuple[Answers, dict[str, SeenHead]]:
    """The columns of the splits, train among them, each a head of its own whose task is told by what its cells hold; raises DataError where a
    head has no label, or another task than its column."""
    import pyarrow as pa

    heads: dict[str, SeenHead] = {}
    for column, cells in tables["train"].items():
        name = re.sub("[^a-z0-9]+", "_", column.lower()).strip("_")
        name = name if re.match("[a-z]", name) else f"head_{name}".rstrip("_")
        name = next(one for one in (name, *(f"{name}_{n}" for n in range(2, len(tables["train"]) + 2))) if one not in heads)
        kind = _likely_task(cells)
        options, _ = _options(label_column(cells, f"--label {column}"), kind)
        heads[name] = SeenHead(column, kind, options, "")
    asked = {name: {"task": head.task, "task_options": head.options, "column": head.column, "weight": 1.0} for name, head in heads.items()}
    room = task("several", options={"data_heads": asked})
    cells_of = {
        split: room.cells(
            join_answers(
                pa.table({f"{ANSWER}{n}": label_column(columns[h.column], f"--label {h.column} of {split}") for n, h in heads.items()})
            ).column("label"),
            f"--label of {split}",
        )
        for split, columns in tables.items()
    }
    names = room.names(cells_of["train"])
    room = room.with_facts(room.learn(cells_of["train"], names))
    found = {split: room.encode(column, names) for split, column in cells_of.items()}
    labels, blank = found["train"]
    account = room.account(labels[known(labels)], names)["heads"]
    told = {
        part.name: f"{part.task.sentence(part.names)}, {account[part.name]['labelled_rows']:,} of {len(labels):,} training rows"
        for part in room.heads
    }
    note = "a blank cell: the row lacks that head's label and teaches the others"
    return Answers({}, {}, _broken(room, found), int(blank.sum()), (note,)), {n: replace(head, told=told[n]) for n, head in heads.items()}


def _likely_task(column: pa.ChunkedArray) -> str:
    """What the cells of a training column are answers to: lists and cells with a separator hold tags, numbers that are not whole, or of which
    there are many, are told as numbers, and all else is one of K labels."""
    import pyarrow as pa

    cells = [cell for cell in column.to_pylist() if cell is not None and str(cell).strip()]
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return "multi_label"
    try:
        values = [float(cell) for cell in cells]
    except (TypeError, ValueError):
        return "multi_label" if any(mark in str(cell) for cell in cells for mark in SEPARATORS[:2]) else "single_label"
    whole = all(value == int(value) for value in values if np.isfinite(value))
    return "single_label" if whole and len(set(values)) <= MOST_LABELS else "regression"


def look_at_pairs() -> Answers:
    """What is told where nothing is answered: pairs, of which the inputs say who is alike."""
    return Answers({"size": SHARED_SIZE}, {}, {}, 0, ("there is no label: rows that share an input are alike",))


def _options(train: pa.ChunkedArray, name: str) -> tuple[dict[str, Any], list[str]]:
    """What separates tags, and whether rows may have none, by what the cells hold."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name in ("embedding", "verification"):
        return {"size": OWN_SIZE}, [
            f"{OWN_SIZE} numbers a vector: the own space of MiniLM and Whisper, so nothing is fitted to a text or a sound alone"
        ]
    if name == "retrieval":
        return {"size": SHARED_SIZE}, []
    if name == "token_labels":
        most = max(len(cell) if isinstance(cell, list) else len((cell or "").split()) for cell in [[], *train.to_pylist()])
        return {"words": most}, [f"{most} words at most in a row of train"]
    if name != "multi_label" or not pa.types.is_string(train.type):
        return {}, []
    cells = pc.fill_null(train, "")
    counts = {mark: pc.sum(pc.match_substring(cells, mark)).as_py() or 0 for mark in SEPARATORS}
    mark = max(counts, key=lambda one: counts[one])
    blanks = int(np.sum(pc.equal(pc.utf8_trim_whitespace(cells), "").to_numpy(zero_copy_only=False)))
    options: dict[str, Any] = {"separator": mark}
    told = [f"{counts[mark]:,} cells have {mark!r} in them"]
    if blanks:
        options["blank_is_none"] = True
        told.append(
            f"{blanks:,} blank cells are taken for rows without tags; if they are only not labelled yet: allow_unlabelled: true instead"
        )
    return options, told


def _shown(account: dict[str, Any]) -> str:
    if "ranges" in account:
        return ", ".join(
            f"{name} {ends['low']:.4g} to {ends['high']:.4g}, mean {ends['mean']:.4g}" for name, ends in account["ranges"].items()
        )
    if "different_labels" in account:
        return f"{account['different_labels']:,} labels, and rows of one are alike"
    if "words_a_row" in account:
        return f"{account['words_a_row']:.1f} words a row"
    if "majority_label" in account:
        counts = account["label_counts"].values()
        return (
            f"{min(counts):,} to {max(counts):,} rows each, and {sum(count < 2 for count in counts):,} labels of one row, which has no like"
        )
    return f"{account['tags_a_row']:.1f} a row, none in {account['rows_without_tags']:,} rows"
