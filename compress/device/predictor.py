"""`Predictor`: an unpacked bundle that answers, opened once and asked again and again, from any number of threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import around_towers, open_model, open_towers, read_inputs
from .choose import stored_choice
from .contents import PRESENT, SHARES, BundleFolder, Model, find_model, read_bundle
from .errors import DeviceError
from .manifest import check_files, read_manifest
from .modalities import open_reader, reader
from .modalities.present import pattern, stand_in
from .sessions import REENTRANT
from .tasks import answerer


class Predictor:
    """The bundle in `folder` with one model open; only files whose hash was checked are read.

    `model`: a name in models.json; None takes what `run.py choose` chose here, else the model that the bundle names. A value is a path, a
    file's content or an array: one of the port's own shape and type goes to the model as it is, all else through the input's reader.
    Calls from several threads are answered side by side where the runtime allows it, else one after the other.

    Raises: DeviceError for a model or runtime that cannot be used here, ManifestError for a file that was changed.
    """

    bundle: BundleFolder
    model: Model
    _session: Any

    def __init__(self, folder: str | Path, *, model: str | None = None, runtime: str = "onnxruntime_cpu", threads: int = 1) -> None:
        bundle = read_bundle(Path(folder))
        found = find_model(bundle, model or stored_choice(bundle, runtime=runtime))
        assets = [asset for name in bundle.inputs for asset in reader(name).ASSETS]
        check_files(bundle.folder, read_manifest(bundle.folder), names=assets)
        opened = open_towers if bundle.towers else open_model
        self._hold(bundle, found, opened(bundle, found, runtime=runtime, threads=threads), runtime)

    @classmethod
    def around(cls, bundle: BundleFolder, model: Model, session: Any, *, runtime: str = "onnxruntime_cpu") -> Predictor:
        """A predictor of a model that is open already, whose folder holds what its inputs are read with; no file is checked."""
        predictor = cls.__new__(cls)
        predictor._hold(bundle, model, around_towers(bundle, session) if bundle.towers else session, runtime)
        return predictor

    def predict(self, **given: Any) -> dict[str, Any]:
        """The answer of the bundle's task to one value for each input, named as its port; "model" says which model gave it.

        Where the model takes rows that lack inputs, one value is enough, and "missing" lists the inputs without one. Where each input has a
        vector of its own, the answer is of those that are given. "contributed", of a model that tells it: how much it let in of each input.

        Raises: DeviceError for an input that is missing, unreadable or not taken by this model.
        """
        answer, beside = self.answer(self.read(given))[0], getattr(answerer(self.bundle.task), "beside", None)
        return beside(answer, given) if beside else answer

    def predict_batch(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """An answer for each row, which holds what `predict` takes; as many rows a call of the model as it takes at once.

        Raises: DeviceError, which names the row, where one of them cannot be read; then none is answered.
        """
        feeds, answers, most = [], [], self.bundle.max_batch
        for number, row in enumerate(rows):
            try:
                feeds.append(self.read(row))
            except DeviceError as error:
                raise DeviceError(f"row {number}: {error}") from error
        for names, alike in groupby(feeds, key=tuple):
            group = list(alike)
            for start in range(0, len(group), most):
                some = group[start : start + most]
                answers += self.answer({name: np.concatenate([feed[name] for feed in some]) for name in names})
        return answers

    def predict_windows(self, hop: float, **given: Any) -> list[dict[str, Any]]:
        """An answer for each window of an input that is longer than the model reads, such as a sound, one every `hop` seconds.

        Each has `start_s` and `end_s`; where the window is silent, `silent` and no answer. Other inputs are the same for all.
        Raises: DeviceError where the model reads no such input.
        """
        long = next((name for name in self._shapes if hasattr(reader(name), "windows")), None)
        if long is None:
            raise DeviceError(f"this model reads {' and '.join(self._shapes)}, and none of it window by window; leave the hop out")
        if given.get(long) is None:
            raise DeviceError(f"{long} is not given, so there is nothing to read window by window; give {reader(long).OPTION}")
        windows = reader(long).windows(given[long], self.bundle.inputs[long], hop)
        answers = iter(self.predict_batch([{**given, long: array} for _, _, array in windows if array is not None]))
        places = [{"start_s": start, "end_s": end} for start, end, _ in windows]
        return [{**place, **({"silent": True} if w[2] is None else next(answers))} for place, w in zip(places, windows)]

    def read(self, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The first half of `predict`: the arrays (1, ...) of one row by port."""
        for name in given:
            if name not in self._shapes:
                raise DeviceError(f"this model reads no {name}; leave it out")
        feeds, asked, missing = {}, self.bundle.asked, self.bundle.missing(given)
        some = self.bundle.takes_some
        if missing and not (some and len(missing) < len(asked)):
            wanted = " or ".join(reader(name).OPTION for name in (missing if some else missing[:1]))
            raise DeviceError(f"this model reads {' and '.join(asked)}; give {wanted}")
        for name, shape in self._shapes.items():
            value = given.get(name)
            if value is None and self.bundle.towers:
                continue
            if value is None:
                feeds[name] = pattern(asked, missing) if name == PRESENT else stand_in(self.bundle.inputs[name])
                continue
            as_it_is = isinstance(value, np.ndarray) and value.shape == shape and value.dtype == self._dtypes[name]
            feeds[name] = self._checked(name, value)[None] if as_it_is else self._read(name, value)
        return feeds

    def answer(self, feeds: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """The second half: an answer for each row of the arrays (R, ...), R at most what the model takes at once."""
        outputs, count = self.run(feeds), len(next(iter(feeds.values())))
        rows = [outputs] if count == 1 else [{name: array[i : i + 1] for name, array in outputs.items()} for i in range(count)]
        facts = {**self.bundle.facts, "towers": [*feeds]} if self.bundle.towers else self.bundle.facts
        answers = [{**self._answer(row, self.bundle.labels, facts=facts), "model": self.model.name} for row in rows]
        names = self.bundle.asked
        if SHARES in outputs:
            told = (dict(zip(names, map(float, shares))) for shares in outputs[SHARES])
            answers = [{**answer, "contributed": contributed} for answer, contributed in zip(answers, told)]
        if not self.bundle.takes_gaps:
            return answers
        missing = ([name for name, there in zip(names, present) if not there] for present in feeds[PRESENT])
        return [{**answer, "missing": names_missing} for answer, names_missing in zip(answers, missing)]

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the model gives for the arrays (R, ...)."""
        with self._lock:
            session = self._session
            if session is None:
                raise DeviceError("this predictor is closed; open another")
            return session.run(feeds)  # type: ignore[no-any-return]

    def warm_up(self, calls: int = 10) -> Predictor:
        """Itself, after that many calls with golden samples: the first ones allocate memory and are slower."""
        samples = self.samples()
        for number in range(calls):
            self.predict(**{name: array[number % len(array)] for name, array in samples.items()})
        return self

    def samples(self) -> dict[str, np.ndarray]:
        """The golden inputs of the bundle by port, each (N, ...): real rows, as the model reads them."""
        return read_inputs(self.bundle)

    def close(self) -> None:
        """Lets go of the model, once the calls that are under way have ended; what is asked after that raises DeviceError."""
        with self._lock:
            session, self._session = self._session, None
        if hasattr(session, "close"):
            session.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hold(self, bundle: BundleFolder, model: Model, session: Any, runtime: str) -> None:
        self.bundle, self.model, self._session = bundle, model, session
        self._readers: dict[str, Any] = {}  # opened at the first value that needs one: arrays need neither pillow nor tokenizers
        self._dtypes = {name: np.dtype(port["dtype"]) for name, port in bundle.inputs.items()}
        self._shapes = {name: tuple(port["shape"]) for name, port in bundle.inputs.items()}
        self._answer = answerer(bundle.task).answer
        self._lock: Any = nullcontext() if runtime in REENTRANT else threading.Lock()

    def _checked(self, name: str, value: np.ndarray) -> np.ndarray:
        """An array of the port's own form, once its values are those that the port takes: a runtime reads past a table for others."""
        low, high = self.bundle.inputs[name].get("low"), self.bundle.inputs[name].get("high")
        if value.dtype == np.uint8:  # pixels: every value is one
            return value
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise DeviceError(f"the array for {name} holds values that are not finite")
        if (low is not None and value.min() < low) or (high is not None and value.max() > high):
            raise DeviceError(f"the array for {name} holds values from {value.min()} to {value.max()}; the model takes {low} to {high}")
        return value

    def _read(self, name: str, value: Any) -> np.ndarray:
        opened = self._readers.get(name)
        if opened is None:  # two threads may both open it: the second one's stays, and reads the same
            opened = self._readers[name] = open_reader(name, self.bundle.inputs[name], self.bundle.folder)
        return opened(value)
