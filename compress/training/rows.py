"""From prepared data to the `Rows` of a training or a validation, with the texts tokenized for one model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from compress.artifacts import Features, Targets
from compress.data.prepared import Split
from compress.data.tokens import tokenize
from compress.data.wordings import Wordings, read_wordings
from compress.io_spec import IOSpec
from compress.training.batches import Rows
from compress.training.views import Views


def open_rows(
    split: Split,
    io: IOSpec,
    *,
    tokenizer: Path | None,
    teacher: bool = False,
    targets: np.ndarray | None = None,
    views: Views | None = None,
) -> Rows:
    """The rows of one split for a model with ports `io`; a teacher may see the images in another size."""
    given = split.teacher_inputs if teacher else split.inputs
    inputs: dict[str, np.ndarray] = {}
    if "image" in io.modalities:
        inputs["image"] = given["image"]
    if "text" in io.modalities:
        inputs["text"] = tokenize(require(tokenizer), given["text"], io.input("text").shape[0])
    rows = {m: split.rows[m] for m in io.modalities}
    return Rows(inputs, rows, split.labels, targets, views or Views(((False, 0, 0),)))


def training_rows(split: Split, io: IOSpec, targets: Targets, *, tokenizer: Path | None) -> Rows:
    """The training split with the teacher's stored answers, the views that they belong to, and its rows in other words."""
    views = Views(tuple((bool(flip), int(down), int(right)) for flip, down, right in targets.details["views"]))
    logits = np.load(targets.file("logits.npy"), mmap_mode="r")
    rows = open_rows(split, io, tokenizer=tokenizer, targets=logits, views=views)
    assert targets.path
    wordings = read_wordings(targets.path)
    return add_wordings(rows, wordings, tokenize(require(tokenizer), wordings.texts, io.input("text").shape[0])) if wordings else rows


def add_wordings(rows: Rows, wordings: Wordings, texts: np.ndarray) -> Rows:
    """`rows`, and behind them the unlabelled ones in other words; texts: (W, ...) tokens or features of the wordings."""
    inputs = {**rows.inputs, "text": np.concatenate([rows.inputs["text"], texts])}
    which = {m: np.concatenate([array, wordings.rows[m]]) for m, array in rows.rows.items()}
    labels = np.concatenate([rows.labels, np.full(len(wordings.rows["text"]), -1, rows.labels.dtype)])
    return replace(rows, inputs=inputs, rows=which, labels=labels)


def in_other_words(rows: Rows, split: Split, paraphrases: dict[str, str], io: IOSpec, tokenizer: Path | None) -> tuple[Rows, np.ndarray]:
    """`rows` of the split with every text that has a paraphrase in its words, and which labelled rows (R,) bool have one."""
    texts = split.inputs["text"].to_pylist()
    tokens = tokenize(require(tokenizer), [paraphrases.get(text, text) for text in texts], io.input("text").shape[0])
    rephrased = np.array([text in paraphrases for text in texts])[rows.rows["text"]]
    return replace(rows, inputs={**rows.inputs, "text": tokens}), rephrased & np.asarray(rows.labels >= 0)


def open_features(features: Features, split: Split, *, view: int = 0) -> Rows:
    """The rows of one split over stored features (N_m, D) instead of raw inputs; of the images those of one view."""
    inputs = {}
    for m in split.rows:
        stored = np.load(features.file(f"{split.name}-{m}.npy"), mmap_mode="r")  # (V, N, D); V is 1 but for training images
        inputs[m] = stored[min(view, len(stored) - 1)]
    return Rows(inputs, dict(split.rows), split.labels)


def open_all_views(features: Features, split: Split) -> Rows:
    """The same over every stored view: V times the rows, view after view."""
    inputs, rows = {}, {}
    stored = {m: np.load(features.file(f"{split.name}-{m}.npy"), mmap_mode="r") for m in split.rows}  # each (V_m, N_m, D)
    views = max(map(len, stored.values()))
    for m, array in stored.items():
        inputs[m] = array.reshape(-1, array.shape[2])
        shifts = np.arange(views)[:, None] % len(array) * array.shape[1]  # a modality with one view is the same in all of them
        rows[m] = (np.asarray(split.rows[m])[None] + shifts).reshape(-1)
    return Rows(inputs, rows, np.tile(np.asarray(split.labels), views))


def sample_feeds(
    split: Split, io: IOSpec, tokenizer: Path | None, count: int, *, teacher: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`count` rows of a split, evenly spread, as the arrays (R, ...) that an ONNX graph takes, and their row numbers (R,)."""
    index = np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(np.int64))
    given = split.teacher_inputs if teacher else split.inputs
    feeds: dict[str, np.ndarray] = {}
    for m in io.modalities:
        which = np.asarray(split.rows[m])[index]
        if m == "text":
            feeds[m] = tokenize(require(tokenizer), given[m].take(which).to_pylist(), io.input(m).shape[0])
        else:
            feeds[m] = np.asarray(given[m][which])
    return feeds, index


def require(tokenizer: Path | None) -> Path:
    """The tokenizer of a model that reads text."""
    if tokenizer is None:
        raise ValueError("a model that reads text needs its tokenizer.json")
    return tokenizer
