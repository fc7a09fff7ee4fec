"""What a look at the user's files tells of the answers, where a row has something else than one of K labels; for `compress init`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.columns import as_one, label_column
from compress.tasks.labels import known
from compress.tasks.task import task

if TYPE_CHECKING:
    import pyarrow as pa

OWN_SIZE = 384  # of the sentence encoder and of the sound encoder that `compress init` takes for teachers
SHARED_SIZE = 128  # of the space that the towers of pretrained encoders are fitted to
SEPARATORS = ("|", ";", ",")
MASKS, MASK_SIDE = 400, 128  # masks of a split that are read, as for pictures of so many pixels a side


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
    broken = {
        room.unknown: sum(int((~known(labels) & ~blank).sum()) for labels, blank in found.values()),
        "no label": sum(int(blank.sum()) for split, (_, blank) in found.items() if split != "train"),
    }
    labels, blank = found["train"]
    account = room.account(labels[known(labels)], names)
    counts = Counter(account["label_counts"])
    told += [f"{room.sentence(names)}; {_shown(account)}"]
    broken = {reason: count for reason, count in broken.items() if count}
    return Answers(options, dict(counts.most_common()), broken, int(blank.sum()), tuple(told))


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
    broken = {
        room.unknown: sum(int((~known(labels) & ~empty).sum()) for labels, empty in found.values()),
        "no label": sum(count for split, count in blank.items() if split != "train"),
    }
    account = room.account(found["train"][0][known(found["train"][0])], names)
    counts = Counter({f"class {number}": count for number, count in account["label_counts"].items()})
    places = max(sum(counts.values()), 1)
    shares = ", ".join(f"{one} {100 * count / places:.1f} %" for one, count in counts.items())
    told = (
        f"{len(names)} classes by the numbers in {len(some['train']):,} masks of train; shares of their places: {shares}",
        f"names: [...] in the order of the numbers gives them names; {100 * account['ignored_share']:.1f} % of the places are 255, which is ignored",
    )
    return Answers({"stride": room.stride}, dict(counts.most_common()), {why: n for why, n in broken.items() if n}, blank["train"], told)


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
