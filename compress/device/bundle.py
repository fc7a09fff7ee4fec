"""An unpacked bundle as the runner reads it: models, labels, ports and golden samples; verifying it and answering with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DeviceError, ManifestError
from .golden import check_golden, read_golden
from .manifest import MANIFEST, check_files, hash_file, read_manifest
from .preprocess import encode_text, open_tokenizer, read_image
from .sessions import open_session, refusal

GOLDEN, IO_SPEC, LABELS, MODELS, TOKENIZER = "golden.npz", "io_spec.json", "labels.json", "models.json", "tokenizer.json"


@dataclass(frozen=True)
class Model:
    """One line of models.json."""

    name: str
    file: str  # relative to the bundle
    precision: str
    tolerance: float  # largest difference of a golden logit, as a share of the largest magnitude
    logits: str  # its array in golden.npz


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


def read_bundle(folder: Path) -> BundleFolder:
    """The bundle in `folder`; raises ManifestError where one of the files that it reads is absent or changed."""
    check_files(folder, read_manifest(folder), names=[IO_SPEC, LABELS, MODELS])
    try:
        spec, labels, table = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (IO_SPEC, LABELS, MODELS))
        return BundleFolder(
            folder=folder,
            identity=hash_file(folder / MANIFEST),
            models=tuple(Model(**{key: line[key] for key in Model.__dataclass_fields__}) for line in table["models"]),
            chosen=table["chosen"],
            labels=tuple(labels),
            inputs={port["name"]: port for port in spec["inputs"]},
            max_batch=spec["max_batch"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{folder}: {MODELS}, {LABELS} or {IO_SPEC} is not as this runner knows it ({error!r})") from error


def find_model(bundle: BundleFolder, name: str | None) -> Model:
    """The model of that name, or the chosen one for None; raises DeviceError with the names there are."""
    for model in bundle.models:
        if model.name == (name or bundle.chosen):
            return model
    raise DeviceError(f"unknown model {name!r}; this bundle holds {', '.join(model.name for model in bundle.models)}")


def read_inputs(bundle: BundleFolder) -> dict[str, np.ndarray]:
    """The golden inputs by port, each (N, ...), after their hash was checked."""
    check_files(bundle.folder, read_manifest(bundle.folder), names=[GOLDEN])
    arrays = read_golden(bundle.folder / GOLDEN)
    return {name: arrays[name] for name in bundle.inputs}


def open_model(bundle: BundleFolder, model: Model, *, runtime: str, threads: int) -> Any:
    """A session of the model, once its hash was checked.

    A TensorRT runtime takes the engine that is built for this device, LiteRT the model's file in `mobile/`.
    """
    reason = refusal(runtime)
    if reason:
        raise DeviceError(f"runtime {runtime} cannot run here: {reason}")
    file = _litert_file(bundle, model) if runtime == "litert" else model.file
    check_files(bundle.folder, read_manifest(bundle.folder), names=[file])
    path = bundle.folder / file
    if runtime in ("tensorrt", "tensorrt_rtx"):
        from .engines import runnable_engine

        path = runnable_engine(bundle, model, flavour=runtime)
    return open_session(path, runtime=runtime, threads=threads)


def _litert_file(bundle: BundleFolder, model: Model) -> str:
    files = [name for name in read_manifest(bundle.folder)["files"] if name.endswith(".tflite")]
    if f"mobile/{model.name}.tflite" in files:
        return f"mobile/{model.name}.tflite"
    held = ", ".join(Path(name).stem for name in files)
    raise DeviceError(
        f"this bundle holds no LiteRT file of {model.name!r}; " + (f"give --model {held}" if held else "export.mobile: [litert] adds one")
    )


def check_model(bundle: BundleFolder, model: Model, *, runtime: str, threads: int, tolerance: float | None = None) -> dict[str, Any]:
    """One model against its golden answers: see `check_golden`."""
    session = open_model(bundle, model, runtime=runtime, threads=threads)
    return check_golden(session, bundle.folder / GOLDEN, tolerance=model.tolerance if tolerance is None else tolerance, logits=model.logits)


def predict(
    bundle: BundleFolder, model: Model, *, image: Path | None, question: str | None, runtime: str, threads: int, top: int = 3
) -> dict[str, Any]:
    """The answer {label, probability, top, model}, `top` being the most probable labels in order.

    Only files whose hash was checked are opened. Raises DeviceError for an input that is missing, unreadable or not taken by this model.
    """
    feeds = _read_feeds(bundle, image=image, question=question)
    session = open_model(bundle, model, runtime=runtime, threads=threads)
    logits = session.run(feeds)["logits"][0].astype(np.float64)  # (K,)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    best = np.argsort(-p, kind="stable")[:top]
    ranked = [{"label": bundle.labels[k], "probability": float(p[k])} for k in best]
    return {**ranked[0], "top": ranked, "model": model.name}


def _read_feeds(bundle: BundleFolder, *, image: Path | None, question: str | None) -> dict[str, np.ndarray]:
    given = {"image": ("--image", image), "text": ("--question", question)}
    for name, (option, value) in given.items():
        if name in bundle.inputs and value is None:
            raise DeviceError(f"this model reads {' and '.join(bundle.inputs)}; give {option}")
        if name not in bundle.inputs and value is not None:
            raise DeviceError(f"this model reads no {name}; leave {option} out")
    feeds = {}
    if image is not None:
        height, width, _ = bundle.inputs["image"]["shape"]
        feeds["image"] = read_image(image, height=height, width=width)
    if question is not None:
        port = bundle.inputs["text"]
        check_files(bundle.folder, read_manifest(bundle.folder), names=[TOKENIZER])
        tokenizer = open_tokenizer(bundle.folder / TOKENIZER, length=port["shape"][0])
        feeds["text"] = encode_text(tokenizer, question, high=port["high"])
    return feeds
