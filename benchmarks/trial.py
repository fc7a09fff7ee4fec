"""A recipe as `compress init` writes it, run as a user runs it, in a process of its own; and what a finished run came to on the test split.

For the programs that run whole recipes, and for those whose results are made one by one over days. Nothing here imports torch before a run
has ended: on Linux a child's peak of memory counts from its parent's.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

from record import ROOT, origin, write_result

from compress.errors import CompressError, DataError
from compress.store.artifacts import Artifact, load
from compress.store.store import RunFolder

if TYPE_CHECKING:
    import numpy as np

    from compress.data.prepared import Split

ARMS = ("teacher", "alone", "distilled", "shipped")


@dataclass(frozen=True)
class Ended:
    """How a process ended: `silence` is the longest time without a line, `peak_bytes` the memory of the largest process of its tree."""

    exit_code: int
    lines: list[str]
    timed_out: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    silence: float = 0.0
    peak_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data without the lines."""
        measured = {"seconds": round(self.seconds, 1), "cpu_seconds": round(self.cpu_seconds, 1), "silence_s": round(self.silence, 1)}
        return {"exit_code": self.exit_code, "timed_out": self.timed_out, **measured, "peak_bytes": self.peak_bytes}


def call(command: Sequence[str], *, limit: float, threads: int = 1) -> Ended:
    """Runs a command and all that it starts for at most `limit` seconds, its two outputs as one, written out line by line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(threads)}
    began = last = time.monotonic()
    lines, silence, ended = [], 0.0, []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment, start_new_session=True
    ) as child:

        def end() -> None:
            ended.append(True)
            os.killpg(child.pid, signal.SIGKILL)

        timer = Timer(limit, end)
        timer.start()
        for line in child.stdout or ():
            now = time.monotonic()
            silence, last = max(silence, now - last), now
            lines.append(line.rstrip("\n"))
        _, status, used = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
    now = time.monotonic()
    spent = {"seconds": now - began, "cpu_seconds": used.ru_utime + used.ru_stime, "silence": max(silence, now - last)}
    return Ended(child.returncode, lines, bool(ended), **spent, peak_bytes=1024 * used.ru_maxrss)


def init(recipe: Path, files: Mapping[str, Path], *, limit: float) -> Ended:
    """`compress init` on the user's files by split, given no more than that."""
    options = [word for split, path in files.items() for word in (f"--{split}", str(path))]
    return call([sys.executable, "-m", "compress", "init", str(recipe), *options], limit=limit)


def run(recipe: Path, runs: Path, *, limit: float, threads: int, overrides: Sequence[str] = (), until: str | None = None) -> Ended:
    """`compress run`, to the bundle or to that stage."""
    changes = [word for override in overrides for word in ("-o", override)]
    command = [sys.executable, "-m", "compress", "run", str(recipe), "--runs", str(runs), "--threads", str(threads), *changes]
    return call([*command, *(("--until", until) if until else ())], limit=limit, threads=threads)


def whole_run(
    recipe: Path, runs: Path, name: str, *, overrides: Sequence[str], limit: float, threads: int
) -> tuple[dict[str, Artifact], dict[str, Any]]:
    """`run` under this name, to the bundle: its artifacts by stage, and what a result says of any such run.

    Raises: CompressError where the run does not end in a bundle; its last lines are the message.
    """
    ended = run(recipe, runs, limit=limit, threads=threads, overrides=[*overrides, f"name={name}"])
    made = artifacts_of(runs / name)
    if "bundle" not in made:
        raise CompressError("\n".join([f"{runs / name}: no bundle", *ended.lines[-3:]]))
    told = {"run": ended.to_json(), "seconds": {stage: round(artifact.seconds, 1) for stage, artifact in made.items()}}
    return made, {**origin(threads=threads, libraries=("torch", "numpy", "onnxruntime")), **told}


def make_missing(results: Path, wanted: Iterable[tuple[str, Callable[[], dict[str, Any]]]], told: Callable[[dict[str, Any]], str]) -> None:
    """Makes what is `wanted`, a name and what makes it, and writes results/NAME.json, but for what is there; says what `told` makes of each."""
    for name, make in wanted:
        out = results / f"{name}.json"
        if not out.is_file():
            result = make()
            write_result(out, result)
            print(f"{name}: {told(result)}", file=sys.stderr, flush=True)


def tell_test(result: Mapping[str, Any]) -> str:
    """What the models of a `judge`d run came to."""
    return ", ".join(f"{model} {share['value']:.2f} %" for model, share in result["found"]["test"].items())


def add_file_arguments(parser: argparse.ArgumentParser, named: Mapping[str, int]) -> None:
    """An option --SET for each set whose files the command line must name, `named` saying how many."""
    for name, count in named.items():
        if count:
            parser.add_argument(f"--{name}", nargs=count, type=Path, metavar="FILE")


def given_files(name: str, count: int, args: Mapping[str, Any]) -> Sequence[Path]:
    """The `count` files that the command line names for a set. Raises DataError where one is not there."""
    given = args.get(name) or []
    if len(given) != count:
        raise DataError(f"--{name}: give {count} file(s), or leave {name} out with --only; --help says where they come from")
    for path in given:
        if not path.is_file():
            raise DataError(f"--{name} {path}: no such file")
    return given


def artifacts_of(folder: Path) -> dict[str, Artifact]:
    """What a run has left so far, by stage."""
    return {stage: load(path) for stage, path in RunFolder(folder).links().items()} if folder.is_dir() else {}


def judge(made: Mapping[str, Artifact], *, threads: int) -> dict[str, Any]:
    """What a finished run came to: test accuracies (%), the shipped file beside the student alone, sizes, and what was left out."""
    from compress.measures.paired import compare_paired

    right = right_answers(made, threads=threads)
    measured = json.loads(made["benchmark"].file("measurements.json").read_text())
    summary = json.loads(made["report"].file("summary.json").read_text())
    student = made["distill"].details
    return {
        "samples": len(right["shipped"]),
        "test": {arm: {"value": 100 * float(hits.mean()), "correct": int(hits.sum()), "unit": "%"} for arm, hits in right.items()},
        "majority": {"value": 100 * measured["baselines"]["majority"]["value"], "unit": "%"},
        "shipped": {"file": summary["shipped_model"], "arm": student["shipped_arm"], "size_bytes": summary["shipped_size_bytes"]},
        "teacher_size_bytes": summary["teacher_size_bytes"],
        "against_alone": compare_paired(right["shipped"], right["alone"]).to_json() if "alone" in right else None,
        "validation": student.get("comparison"),
        "int8_test": {
            name: 100 * m["accuracy"]["value"]
            for name, m in measured["models"].items()
            if m["role"] == "student" and m["precision"].startswith("int8")
        },
        "left_out": made["export"].details["left_out"],
        "unserved": made["export"].details["unserved"],
    }


def right_answers(made: Mapping[str, Artifact], *, threads: int) -> dict[str, np.ndarray]:
    """(R,) bool for each of ARMS that there is: the test rows that it answers right; files as the run measured them, students by torch."""
    import numpy as np

    from compress.data.prepared import open_data

    distill, summary = made["distill"], json.loads(made["report"].file("summary.json").read_text())
    data = open_data(_path(made["data"]))
    with np.load(made["benchmark"].file("predictions.npz")) as stored:
        rows = stored["rows"]
        labels = np.asarray(data.split("test").labels)[rows]
        right = {arm: stored[f"model_{name}"] == labels for arm, name in (("teacher", "teacher"), ("shipped", summary["shipped_model"]))}
    for arm in ("alone", "distilled"):
        if folder := student_folder(distill, arm):
            right[arm] = data.task.answers(float_logits(folder, distill, data.split("test"), threads=threads))[rows] == labels
    return {arm: right[arm] for arm in ARMS if arm in right}


def student_folder(distill: Artifact, arm: str) -> Path | None:
    """Where the student of an arm, alone or distilled, lies; None where there is none."""
    folder = _path(distill) if arm == distill.details["shipped_arm"] else _path(distill) / arm
    return folder if folder.is_dir() else None


def float_logits(folder: Path, made: Artifact, split: Split, *, threads: int, teacher: bool = False) -> np.ndarray:
    """(R, K) logits of the float student in `folder`, or of the teacher, to every row of a split; `made` knows its ports and how it reads."""
    import torch

    from compress.models.saved import load_model
    from compress.training.batches import Batches
    from compress.training.loop import predict
    from compress.training.rows import open_rows

    assert made.io_spec
    torch.set_num_threads(threads)
    return predict(load_model(folder), Batches(open_rows(split, made.io_spec, made.path, teacher=teacher), 50, shuffle=False))


def _path(artifact: Artifact) -> Path:
    assert artifact.path
    return artifact.path
