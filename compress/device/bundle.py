"""An unpacked bundle at work: its models opened and verified."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .contents import GOLDEN, BundleFolder, Model
from .engines import runnable_engine
from .errors import DeviceError
from .golden import check_golden, read_golden
from .manifest import check_files, read_manifest
from .sessions import open_session, refusal
from .tasks import answerer


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
    decisions = partial(answerer(bundle.task).decisions, facts=bundle.facts)
    allowed = model.tolerance if tolerance is None else tolerance
    return check_golden(session, bundle.folder / GOLDEN, tolerance=allowed, logits=model.logits, decisions=decisions)
