"""Which model answers on this device: decided from its own measurements, and kept in `chosen.json`.

The choice holds for one bundle, one device and one runtime. It names a model of the bundle, whose file is hash-checked when it is opened,
so `chosen.json` itself needs no hash.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from .bundle import check_model
from .contents import BundleFolder
from .errors import DeviceError, GoldenError
from .info import device_name
from .manifest import hash_file, read_manifest

CHOSEN = "chosen.json"
SCHEMA = 1


def choose(bundle: BundleFolder, *, measurements: Path, batch: int = 1) -> dict[str, Any]:
    """The choice {model, reason, verdicts, ...}, also written to chosen.json in the bundle.

    The fastest median at `batch` among the models whose golden answers hold in the measured runtime; models whose median lies in the 95 %
    interval of the fastest one's are tied, and ties go to the smaller file. `verdicts` has a line for each other model.
    Raises DeviceError where the measurements are absent, of another bundle or device, or leave nothing to choose from.
    """
    measured = _read_measurements(bundle, measurements)
    runtime, threads = measured["runtime"]["name"], measured["threads"]
    lines = {line["model"]: line for line in measured["measurements"] if line["batch"] == batch}
    verdicts = _check_models(bundle, lines, runtime=runtime, threads=threads, batch=batch)
    usable = {name: line for name, line in lines.items() if name not in verdicts}
    if not usable:
        why = "; ".join(f"{name} {verdict}" for name, verdict in verdicts.items())
        raise DeviceError(f"{measurements}: no model can be chosen for batch {batch}: {why}")
    sizes = {model.name: read_manifest(bundle.folder)["files"][model.file]["size"] for model in bundle.models}
    name = pick(usable, sizes)
    tied = find_tied(usable)
    for other in sorted(set(usable) - {name}):
        same = ", a tie" if other in tied else ""
        verdicts[other] = f"takes {_timing(usable[other])}{same}, at {sizes[other] / sizes[name]:.2f}x its size"
    choice = {
        "schema": SCHEMA,
        "kind": "choice",
        "bundle": bundle.identity,
        "device": measured["device"]["name"],
        "runtime": runtime,
        "threads": threads,
        "batch": batch,
        "model": name,
        "reason": f"{_timing(usable[name])} at batch {batch} in {runtime}, {threads} thread(s); golden answers hold",
        "verdicts": verdicts,
        "measurements_sha256": hash_file(measurements),
    }
    _write(bundle.folder / CHOSEN, choice)
    return choice


def pick(lines: dict[str, dict[str, Any]], sizes: dict[str, int]) -> str:
    """The name of the smallest file among those tied with the fastest; of equal sizes the one with the lower median.

    lines: {model: {median_ms, high_ms}}, high being the end of the median's 95 % interval; sizes: {model: bytes}.
    """
    return min(find_tied(lines), key=lambda name: (sizes[name], lines[name]["median_ms"]))


def find_tied(lines: dict[str, dict[str, Any]]) -> list[str]:
    """The names of the models whose median lies in the interval of the fastest one's. Not those whose intervals overlap: after few
    rounds on a busy device that would tie one with another of half its speed."""
    fastest = min(lines.values(), key=lambda line: line["median_ms"])
    return [name for name, line in lines.items() if line["median_ms"] <= fastest["high_ms"]]


def stored_choice(bundle: BundleFolder, *, runtime: str) -> str | None:
    """The model that was chosen here for `runtime`, or None where none was.

    Raises DeviceError for a choice that was made for another bundle or on another device: it says nothing about this one.
    """
    path = bundle.folder / CHOSEN
    try:
        choice = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DeviceError(f"{path}: cannot be read ({error}); delete it, or run `run.py choose` again") from error
    known = isinstance(choice, dict) and choice.get("kind") == "choice" and choice.get("schema") == SCHEMA
    if not known or choice.get("bundle") != bundle.identity or choice.get("model") not in [model.name for model in bundle.models]:
        raise DeviceError(f"{path}: not a choice made for this bundle; delete it, or run `run.py choose` again")
    if choice.get("device") != device_name():
        raise DeviceError(
            f"{path}: chosen on {choice.get('device')!r}, this is {device_name()!r}; delete it, or run `run.py bench` and `choose`"
        )
    return str(choice["model"]) if choice.get("runtime") == runtime else None


def _read_measurements(bundle: BundleFolder, path: Path) -> dict[str, Any]:
    again = "run `run.py bench` here first"
    try:
        measured: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        problem = _problem(bundle, measured)
    except FileNotFoundError:
        raise DeviceError(f"{path}: no such file; {again}") from None
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise DeviceError(f"{path}: not measurements of this runner ({error!r}); {again}") from error
    if problem:
        raise DeviceError(f"{path}: {problem}; {again}")
    return measured


def _problem(bundle: BundleFolder, measured: dict[str, Any]) -> str | None:
    if measured["kind"] != "measurements":
        return f"holds {measured['kind']!r} and no measurements"
    if measured["bundle"] != bundle.identity:
        return "taken with another bundle"
    if measured["device"]["name"] != device_name():
        return f"taken on {measured['device']['name']!r}, and this is {device_name()!r}"
    names = {model.name for model in bundle.models}
    for line in measured["measurements"]:
        if line["model"] not in names:
            return f"times a model {line['model']!r}, which this bundle does not hold"
        if not all(math.isfinite(line[key]) and line[key] > 0 for key in ("low_ms", "median_ms", "high_ms", "batch")):
            return f"holds a time of {line['model']!r} that is none"
    return None


def _check_models(bundle: BundleFolder, lines: dict[str, dict[str, Any]], *, runtime: str, threads: int, batch: int) -> dict[str, str]:
    """Why a model is out, by name: not measured at this batch, or other answers than recorded."""
    verdicts = {}
    for model in bundle.models:
        if model.name not in lines:
            verdicts[model.name] = f"was not measured at batch {batch}"
            continue
        try:
            check_model(bundle, model, runtime=runtime, threads=threads)
        except GoldenError as error:
            verdicts[model.name] = f"fails its golden answers ({error})"
    return verdicts


def _timing(line: dict[str, Any]) -> str:
    return f"median {line['median_ms']:.3f} ms [{line['low_ms']:.3f}, {line['high_ms']:.3f}]"


def _write(path: Path, choice: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(choice, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DeviceError(f"{path}: cannot be written ({error.strerror}); copy the bundle to a folder that can") from error
