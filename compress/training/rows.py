"""From prepared data to the `Rows` of a training or a validation, as one model reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.data.prepared import PreparedData, Split
from compress.io_spec import PRESENT, IOSpec, Port
from compress.modalities.further import Further, read_further
from compress.modalities.modality import modality
from compress.recipe.recipe import Recipe
from compress.store.artifacts import Features, Targets
from compress.tasks.labels import known, unlabelled
from compress.training.batches import Rows
from compress.training.top_k import open_logits
from compress.training.views import Views


def teacher_words(recipe: Recipe) -> Callable[[str], Any]:
    """modality -> the words of the form in which the teacher reads it: its own, or the data's."""
    own = recipe.teacher.inputs
    return lambda m: (own.get(m) if own else None) or recipe.data.inputs.get(m)


def model_io(data: PreparedData, words: Callable[[str], Any], model: Path | None) -> IOSpec:
    """The ports of a model that reads each modality in the form of `words(modality)`, with its assets in the folder `model`."""
    inputs = [modality(m).port(words(m), model) for m in data.report["modalities"]]
    if PRESENT in data.ports:
        inputs.append(Port(PRESENT, "float32", (len(inputs),), 0, 1))
    return IOSpec(tuple(inputs), (data.task.port(data.labels),))


def open_rows(
    split: Split, io: IOSpec, model: Path | None, *, teacher: bool = False, targets: np.ndarray | None = None, views: Views | None = None
) -> Rows:
    """The rows of one split for a model with ports `io` and its assets in the folder `model`; a teacher may read them in another form."""
    given = split.teacher_inputs if teacher else split.inputs
    inputs = {port.name: modality(port.name).arrays(given[port.name], port, model) for port in io.inputs}
    heads = io.outputs[0].heads
    return Rows(inputs, {m: split.rows[m] for m in io.modalities}, split.labels, targets, views or Views(), heads=heads)


def training_rows(split: Split, io: IOSpec, targets: Targets, model: Path) -> Rows:
    """The training split with the teacher's stored answers, the views that they belong to, and the rows behind it that the teacher alone answers."""
    assert targets.path
    hidden = {name: np.load(targets.file(f"{name}.npy"), mmap_mode="r") for name in targets.details["hidden"]}
    views = Views.from_json(targets.details["views"])
    logits = open_logits(targets.path, views=len(views), classes=targets.details["classes"])
    answered = np.load(targets.file("answered.npy")) if "answered.npy" in targets.files else None
    agreed = np.load(targets.file("agreement.npy")) if "agreement.npy" in targets.files else None
    rows = replace(open_rows(split, io, model, targets=logits, views=views), hidden=hidden, answered=answered, agreed=agreed)
    further = read_further(targets.path)
    return add_further(rows, further, read_more(further, io, model)) if further else rows


def read_more(further: Further, io: IOSpec, model: Path) -> np.ndarray | None:
    """Their more inputs as a model reads them: (W, ...); None where there are none."""
    if further.inputs is None:
        return None
    return modality(further.modality).arrays(further.inputs, io.input(further.modality), model)


def add_further(rows: Rows, further: Further, values: np.ndarray | None) -> Rows:
    """`rows`, and behind them the further ones; values: (W, ...) their more inputs, or features of these."""
    m, inputs = further.modality, rows.inputs
    if values is not None:
        inputs = {**inputs, m: np.concatenate([inputs[m], values])}
    which = {m: np.concatenate([array, further.rows[m]]) for m, array in rows.rows.items()}
    return replace(rows, inputs=inputs, rows=which, labels=np.concatenate([rows.labels, unlabelled(rows.labels, len(further))]))


def in_other_words(rows: Rows, split: Split, data: PreparedData, io: IOSpec, model: Path) -> tuple[Rows, np.ndarray]:
    """`rows` of the split with every input that has a paraphrase in its words, and which labelled rows (R,) bool have one."""
    m = data.paraphrased
    texts = split.inputs[m].to_pylist()
    values = modality(m).arrays([data.paraphrases.get(text, text) for text in texts], io.input(m), model)
    rephrased = np.array([text in data.paraphrases for text in texts])[rows.rows[m]]
    rephrased &= ~split.lacks(m)
    return replace(rows, inputs={**rows.inputs, m: values}), rephrased & known(rows.labels)


def open_features(features: Features, split: Split, *, view: int = 0) -> Rows:
    """The rows of one split over stored features (N_m, D) instead of raw inputs; of the grouping inputs those of one view."""
    inputs = {}
    for m in split.rows:
        stored = np.load(features.file(f"{split.name}-{m}.npy"), mmap_mode="r")  # (V, N, D); V is 1 but for training images
        inputs[m] = stored[min(view, len(stored) - 1)]
    return Rows(inputs, dict(split.rows), split.labels)


def open_all_views(features: Features, split: Split) -> Rows:
    """The same over every stored view: V times the rows, view after view."""
    inputs, rows = {}, {}
    stored = {
        m: np.load(features.file(f"{split.name}-{m}.npy"), mmap_mode="r") for m in split.rows
    }  # each (V_m, N_m, D), or (V_m, N_m, T, D)
    views = max(map(len, stored.values()))
    for m, array in stored.items():
        inputs[m] = array.reshape(-1, *array.shape[2:])
        shifts = np.arange(views)[:, None] % len(array) * array.shape[1]  # a modality with one view is the same in all of them
        rows[m] = (np.asarray(split.rows[m])[None] + shifts).reshape(-1)
    labels, variants = np.asarray(split.labels), Views.from_json(features.details["views"])
    if labels.ndim < 3:
        return Rows(inputs, rows, np.concatenate([labels] * views))
    owner = np.asarray(next(iter(split.rows.values())))  # labels of places go where the places go
    return Rows(inputs, rows, np.concatenate([variants.carry(labels, np.full(len(labels), view), owner) for view in range(views)]))


def sample_feeds(
    split: Split, io: IOSpec, model: Path | None, count: int, *, teacher: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`count` rows of a split, evenly spread, as the arrays (R, ...) that an ONNX graph takes, and their row numbers (R,)."""
    index = np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(np.int64))
    given = split.teacher_inputs if teacher else split.inputs
    return {port.name: read_inputs(given[port.name], np.asarray(split.rows[port.name])[index], port, model) for port in io.inputs}, index


def sample_rows(
    data: PreparedData,
    io: IOSpec,
    model: Path | None,
    count: int,
    *,
    teacher: bool = False,
    splits: tuple[str, ...] = ("test", "validation", "train"),
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Up to `count` rows as `sample_feeds` gives them, of the first split and where it has fewer of those after it; and their labels (R, ...)."""
    parts, labels, left = [], [], count
    for split in map(data.split, splits):
        if left:
            feeds, index = sample_feeds(split, io, model, left, teacher=teacher)
            parts.append(feeds)
            labels.append(np.asarray(split.labels)[index])
            left -= len(index)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, np.concatenate(labels)


def read_inputs(stored: Any, which: np.ndarray, port: Port, model: Path | None) -> np.ndarray:
    """The inputs of the indices `which` (R,), repeated where they repeat, as the port takes them: (R, ...)."""
    used, place = np.unique(which, return_inverse=True)
    taken = stored[used] if isinstance(stored, np.ndarray) else stored.take(used)
    return np.ascontiguousarray(modality(port.name).arrays(taken, port, model)[place], port.dtype)
