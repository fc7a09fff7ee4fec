"""easy-VQA: 4,000 + 1,000 drawn images of 64x64 with 38,575 + 9,673 questions, 13 answers; from the PyPI package easy-vqa (MIT)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.source import Source
from compress.errors import DataError, DependencyError

if TYPE_CHECKING:
    import pyarrow as pa

PACKAGE = "easy-vqa"
ASKED = ("colour", "shape")  # kinds of questions that the image alone answers


def easy_vqa(*, base: Path, data_heads: Mapping[str, str] | None = None) -> Source:
    """The package's training and test set. Kinds: presence, absence (the negated yes/no questions), colour, shape.

    `data_heads`: head -> colour or shape. A row is then an image that was asked for one of these, and what was answered: of 4,000 training
    images 3,107 say their shape, 3,144 their colour and 2,435 both.
    """
    if unknown := [column for column in (data_heads or {}).values() if column not in ASKED]:
        raise DataError(f"data.heads: no column {unknown[0]!r}; an image has {' and '.join(ASKED)}")
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise DependencyError(f"data.source easy_vqa: the package {PACKAGE} is not installed; `pip install {PACKAGE}`") from None
    identity = f"{PACKAGE}=={version}" + (f" {dict(data_heads)}" if data_heads else "")
    return Source(identity=identity, read=partial(_read, data_heads or {}), licence="MIT")


def _read(heads: Mapping[str, str]) -> dict[str, pa.Table]:
    import easy_vqa as package

    answers = package.get_answers()
    tables = {
        "train": _table(package.get_train_questions(), package.get_train_image_paths(), answers),
        "test": _table(package.get_test_questions(), package.get_test_image_paths(), answers),
    }
    return {split: _of_images(table, heads) for split, table in tables.items()} if heads else tables


def _of_images(questions: pa.Table, heads: Mapping[str, str]) -> pa.Table:
    """A row for each image that a head's question was asked about: what was answered, null where it was not asked."""
    import pyarrow as pa

    from compress.data.columns import ANSWER, join_answers

    found: dict[str, dict[str, str]] = {}
    for image, kind, label in zip(*(questions.column(name).to_pylist() for name in ("image", "kind", "label")), strict=True):
        if kind in heads.values():
            found.setdefault(image, {})[kind] = label
    answers = {f"{ANSWER}{head}": pa.array([told.get(kind) for told in found.values()], pa.string()) for head, kind in heads.items()}
    return join_answers(pa.table({"image": pa.array(found), **answers}))


def _table(questions: tuple[list[str], list[str], list[int]], paths: dict[int, str], answers: list[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts, labels, images = questions
    text = pa.array(texts)
    label = pa.DictionaryArray.from_arrays(pc.index_in(pa.array(labels), pa.array(answers)), pa.array(answers))
    return pa.table({"image": pa.array([paths[image] for image in images]), "text": text, "label": label, "kind": _kinds(text)})


def _kinds(text: pa.Array) -> pa.Array:
    """The type of each question, (R,) strings, from its wording; every question of the package has one of four."""
    import pyarrow.compute as pc

    colour = pc.match_substring_regex(text, "^what (is the )?color")
    shape = pc.starts_with(text, "what")
    absence = pc.match_substring_regex(text, r"\bnot?\b")
    return pc.if_else(colour, "colour", pc.if_else(shape, "shape", pc.if_else(absence, "absence", "presence")))
