"""What an unpacked bundle holds, as the runner reads it: models, labels and ports, each file hashed before it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import DeviceError, ManifestError
from .manifest import MANIFEST, check_files, hash_file, read_manifest

PRESENT = "present"
SHARES = "shares"  # the second output of a model that tells how much it let in of each input
GOLDEN, IO_SPEC, LABELS, MODELS = "golden.npz", "io_spec.json", "labels.json", "models.json"


@dataclass(frozen=True)
class Model:
    """One line of models.json."""

    name: str
    file: str  # relative to the bundle
    precision: str
    tolerance: float  # largest difference of a golden logit, as a share of the largest magnitude
    logits: str  # its array in golden.npz
    towers: dict[str, str] = field(default_factory=dict)  # input -> the file that makes its vector; none where inputs are joined


@dataclass(frozen=True)
class BundleFolder:
    """A bundle whose small files were read and hashed; `identity` is the sha256 of its manifest."""

    folder: Path
    identity: str
    models: tuple[Model, ...]
    chosen: str
    labels: tuple[str, ...]
    inputs: dict[str, dict[str, Any]]  # ports of io_spec.json by name
    max_batch: int
    task: str  # of device/tasks: how outputs become an answer
    facts: dict[str, Any] = field(default_factory=dict)  # what the task knows of this model and its data, such as thresholds

    @property
    def takes_gaps(self) -> bool:
        """Whether a sample may lack inputs: then a port says which are there."""
        return PRESENT in self.inputs

    @property
    def towers(self) -> bool:
        """Whether each input has a vector of its own, so that one of them is enough."""
        return "towers" in self.facts

    @property
    def takes_some(self) -> bool:
        """Whether one of the inputs is enough."""
        return self.takes_gaps or self.towers

    @property
    def asked(self) -> list[str]:
        """The ports that a sample has values for."""
        return [name for name in self.inputs if name != PRESENT]

    def missing(self, given: Mapping[str, Any]) -> list[str]:
        """The inputs without a value."""
        return [name for name in self.asked if given.get(name) is None]


def read_bundle(folder: Path) -> BundleFolder:
    """The bundle in `folder`; raises ManifestError where one of the files that it reads is absent or changed."""
    check_files(folder, read_manifest(folder), names=[IO_SPEC, LABELS, MODELS])
    try:
        spec, labels, table = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (IO_SPEC, LABELS, MODELS))
        return BundleFolder(
            folder=folder,
            identity=hash_file(folder / MANIFEST),
            models=tuple(Model(**{key: line[key] for key in Model.__dataclass_fields__ if key in line}) for line in table["models"]),
            chosen=table["chosen"],
            labels=tuple(labels),
            inputs={port["name"]: port for port in spec["inputs"]},
            max_batch=spec["max_batch"],
            task=table["task"],
            facts=dict(table.get("facts") or {}),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{folder}: {MODELS}, {LABELS} or {IO_SPEC} is not as this runner knows it ({error!r})") from error


def find_model(bundle: BundleFolder, name: str | None) -> Model:
    """The model of that name, or the chosen one for None; raises DeviceError with the names there are."""
    for model in bundle.models:
        if model.name == (name or bundle.chosen):
            return model
    raise DeviceError(f"unknown model {name!r}; this bundle holds {', '.join(model.name for model in bundle.models)}")
