"""Measurements of a bundle: taken here by the bundle's own runner, read back from any device, and held against the bundle they are for."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.device.errors import DeviceError
from compress.device.manifest import read_manifest, verify_folder
from compress.errors import BundleError, CompressError, DependencyError, EngineError, ParityError
from compress.listing import find_run

MEASUREMENTS = "measurements.json"
MAX_BYTES = 16 << 20  # of a measurements file; a real one has some kilobytes
TIMES = ("median_ms", "p95_ms", "low_ms", "high_ms", "samples_per_s")
ERRORS = {5: DependencyError, 7: ParityError, 8: EngineError, 9: BundleError}  # by the exit code of the runner


@dataclass(frozen=True)
class BenchOptions:
    """What the runner is asked to measure; None and () leave its own default."""

    runtime: str = "onnxruntime_cpu"
    threads: int = 1
    batches: tuple[int, ...] = ()
    rounds: int | None = None
    model: str | None = None

    def common(self) -> list[str]:
        """The words that `run.py verify` and `run.py bench` both take."""
        return ["--runtime", self.runtime, "--threads", str(self.threads), *(["--model", self.model] if self.model else [])]

    def words(self, out: str) -> list[str]:
        """The words after `run.py`, that write the measurements to `out`."""
        batches = ["--batches", *map(str, self.batches)] if self.batches else []
        rounds = ["--rounds", str(self.rounds)] if self.rounds else []
        return ["bench", *self.common(), *batches, *rounds, "--out", out]


def bench_here(bundle: Path, out: Path, options: BenchOptions) -> dict[str, Any]:
    """Measurements of this machine, also written to `out`: the bundle's runner in a process of its own, once its files are verified."""
    verify_bundle(bundle)
    words = options.words(str(out.resolve()))  # resolved: the path must mean the same to the runner
    done = subprocess.run([sys.executable, str(bundle / "run.py"), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise runner_error(done.returncode, done.stderr, place=f"{bundle / 'run.py'} bench")
    return read_measurements(out)


def verify_bundle(bundle: Path) -> dict[str, Any]:
    """The bundle's manifest; raises BundleError unless every file is as listed. By our own code, since a changed runner would say yes."""
    try:
        return verify_folder(bundle)
    except DeviceError as error:
        raise BundleError(str(error)) from error


def runner_error(code: int, stderr: str, *, place: str) -> CompressError:
    """The error of our own type for a runner that ended with `code`, with the last line that it wrote."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    message = lines[-1].removeprefix("error: ").removeprefix("run.py: error: ") if lines else f"ended with exit code {code}"
    return ERRORS.get(code, CompressError)(f"{place}: {message}")


def place_beside(target: str, *, runs: Path) -> Path:
    """The folder beside a bundle, or of a run, where files about it may be written: never inside the bundle or the store."""
    folder = find_run(target, runs=runs).absolute()
    if (folder / "run.py").is_file():
        folder = folder.parent
    return next(place for place in (folder, *folder.parents) if ".store" not in place.resolve().parts)


def read_measurements(path: Path) -> dict[str, Any]:
    """The content of a file that `run.py bench` wrote. Raises CompressError where it is no such file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CompressError(f"{path}: {path.stat().st_size} bytes are no measurements; give the file that bench wrote")
        return parse_measurements(path.read_bytes(), place=str(path))
    except OSError as error:
        raise CompressError(f"{path}: cannot be read ({error.strerror}); `compress bench` writes it") from error


def parse_measurements(content: bytes, *, place: str) -> dict[str, Any]:
    """The measurements in these bytes, every value that is shown or compared having its type. Raises CompressError."""
    try:
        measured: dict[str, Any] = json.loads(content)
        reason = None if _is_measured(measured) else "a value is missing or of a wrong type"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = repr(error)
    if reason:
        raise CompressError(
            f"{place}: not measurements of this version's bundles ({reason}); make the bundle again and use `compress bench`"
        )
    return measured


def require_same_models(measured: dict[str, Any], bundle: Path, *, place: str) -> None:
    """Raises BundleError unless each measured model is a file of this bundle, byte for byte.

    The files decide and not the manifest's hash: a bundle packed again around the same models runs as fast.
    """
    try:
        files = read_manifest(bundle)["files"]
    except DeviceError as error:
        raise BundleError(str(error)) from error
    held = {entry["sha256"] for entry in files.values()}
    for line in measured["measurements"]:
        if line["sha256"] not in held:
            raise BundleError(
                f"{place}: measured another bundle: its {line['model']} has sha256 {line['sha256'][:12]}..., "
                f"which no file of {bundle} has; measure this bundle on that device"
            )


def measurement_lines(measured: dict[str, Any]) -> list[str]:
    """The table that is printed: the device, then a line for each batch and model."""
    runtime = measured["runtime"]
    lines = [f"{measured['device']['name']}, {runtime['version']} ({runtime['name']}), {measured['threads']} thread(s)"]
    width = max(5, *(len(line["model"]) for line in measured["measurements"]))
    lines.append(f"{'model':<{width}}  batch  median ms  95 % interval       p95 ms  rounds")
    for line in measured["measurements"]:
        interval = f"{line['low_ms']:.3f} to {line['high_ms']:.3f}"
        times = f"{line['median_ms']:>9.3f}  {interval:<17} {line['p95_ms']:>8.3f}"
        lines.append(f"{line['model']:<{width}}  {line['batch']:>5}  {times}  {line['rounds']:>6}")
    return lines


def _is_measured(measured: dict[str, Any]) -> bool:
    texts = [measured["bundle"], measured["device"]["name"], measured["runtime"]["name"], measured["runtime"]["version"]]
    lines = measured["measurements"]
    head = measured["kind"] == "measurements" and measured["schema"] == 1 and isinstance(measured["threads"], int)
    readings = [measured["sensors"][when][key] for when in ("before", "after") for key in ("clocks_mhz", "temperatures_c")]
    sensed = all(isinstance(value, float) for reading in readings for value in reading.values())
    return bool(head and sensed and all(isinstance(text, str) for text in texts) and lines and all(map(_is_line, lines)))


def _is_line(line: dict[str, Any]) -> bool:
    texts = all(isinstance(line[key], str) for key in ("model", "precision", "sha256"))
    counts = all(isinstance(line[key], int) and line[key] > 0 for key in ("batch", "rounds", "size_bytes"))
    return texts and counts and all(isinstance(line[key], float) and math.isfinite(line[key]) and line[key] > 0 for key in TIMES)
