"""easy-VQA: 4,000 + 1,000 drawn images of 64x64 with 38,575 + 9,673 questions, 13 answers; from the PyPI package easy-vqa (MIT)."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.source import Source
from compress.errors import DependencyError

if TYPE_CHECKING:
    import pyarrow as pa

PACKAGE = "easy-vqa"


def easy_vqa(*, base: Path) -> Source:
    """The package's training and test set. Kinds: presence, absence (the negated yes/no questions), colour, shape."""
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise DependencyError(f"data.source easy_vqa: the package {PACKAGE} is not installed; `pip install {PACKAGE}`") from None
    return Source(identity=f"{PACKAGE}=={version}", read=_read, licence="MIT")


def _read() -> dict[str, pa.Table]:
    import easy_vqa as package

    answers = package.get_answers()
    return {
        "train": _table(package.get_train_questions(), package.get_train_image_paths(), answers),
        "test": _table(package.get_test_questions(), package.get_test_image_paths(), answers),
    }


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
