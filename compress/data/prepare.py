"""Rows of a source to a folder of `PreparedData`: checked, deduplicated, decoded, split.

In: a `Source` and the recipe's `data` section. Out: the folder, and its report. Every unusable row is found before anything is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from compress.data.baseline import majority_accuracy, question_only_accuracy
from compress.data.pixels import keep_images, write_images
from compress.data.prepared import open_data, write_texts
from compress.data.rows import BadRows, Rows, encode, kind_names, label_names
from compress.data.source import Source
from compress.data.splits import cut_validation, hide_labels, limit
from compress.errors import DataError
from compress.recipe import Data

__all__ = ["open_data", "prepare"]


def prepare(
    source: Source,
    config: Data,
    out: Path,
    *,
    modalities: tuple[str, ...],
    teacher_image_size: int | None = None,
    seed: int = 0,
    threads: int = 2,
    say: Callable[[str], None] = print,
) -> dict:
    """The report, after writing the splits to `out`. `modalities` are the inputs wanted; the first one groups the rows.

    Bad rows are dropped before validation is cut and limits are applied; only images that are then still needed are decoded, and rows of
    those that cannot be are dropped after. Raises DataError for all bad rows at once (unless config.on_bad_row is "skip"), for a missing
    column and for an empty split.
    """
    tables, group, bad = _read(source, modalities), modalities[0], BadRows()
    labels, kinds = label_names(tables["train"].column("label")), kind_names(tables)
    splits = {
        name: encode(name, table, config, modalities=modalities, labels=labels, kinds=kinds, bad=bad) for name, table in tables.items()
    }
    splits = _divide(splits, config, group=group, seed=seed)
    if "image" in modalities:
        sizes = _sizes(config, teacher_image_size)
        splits = {name: _write_pixels(rows, out / name, sizes, bad, threads=threads, say=say) for name, rows in splits.items()}
    _check(splits, labels, bad, config)
    splits["train"] = hide_labels(splits["train"], config.labelled_fraction, group=group, seed=seed)
    for name, rows in splits.items():
        _write_rows(rows, out / name)
    report = {
        "identity": source.identity,
        "licence": source.licence,
        "modalities": list(modalities),
        "image_size": config.image_size,
        "teacher_image_size": teacher_image_size,
        "validation": "of the source" if "validation" in tables else f"cut from train by {group}",
        "labelled_fraction": config.labelled_fraction,
        "splits": {name: _account(rows, splits["train"], labels, kinds) for name, rows in splits.items()},
        "skipped": bad.to_json(),
    }
    return _write_report(out, labels, kinds, report)


def _read(source: Source, modalities: tuple[str, ...]) -> dict[str, pa.Table]:
    """The source's tables, once it is known that they have the rows and columns needed."""
    tables = source.read()
    for split in ("train", "test"):
        if split not in tables:
            raise DataError(f"data: the source has no {split} split; there are {', '.join(tables) or 'none'}")
    for split, table in tables.items():
        for column in (*modalities, "label"):
            if column not in table.column_names:
                raise DataError(
                    f"data: {split} has no column {column!r}; there are {', '.join(table.column_names) or 'none'}. "
                    f"data.options.{column} names another column; data.image_size and data.text_length say which inputs are read."
                )
        if not table.num_rows:
            raise DataError(f"data: {split} has no rows")
    return tables


def _divide(splits: dict[str, Rows], config: Data, *, group: str, seed: int) -> dict[str, Rows]:
    """Train, validation and test in this order, limited."""
    splits = dict(splits)
    if "validation" not in splits:
        splits["train"], splits["validation"] = cut_validation(splits["train"], config.validation_fraction, group=group, seed=seed)
    counts = {"train": config.train_limit, "validation": config.test_limit, "test": config.test_limit}
    return {name: limit(splits[name], count, group=group, seed=seed) for name, count in counts.items()}


def _sizes(config: Data, teacher_image_size: int | None) -> dict[str, int]:
    """Pixels a side of each file of images."""
    sizes = {"image": config.image_size}
    if teacher_image_size and teacher_image_size != config.image_size:
        sizes["teacher_image"] = teacher_image_size
    return {name: size for name, size in sizes.items() if size}


def _check(splits: dict[str, Rows], labels: list[str], bad: BadRows, config: Data) -> None:
    """Raises DataError for bad rows that are not to be skipped, and where too little is left to learn from."""
    if config.on_bad_row == "error":
        bad.refuse()
    if len(labels) < 2:
        raise DataError(f"data: the training split has {len(labels)} labels ({', '.join(labels)}); a classifier needs at least 2")
    for name, rows in splits.items():
        if not len(rows):
            skipped = ", ".join(f"{count:,} with {reason}" for reason, count in bad.counts.items()) or "none"
            raise DataError(f"data: no usable row is left for {name}; rows skipped in all splits: {skipped}")
    if not (splits["train"].labels >= 0).any():
        raise DataError("data: no row with a label is left for train; raise data.train_limit or give more labels")


def _write_pixels(rows: Rows, folder: Path, sizes: dict[str, int], bad: BadRows, *, threads: int, say: Callable[[str], None]) -> Rows:
    """The rows whose image could be decoded, after writing the pixels at each size."""
    folder.mkdir(parents=True, exist_ok=True)
    images, codes = rows.inputs["image"], rows.codes["image"]
    if not len(images):
        return rows
    say(f"data: decoding {len(images):,} images for {folder.name}")
    files = {folder / f"{name}.npy": size for name, size in sizes.items()}
    failed = write_images(images, files, threads=threads)
    for reason in sorted({reason for reason, _ in failed.values()}):
        found = [index for index, (why, _) in failed.items() if why == reason]
        bad.add(reason, rows, np.isin(codes, found), lambda row: failed[int(codes[row])][1])
    if failed:
        kept = np.setdiff1d(np.arange(len(images)), list(failed))
        for file in files:
            keep_images(file, kept)
        rows = rows.keep(~np.isin(codes, list(failed)))
    return rows


def _write_rows(rows: Rows, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for modality, codes in rows.codes.items():
        np.save(folder / f"rows_{modality}.npy", codes)
    np.save(folder / "labels.npy", rows.labels)
    np.save(folder / "kinds.npy", rows.kinds)
    if "text" in rows.inputs:
        write_texts(folder / "text.arrow", rows.inputs["text"].keys)


def _account(rows: Rows, train: Rows, labels: list[str], kinds: list[str]) -> dict:
    """What one split holds. `seen_in_train` counts the distinct inputs that train has too: an answer to them may be remembered."""
    labelled = rows.labels >= 0
    counts = np.bincount(rows.labels[labelled], minlength=len(labels))
    group = next(iter(rows.codes))
    return {
        "rows": len(rows),
        "labelled_rows": int(labelled.sum()),
        "unlabelled_rows": int((~labelled).sum()),
        "inputs": {modality: len(inputs) for modality, inputs in rows.inputs.items()},
        "labelled_inputs": len(np.unique(rows.codes[group][labelled])),
        "seen_in_train": {m: pc.sum(pc.is_in(inputs.keys, train.inputs[m].keys)).as_py() or 0 for m, inputs in rows.inputs.items()},
        "label_counts": dict(zip(labels, counts.tolist(), strict=True)),
        "kind_counts": {kind: int((rows.kinds == index).sum()) for index, kind in enumerate(kinds)},
        "majority_label": labels[int(counts.argmax())],
        "majority_share": float(counts.max() / max(counts.sum(), 1)),
    }


def _write_report(out: Path, labels: list[str], kinds: list[str], report: dict) -> dict:
    """The report with the baselines added; they are computed from the folder as everyone else reads it."""
    for name, content in (("labels", labels), ("kinds", kinds), ("report", report)):
        (out / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    data = open_data(out)
    report["baselines"] = {"majority": majority_accuracy(data), "question_only": question_only_accuracy(data)}
    (out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return report
