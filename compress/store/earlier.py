"""The student of an earlier run, found in that run's folder and proven by its hashes: to teach another one, or to go on from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import RecipeError, StoreError
from compress.io_spec import IOSpec
from compress.store.artifacts import INGREDIENTS, Artifact, explain_words, find_fault, fingerprint, hash_file, load, read_record
from compress.store.store import RunFolder

SHAPES = ("encoders", "head_width", "fusion", "classifier")  # of a student: what decides which weights it has, and in which shapes
PAST = ("initialise", "vocab", "freeze")  # of an encoder: where its weights and tokens came from, and which of them were trained


@dataclass(frozen=True)
class Earlier:
    """A student that a run has left."""

    run: Path
    artifact: Artifact  # of the stage distill, whose folder has what the student reads its inputs with
    folder: Path  # its model folder: the artifact's own, or one inside
    labels: list[str]
    config: dict[str, Any]  # what of its recipe made it: data, student, distill

    @property
    def io(self) -> IOSpec:
        """Its ports."""
        return IOSpec.load(self.folder / "io_spec.json")

    def first_difference(self, data: dict[str, Any], student: dict[str, Any]) -> str | None:
        """The first word of these sections, as plain data, in which a student that could take its weights would differ; None: it can."""
        for name, words in (
            ("task", data),
            ("task_options", data),
            ("inputs", data),
            ("allow_missing", data),
            *((s, student) for s in SHAPES),
        ):
            place = f"{'data' if words is data else 'student'}.{name}"
            old = self.config["data" if words is data else "student"].get(name)
            if changed := explain_words(place, _shapes(words.get(name)), _shapes(old)):
                return changed[0]
        return None


def open_earlier(run: Path, arm: str, *, place: str) -> Earlier:
    """The student of a run's folder: `arm` is shipped, the one that its stage distill chose, or distilled, the one with the teacher.

    Raises: RecipeError, which begins with `place`, where there is none; StoreError for files that are not as they were written.
    """
    folder = RunFolder(run).links().get("distill")
    if folder is None or not folder.is_dir():
        raise RecipeError(f"{place}: {run} holds no student; give the folder of a run that has come to its stage distill")
    if fault := find_fault(folder):
        raise StoreError(f"{place}: {fault}")
    artifact, made_of = load(folder), json.loads((folder / INGREDIENTS).read_text())
    data = folder.parents[1] / "data" / made_of["parents"]["data"]
    labels = data / "labels.json"
    if fingerprint(made_of) != artifact.fingerprint or hash_file(labels) != read_record(data)["files"][labels.name]["sha256"]:
        raise StoreError(f"{place}: {folder} does not match what it was made from; run {run.name} again")
    inside = folder / "distilled"  # where the student alone ships
    return Earlier(
        run, artifact, inside if arm == "distilled" and inside.is_dir() else folder, json.loads(labels.read_text()), made_of["config"]
    )


def _shapes(words: Any) -> Any:
    if isinstance(words, dict):
        return {key: _shapes(value) for key, value in words.items() if key not in PAST}
    return words
