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
from .modalities.present import stand_in
from .sessions import open_session, refusal
from .tasks import answerer
from .towers import Towers, Whole

OF_TOWERS = ("onnxruntime_cpu", "onnxruntime_cuda", "openvino")  # runtimes that open the file of a tower as it is


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


def open_towers(bundle: BundleFolder, model: Model, *, runtime: str, threads: int) -> Towers | Whole:
    """A session of a model whose inputs each have a vector of their own, which takes any of them."""
    if runtime in OF_TOWERS:
        return Towers(bundle.asked, lambda name: open_tower(bundle, model, name, runtime=runtime, threads=threads))
    return around_towers(bundle, open_model(bundle, model, runtime=runtime, threads=threads))


def around_towers(bundle: BundleFolder, session: Any) -> Whole:
    """The same of one that is open already, and takes all inputs."""
    return Whole(session, {name: stand_in(bundle.inputs[name]) for name in bundle.asked})


def open_tower(bundle: BundleFolder, model: Model, name: str, *, runtime: str, threads: int) -> Any:
    """A session of the file that makes the vectors of one input, once its hash was checked."""
    check_files(bundle.folder, read_manifest(bundle.folder), names=[model.towers[name]])
    return open_session(bundle.folder / model.towers[name], runtime=runtime, threads=threads)


def check_towers(
    bundle: BundleFolder, model: Model, *, runtime: str, threads: int, tolerance: float | None = None
) -> dict[str, dict[str, Any]]:
    """Each of a model's towers against its part of the golden answers, by the tower's name; none where the runtime opens no such file."""
    allowed, found = model.tolerance if tolerance is None else tolerance, {}
    for place, name in enumerate(bundle.asked if model.towers and runtime in OF_TOWERS else ()):
        session = open_tower(bundle, model, name, runtime=runtime, threads=threads)
        part = (place, len(bundle.asked))
        found[name] = check_golden(
            session, bundle.folder / GOLDEN, tolerance=allowed, logits=model.logits, decisions=_neighbours, part=part
        )
    return found


def _neighbours(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return answerer("embedding").decisions(vectors, {})  # type: ignore[no-any-return]


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
    heads = [len(head["names"]) for head in bundle.facts.get("heads", ())]
    return check_golden(session, bundle.folder / GOLDEN, tolerance=allowed, logits=model.logits, decisions=decisions, heads=heads)
