"""VQA v2: 658,111 questions about 123,287 photographs of COCO with their commonest answers (CC BY 4.0), as visualqa.org's archives unpack.

One folder holds v2_OpenEnded_mscoco_{train,val}2014_questions.json, v2_mscoco_{train,val}2014_annotations.json and the images of COCO in the folders
train2014 and val2014. The questions of val2014 are the test split, because the answers of test2015 are not published.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.source import Source
from compress.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

PARTS = {"train": "train2014", "test": "val2014"}
FETCH = "visualqa.org/download.html has questions, annotations and images; unpack all of them into that folder"


def vqa(*, base: Path, path: str, answers: str) -> Source:
    """The questions in `path` (relative to the recipe) with the answers that a model knows: those of `label2id` in the JSON file `answers`, its config.json.

    A row is labelled with the commonest of ten people's answers; where the model does not know it, the row has no label. Kinds are the types of
    answers: yes/no, number, other. The identity is that of the four JSON files and of the answers; images are named by them and not read for it.
    """
    root, known = base / path, _known(base / answers)
    files = {split: (_questions(root, part), _annotations(root, part)) for split, part in PARTS.items()}
    every = [file for pair in files.values() for file in pair]
    if absent := [file for file in every if not file.is_file()]:
        raise DataError(f"data.options.path: {absent[0]} is not there; {FETCH}")
    total = hashlib.sha256("\n".join(known).encode())
    for file in every:
        with file.open("rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return Source(
        identity=f"vqa {total.hexdigest()}",
        read=lambda: {split: _read(root / PARTS[split], *pair, known) for split, pair in files.items()},
        licence="CC BY 4.0 (visualqa.org); the images are COCO's, under the terms of Flickr",
    )


def _questions(root: Path, part: str) -> Path:
    return root / f"v2_OpenEnded_mscoco_{part}_questions.json"


def _annotations(root: Path, part: str) -> Path:
    return root / f"v2_mscoco_{part}_annotations.json"


def _known(config: Path) -> list[str]:
    """The answers of a model, in the order of its outputs."""
    found = _load(config, "data.options.answers").get("label2id")
    if not isinstance(found, dict) or not found:
        raise DataError(f"data.options.answers: {config} has no label2id; give the config.json of the teacher")
    return sorted(found, key=found.__getitem__)


def _load(file: Path, place: str) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{place}: {file} is not there") from error
    except ValueError as error:
        raise DataError(f"{place}: {file} is not JSON: {error}") from error


def _read(images: Path, questions: Path, annotations: Path, known: list[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    asked = {entry["question_id"]: entry["question"] for entry in _load(questions, "data.options.path")["questions"]}
    rows = _load(annotations, "data.options.path")["annotations"]
    if lacking := sum(row["question_id"] not in asked for row in rows):
        raise DataError(
            f"data.options.path: {lacking:,} answers of {annotations.name} are to no question of {questions.name}; unpack both again"
        )
    names = pa.array(known)
    labels = pc.index_in(pa.array([row["multiple_choice_answer"] for row in rows], pa.string()), names)
    return pa.table(
        {
            "image": pa.array([str(images / f"COCO_{images.name}_{row['image_id']:012}.jpg") for row in rows], pa.string()),
            "text": pa.array([asked[row["question_id"]] for row in rows], pa.string()),
            "label": pa.DictionaryArray.from_arrays(labels, names),
            "kind": pa.array([row["answer_type"] for row in rows], pa.string()),
        }
    )
