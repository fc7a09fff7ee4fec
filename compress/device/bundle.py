"""An unpacked bundle at work: its models opened, verified and asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .contents import GOLDEN, PRESENT, BundleFolder, Model, find_model, read_bundle
from .engines import runnable_engine
from .errors import DeviceError
from .golden import check_golden, read_golden
from .manifest import check_files, read_manifest
from .modalities import present, reader
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
    return check_golden(session, bundle.folder / GOLDEN, tolerance=model.tolerance if tolerance is None else tolerance, logits=model.logits)


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose model is open: it may be asked again and again."""

    bundle: BundleFolder
    model: Model
    session: Any

    def predict(self, **given: Any) -> dict[str, Any]:
        """The answer of the bundle's task, with "model", to one value for each input, named as its port.

        Raises DeviceError for an input that is missing, unreadable or not taken by this model.
        """
        outputs = self.session.run(read_feeds(self.bundle, given))
        answer = {**answerer(self.bundle.task).answer(outputs, self.bundle.labels), "model": self.model.name}
        return {**answer, "missing": self.bundle.missing(given)} if self.bundle.takes_gaps else answer


def open_bundle(folder: Path, *, model: str | None = None, runtime: str = "onnxruntime_cpu", threads: int = 1) -> OpenBundle:
    """The bundle in `folder` with the model of that name opened (None: the chosen one); only files whose hash was checked are read."""
    bundle = read_bundle(folder)
    found = find_model(bundle, model)
    return OpenBundle(bundle, found, open_model(bundle, found, runtime=runtime, threads=threads))


def read_feeds(bundle: BundleFolder, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays (1, ...) of one sample by port; raises DeviceError unless there is a value for each port (for one, where the model
    takes samples that lack inputs) and no other."""
    readers = {name: reader(name) for name in bundle.asked}
    for name in given:
        if name not in readers:
            raise DeviceError(f"this model reads no {name}; leave it out")
    missing = bundle.missing(given)
    if missing and (not bundle.takes_gaps or len(missing) == len(readers)):
        wanted = " or ".join(readers[name].OPTION for name in missing) if bundle.takes_gaps else readers[missing[0]].OPTION
        raise DeviceError(f"this model reads {' and '.join(readers)}; give {wanted}")
    check_files(bundle.folder, read_manifest(bundle.folder), names=[asset for module in readers.values() for asset in module.ASSETS])
    feeds = {name: module.read(given[name], bundle.inputs[name], bundle.folder) for name, module in readers.items() if name not in missing}
    feeds.update({name: present.stand_in(bundle.inputs[name]) for name in missing})
    return {**feeds, PRESENT: present.pattern(readers, missing)} if bundle.takes_gaps else feeds
