"""Rows of a source to a folder of `PreparedData`: checked, deduplicated, decoded, split, near duplicates counted.

In: a `Source` and the recipe's `data` section. Out: the folder, and its report. Every unusable row is found before anything is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from compress.data.baseline import describe_baselines
from compress.data.columns import as_one
from compress.data.duplicates import crossing, describe_groups, describe_near
from compress.data.pairs import name_alike
from compress.data.prepared import open_data
from compress.data.presence import lacking, owned, point_elsewhere
from compress.data.rows import BadRows, Rows, encode, may_lack_labels, names_of, slices_of
from compress.data.sizes import describe_sizes
from compress.data.source import Source
from compress.data.splits import hide_labels, hold_out, limit, settle
from compress.errors import DataError
from compress.io_spec import PRESENT
from compress.modalities.modality import Failures, modality
from compress.modalities.tokens import write_texts
from compress.recipe.sections import Data
from compress.tasks.task import Task, task

__all__ = ["open_data", "prepare"]


def prepare(
    source: Source,
    config: Data,
    out: Path,
    *,
    teacher_inputs: Any = None,
    seed: int = 0,
    threads: int = 2,
    say: Callable[[str], None] = print,
) -> dict:
    """The report, after writing the splits to `out`. The inputs of the first modality of config.inputs own the rows; `teacher_inputs`: the
    words of inputs that the teacher reads in another form.

    Bad rows are dropped before validation is cut and limits are applied; only inputs that are then still needed are read, and rows of
    those that cannot be are dropped after. Train and the validation that is cut from it are read together, so that near duplicates among
    them can be kept on one side. Raises DataError for all bad rows at once (unless config.on_bad_row is "skip"), for a missing column, for
    an empty split, and for a train that cannot be cut.
    """
    modalities, asked = config.inputs.modalities, task(config.task, options=config.room)
    asked = asked.with_facts(asked.reading(config.inputs, teacher_inputs))
    tables, bad = _read(source, modalities, asked, config), BadRows(hint=asked.hint)
    answers = tables["train"].column(asked.column)
    told_by_all = asked.open_set or answers.null_count == len(answers)  # a training split without any label says nothing of them
    labels, kinds, groups = (
        config.names or asked.names(as_one(table.column(asked.column) for table in tables.values()) if told_by_all else answers),
        names_of("kind", tables),
        names_of("group", tables),
    )
    slices, named = slices_of(tables), {"labels": labels, "kinds": kinds, "groups": groups}
    balanced = {"balanced": True} if config.imbalance != "none" else {}
    towers = {"towers": list(modalities)} if asked.towers else {}
    asked = asked.with_facts({**asked.learn(answers, labels), **balanced, **towers})
    splits = {
        name: encode(name, table, config, modalities=modalities, task=asked, bad=bad, slices=slices, **named)
        for name, table in tables.items()
    }
    splits, held = _divide(splits, config, bad, seed=seed)
    files = {m: _files(m, config, teacher_inputs) for m in splits["train"].codes}
    splits = {name: _store_inputs(rows, out / name, files, bad, threads=threads, say=say) for name, rows in splits.items()}
    if config.on_bad_row == "error":
        bad.refuse()
    near, together = _find_near(splits, out, say), None
    if held is not None:
        splits, near, together = _cut(splits, held, near, out, files, config, seed=seed)
    _check(splits, bad, config)
    asked.check(labels, {name: rows.labels for name, rows in splits.items()})
    splits["train"] = hide_labels(splits["train"], config.labelled_fraction, seed=seed)
    crossings = _cross(splits, near)
    for name, rows in splits.items():
        _write_rows(rows, out / name, crossings[name])
    report = {
        "identity": source.identity,
        "licence": source.licence,
        "modalities": list(modalities),
        "task": config.task,
        "task_options": config.room,
        "facts": asked.facts,
        "imbalance": config.imbalance,
        "inputs": {m: config.inputs.get(m).model_dump(mode="json") for m in modalities},
        "teacher_apart": [m for m in modalities if len(files[m]) > 1],
        "validation": "of the source" if "validation" in tables else f"cut from train by {'group' if groups else modalities[0]}",
        "kept_together": together,
        "labelled_fraction": config.labelled_fraction,
        "splits": {
            name: _account(rows, splits["train"], asked, labels, kinds)
            | {
                "groups": describe_groups(rows, splits["train"], groups),
                "near_duplicates": None if near is None else describe_near(rows, splits["train"], crossings[name]),
            }
            for name, rows in splits.items()
        },
        "skipped": bad.to_json(),
        **({"allow_missing": True} if config.allow_missing else {}),
        **({"left_out": dict(source.left_out)} if source.left_out else {}),
    }
    return write_report(out, {"labels": labels, "kinds": kinds, "slices": slices}, report)


def _read(source: Source, modalities: tuple[str, ...], asked: Task, config: Data) -> dict[str, pa.Table]:
    """The source's tables, once it is known that they have the rows and columns needed; where labels may be missing so may their column."""
    tables = source.read()
    for split in ("train", "test"):
        if split not in tables:
            raise DataError(f"data: the source has no {split} split; there are {', '.join(tables) or 'none'}")
    _require(tables, *modalities)
    if asked.towers and not any(asked.column in table.column_names for table in tables.values()):
        tables = name_alike(tables, modalities, asked.column)
    for split, table in tables.items():
        if asked.column not in table.column_names and may_lack_labels(config, split):
            tables[split] = table.append_column(asked.column, pa.nulls(table.num_rows, pa.string()))
    _require(tables, asked.column)
    for split, table in tables.items():
        if not table.num_rows:
            raise DataError(f"data: {split} has no rows")
        place = table.column_names.index(asked.column)
        cells = asked.cells(table.column(place), f"data: {split}: column {asked.column!r}")
        tables[split] = table.set_column(place, asked.column, cells)
    return tables


def _require(tables: dict[str, pa.Table], *columns: str) -> None:
    """Raises DataError for a column that a split has not."""
    for split, table in tables.items():
        for column in columns:
            if column not in table.column_names:
                raise DataError(
                    f"data: {split} has no column {column!r}; there are {', '.join(table.column_names) or 'none'}. "
                    f"data.options.columns.{column} names another column; data.inputs says which inputs are read."
                )


def _divide(splits: dict[str, Rows], config: Data, bad: BadRows, *, seed: int) -> tuple[dict[str, Rows], np.ndarray | None]:
    """The splits, limited. Where validation must be cut, train still holds its rows, and the numbers (in the source) of these come along."""
    if "validation" in splits:
        return {name: _limit(name, splits[name], config, seed=seed) for name in ("train", "validation", "test")}, None
    train = splits["train"]
    try:
        held = hold_out(_weighed(train, config), config.validation_fraction, seed=seed)
    except DataError:
        if config.on_bad_row == "error":
            bad.refuse()  # too few rows may be left because of these
        raise
    learnt = _limit("train", train.keep(~held), config, seed=seed)
    validation = _limit("validation", train.keep(held & (_weighed(train, config).strata >= 0)), config, seed=seed)
    pool = train.keep(np.isin(train.number, np.concatenate([learnt.number, validation.number])))
    return {"train": pool, "test": _limit("test", splits["test"], config, seed=seed)}, validation.number


def _weighed(rows: Rows, config: Data) -> Rows:
    """The rows as they are divided: by their labels or, where the teacher judges, all alike."""
    return replace(rows, strata=np.zeros_like(rows.strata)) if config.judge == "teacher" else rows


def _limit(name: str, rows: Rows, config: Data, *, seed: int) -> Rows:
    train = name == "train"
    return limit(rows, config.train_limit if train else config.test_limit, seed=seed, every_label=train)


def _find_near(splits: dict[str, Rows], out: Path, say: Callable[[str], None]) -> np.ndarray | None:
    """(P, 2) near duplicates among the inputs that own rows, numbered through the splits in turn; None where they are not looked for."""
    owner = splits["train"].owner
    room = modality(owner)
    near = room.near([room.open(out / name, owner) for name in splits], folder=out)
    if near is not None:
        say(f"data: {len(near):,} pairs of near duplicates among {sum(len(rows.inputs[owner]) for rows in splits.values()):,} {owner}s")
    return near


def _cut(
    splits: dict[str, Rows],
    held: np.ndarray,
    near: np.ndarray | None,
    out: Path,
    files: dict[str, dict[str, Any]],
    config: Data,
    *,
    seed: int,
) -> tuple[dict[str, Rows], np.ndarray | None, dict | None]:
    """Train, validation and test: rows with the numbers `held` leave train, but near duplicates stay together; near pairs are renumbered.

    Also how many inputs have near duplicates in train or validation, and how many changed sides for them.
    """
    pool, test = splits["train"], splits["test"]
    owners, count = pool.codes[pool.owner], len(pool.inputs[pool.owner])
    before = np.isin(pool.number, held)
    inner = np.empty((0, 2), np.int64) if near is None else near[near[:, 1] < count]
    after = settle(pool, before, inner)
    cut = {"train": pool.keep(~after), "validation": pool.keep(after & (_weighed(pool, config).strata >= 0))}
    cut = {name: _limit(name, rows, config, seed=seed) for name, rows in cut.items()}  # again: families came over
    used = {}  # split -> modality -> the inputs of the pool that it has
    for name, rows in cut.items():
        mask = np.isin(pool.number, rows.number)
        used[name] = {m: np.unique(codes[mask]) for m, codes in pool.codes.items()}
    for name in ("validation", "train"):  # train's files hold both until they are rewritten
        _keep_inputs(files, used[name], folder=out / "train", out=out / name)
    cut["test"] = test
    if near is None:
        return cut, None, None
    place = np.full(count + len(test.inputs[test.owner]), -1)  # of each input, numbered as before, in the new numbers; -1: in no split
    order = np.concatenate([used["train"][pool.owner], used["validation"][pool.owner], np.arange(count, len(place))])
    place[order] = np.arange(len(order))
    near = place[near]
    moved = len(np.unique(owners[before != after]))
    return cut, near[(near >= 0).all(axis=1)], {"inputs": len(np.unique(inner)), "moved": moved}


def _cross(splits: dict[str, Rows], near: np.ndarray | None) -> dict[str, np.ndarray]:
    """For each split (Q, 2) near duplicates: its input and train's; none for train itself."""
    sizes = {name: len(rows.inputs[rows.owner]) for name, rows in splits.items()}
    nothing = np.empty((0, 2), np.int64)
    return {name: nothing if near is None or name == "train" else crossing(near, sizes, first=name, second="train") for name in splits}


def _files(name: str, config: Data, teacher_inputs: Any) -> dict[str, Any]:
    """What is stored of a modality: file -> the words of its form."""
    own = config.inputs.get(name)
    teacher = teacher_inputs.get(name) if teacher_inputs else None
    return {name: own} if teacher in (None, own) else {name: own, f"teacher_{name}": teacher}


def _check(splits: dict[str, Rows], bad: BadRows, config: Data) -> None:
    """Raises DataError where too little is left to learn from."""
    for name, rows in splits.items():
        if not len(rows):
            skipped = ", ".join(f"{count:,} with {reason}" for reason, count in bad.counts.items()) or "none"
            raise DataError(f"data: no usable row is left for {name}; rows skipped in all splits: {skipped}")
    if not (splits["train"].strata >= 0).any() and not may_lack_labels(config, "train"):
        raise DataError("data: no row with a label is left for train; raise data.train_limit or give more labels")


def _store_inputs(
    rows: Rows, folder: Path, files: dict[str, dict[str, Any]], bad: BadRows, *, threads: int, say: Callable[[str], None]
) -> Rows:
    """The rows whose inputs could all be read, after writing these inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    good = np.ones(len(rows), bool)
    for name, forms in files.items():
        if modality(name).reads_files and len(rows.inputs[name]):
            say(f"data: decoding {len(rows.inputs[name]):,} {name}s for {folder.name}")
        failed = modality(name).store(rows.inputs[name], forms, folder=folder, threads=threads)
        rows = point_elsewhere(rows, name, list(failed))
        _count_failures(rows, name, failed, bad)
        good &= ~np.isin(rows.codes[name], list(failed))
    if good.all():
        return rows
    _keep_inputs(files, {name: np.unique(codes[good]) for name, codes in rows.codes.items()}, folder=folder, out=folder)
    return rows.keep(good)


def _keep_inputs(files: dict[str, dict[str, Any]], kept: dict[str, np.ndarray], *, folder: Path, out: Path) -> None:
    """Writes the inputs `kept` of each modality from the files in `folder` to those in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for name, forms in files.items():
        for file in forms:
            modality(name).keep(file, kept[name], folder=folder, out=out)


def _count_failures(rows: Rows, name: str, failed: Failures, bad: BadRows) -> None:
    codes = rows.codes[name]
    for reason in sorted({reason for reason, _ in failed.values()}):
        found = [index for index, (why, _) in failed.items() if why == reason]
        bad.add(reason, rows, np.isin(codes, found), lambda row: failed[int(codes[row])][1])


def _write_rows(rows: Rows, folder: Path, near: np.ndarray) -> None:
    for name, codes in rows.codes.items():
        np.save(folder / f"rows_{name}.npy", codes)
    np.save(folder / "labels.npy", rows.labels)
    np.save(folder / "kinds.npy", rows.kinds)
    np.save(folder / "groups.npy", rows.groups)
    write_texts(folder / "ids.arrow", pa.array(rows.ids.tolist(), pa.string()))
    for place, values in enumerate(rows.slices.values()):
        np.save(folder / f"slice_{place}.npy", values)
    np.save(folder / "near_train.npy", np.isin(owned(rows), near[:, 0]))


def _account(rows: Rows, train: Rows, asked: Task, labels: list[str], kinds: list[str]) -> dict:
    """What one split holds. `seen_in_train` counts the distinct inputs that train has too: an answer to them may be remembered."""
    labelled, modalities = rows.strata >= 0, [m for m in rows.codes if m != PRESENT]
    return {
        "rows": len(rows),
        "labelled_rows": int(labelled.sum()),
        "unlabelled_rows": int((~labelled).sum()),
        "inputs": {m: len(rows.inputs[m]) for m in modalities},
        **({"lacking": {m: int(lacking(rows, m).sum()) for m in modalities}} if PRESENT in rows.codes else {}),
        "labelled_inputs": len(np.unique(rows.codes[rows.owner][labelled])),
        "seen_in_train": {m: pc.sum(pc.is_in(rows.inputs[m].keys, train.inputs[m].keys)).as_py() or 0 for m in modalities},
        "sizes": {m: describe_sizes(m, rows.inputs[m]) for m in modalities},
        "kind_counts": {kind: int((rows.kinds == index).sum()) for index, kind in enumerate(kinds)},
        **asked.account(rows.labels[labelled], labels),
    }


def write_report(out: Path, names: dict[str, Any], report: dict) -> dict:
    """The report with the baselines added; they are computed from the folder as everyone else reads it. `names` get a file each too."""
    for name, content in {**names, "report": report}.items():
        (out / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    data = open_data(out)
    report["baselines"] = describe_baselines(data)
    (out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return report
