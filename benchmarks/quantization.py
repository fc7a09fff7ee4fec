"""Our int8 files against other libraries' on one student: test accuracy, size, int8 coverage, and latency of all in turns.

    compress run recipes/mobile_vqa.yaml
    python benchmarks/quantization.py runs/mobile_vqa                          writes results/quantization/mobile_vqa.json
    python benchmarks/quantization.py runs/mobile_vqa --venv nncf=/path/venv   also that peer, in its own environment
    python benchmarks/quantization.py --publish                                puts the tables into the documents that have their markers

Peers get the same float32 file, and calibration rows taken evenly from ours; see peers.py for what each needs. A peer that cannot run is named with
the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, NotImplemented, RuntimeException
from peers import PEERS
from record import (
    RESULTS,
    ROOT,
    add_table_arguments,
    markdown_table,
    origin,
    origin_line,
    read_results,
    run_program,
    show_tables,
    write_result,
)

from compress.data.prepared import PreparedData, open_data
from compress.device.sessions import open_session
from compress.errors import CompressError
from compress.graphs.coverage import int8_coverage
from compress.graphs.graph import Graph
from compress.graphs.linear import own_weights
from compress.measures.metrics import agreement
from compress.recipe.sections import Quantize
from compress.stages.benchmark import Candidate, model_inputs
from compress.stages.benchmark.quality import answer, select_rows, share
from compress.stages.benchmark.scoring import score
from compress.stages.benchmark.timing import time_models
from compress.store.artifacts import INGREDIENTS, Artifact, TorchModel, load
from compress.store.store import RunFolder

OURS = {"fp32": "float32", "int8_qat": "ours, trained (QAT)", "int8_ptq": "ours, calibrated (PTQ)", "int8_dynamic": "ours, dynamic"}
SHARED = ("ort_static_default", "ort_static_tuned", "ort_int4")  # peers that our own environment can run
DEFAULT = "mobile_vqa"  # the run that the short table shows
PEER_SECONDS = 1800  # no peer may take longer


def open_run(folder: Path) -> dict[str, Artifact]:
    """The artifacts of a finished run by stage.

    Raises: CompressError for a run without a quantized student or its exports.
    """
    links = RunFolder(folder).links()
    absent = [stage for stage in ("data", "targets", "distill", "quantize", "export") if stage not in links]
    if absent:
        raise CompressError(f"{folder}: has no {', '.join(absent)}; make it with `compress run` of a recipe that quantizes")
    return {stage: load(path) for stage, path in links.items()}


def calibration_feeds(stages: dict[str, Artifact], data: PreparedData, *, limit: int) -> tuple[dict[str, np.ndarray], int]:
    """At most `limit` of the rows that our own quantizer was calibrated on, evenly spread, and how many these are in all.

    Shapes: {"image": (R, H, W, 3), "text": (R, T)}, laid out row by row. A limit, because entropy calibration keeps every activation.
    """
    from compress.stages.quantize import calibration_batches
    from compress.training.batches import Batches
    from compress.training.rows import training_rows

    student, made_of = stages["distill"], json.loads((_path(stages["quantize"]) / INGREDIENTS).read_text())
    config = Quantize.model_validate(made_of["config"]["quantize"])
    assert student.io_spec
    rows = training_rows(data.split("train"), student.io_spec, stages["targets"], _path(student))  # type: ignore[arg-type]
    batches = Batches(rows, config.train.batch_size, seed=made_of["extras"]["seed"])
    parts = [
        {m: x[which[m]].numpy() for m, x in inputs.items()} for inputs, which in calibration_batches(batches, config.calibration_batches)
    ]
    feeds = {m: np.concatenate([part[m] for part in parts]) for m in parts[0]}
    count = len(next(iter(feeds.values())))
    picked = np.arange(min(limit, count)) * count // min(limit, count)
    return {m: array[picked] for m, array in feeds.items()}, count


def make_peers(
    stages: dict[str, Artifact], feeds: dict[str, np.ndarray], venvs: dict[str, Path], folder: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """({peer: {"path", "versions"}}, {peer: why it was skipped}); files are written to `folder`."""
    np.savez(folder / "calibration.npz", **feeds)  # type: ignore[arg-type]
    made: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for name, peer in PEERS.items():
        python = Path(sys.executable) if name in SHARED else venvs[name] / "bin" / "python" if name in venvs else None
        if python is None:
            skipped[name] = f"no environment given; install {', '.join(peer.requires)} in one and add --venv {name}=PATH"
            continue
        out, job = folder / f"{name}.onnx", folder / f"{name}.json"
        files = {
            "fp32": stages["export"].file("fp32.onnx"),
            "calibration": folder / "calibration.npz",
            "student": _path(stages["distill"]),
            "out": out,
        }
        job.write_text(json.dumps({key: str(path.resolve()) for key, path in files.items()}))
        versions, reason = run_peer(python, name, job)
        if reason is None and not out.is_file():
            reason = "it wrote no file"
        if reason is None:
            made[name] = {"path": out, "versions": versions}
        else:
            skipped[name] = reason
        print(f"{name}: {reason or 'made'}", file=sys.stderr, flush=True)
    return made, skipped


def run_peer(python: Path, name: str, job: Path) -> tuple[dict[str, str], str | None]:
    """(versions, None) of a peer's process that succeeded, or ({}, the last line of what it said)."""
    if not python.is_file():
        return {}, f"{python} is no Python"
    command = [str(python), str(ROOT / "benchmarks" / "peers.py"), name, str(job)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=job.parent, timeout=PEER_SECONDS)
    except subprocess.TimeoutExpired:
        return {}, f"not done after {PEER_SECONDS} s"
    if done.returncode:
        return {}, (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1][:300]
    return json.loads(done.stdout.strip().splitlines()[-1]), None


def candidates(stages: dict[str, Artifact], made: dict[str, Any], data: PreparedData) -> dict[str, Candidate]:
    """Every file that runs on this machine's ONNX Runtime."""
    student, export = stages["distill"], stages["export"]
    assert isinstance(student, TorchModel)
    inputs, parameters = model_inputs(student, data), export.details["parameters"]
    found = {
        name: Candidate(export.file(entry["file"]), "student", entry["precision"], parameters, inputs)
        for name in OURS
        if (entry := export.details["files"].get(name))
    }
    peers = {name: Candidate(entry["path"], "student", "int8_ptq", parameters, inputs) for name, entry in made.items()}
    return found | peers


def measure(
    folder: Path, venvs: dict[str, Path], *, rounds: int, calibration_rows: int, test_limit: int | None, threads: int
) -> dict[str, Any]:
    """The result of one run folder; shares are fractions, latencies ms at batch 1 on one thread."""
    stages = open_run(folder)
    data = open_data(_path(stages["data"]))
    test = data.split("test")
    rows = select_rows(np.asarray(test.labels), test_limit)
    with tempfile.TemporaryDirectory() as scratch:
        feeds, own_rows = calibration_feeds(stages, data, limit=calibration_rows)
        made, skipped = make_peers(stages, feeds, venvs, Path(scratch))
        models = candidates(stages, made, data)
        for name in list(made):
            if refusal(models[name].path) and separate_weights(models[name].path):
                made[name]["rewritten"] = "constants folded, no weight or zero point shared"
            if reason := refusal(models[name].path):
                skipped[name] = reason
                del models[name]
        job = {"threads": 1, "batches": [1], "rounds": rounds, "warmup": max(5, rounds // 10), "seed": 0}
        job |= {"precision": None, "seconds": 60.0}
        latency, _ = time_models(models, test, rows, job=job)
        answers = {
            name: answer(score(m, test, rows, threads=threads), data.task, outputs=data.outputs, name=name) for name, m in models.items()
        }
        entries = {
            name: {
                "title": OURS.get(name) or PEERS[name].title,
                "accuracy": share(answers[name] == np.asarray(test.labels)[rows]),
                "agreement_with_fp32": agreement(answers[name], answers["fp32"]),
                "size": {"value": model.path.stat().st_size, "unit": "bytes"},
                "latency": latency[name]["1"],
                "int8": {key: value for key, value in int8_coverage(model.path).to_json().items() if key != "nodes"},
                **{key: value for key, value in made.get(name, {}).items() if key != "path"},
            }
            for name, model in models.items()
        }
    return {
        **origin(threads=1, libraries=("onnxruntime", "onnx", "torch", "numpy")),
        "run": folder.resolve().name,
        "samples": len(rows),
        "calibration_rows": {"ours": own_rows, "peers": len(next(iter(feeds.values())))},
        "models": entries,
        "skipped": skipped,
    }


def separate_weights(path: Path) -> bool:
    """Folds a peer's constants and gives each layer its own: the meaning stays, and ONNX Runtime opens it with exact int8 products.

    False, and the file as it was, where ONNX Runtime does not open it in any way.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    try:
        onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidArgument, InvalidGraph, NotImplemented, RuntimeException):
        return False
    graph = Graph(onnx.load(path))
    own_weights(graph)
    onnx.save(graph.model, path)
    return True


def refusal(path: Path) -> str | None:
    """Why ONNX Runtime does not open a peer's file; None where it does."""
    from compress.device.errors import DeviceError

    try:
        open_session(path)
    except DeviceError as error:
        return str(error)
    return None


def table(results: Sequence[dict[str, Any]]) -> str:
    """One Markdown table a run, with the peers that did not run named below."""
    parts = []
    for result in results:
        calibrated = f"ours on {result['calibration_rows']['ours']:,} rows, the others on {result['calibration_rows']['peers']:,} of them"
        parts.append(f"**{result['run']}**: {result['samples']:,} test rows, batch 1; calibrated: {calibrated}.")
        header = (
            "file",
            "accuracy, %",
            "drop, points",
            "kB",
            "size over fp32",
            "median, ms",
            "p95, ms",
            "over fp32",
            "multiply-adds in int8",
        )
        parts.append(markdown_table(header, [table_row(entry, result["models"]["fp32"]) for entry in result["models"].values()]))
        if result["skipped"]:
            parts.append("Not run: " + "; ".join(f"{PEERS[name].title} ({reason})" for name, reason in result["skipped"].items()) + ".")
        parts.append(origin_line([result], "onnxruntime"))
    return "\n\n".join(parts)


def summary(results: Sequence[dict[str, Any]]) -> str:
    """The short table: our files of the default run beside the best-known way to make one."""
    result = next(r for r in results if r["run"] == DEFAULT)
    entries = [entry for name, entry in result["models"].items() if name in (*OURS, *SHARED[:1])]
    rows = [[cells[n] for n in (0, 1, 3, 5, 7)] for cells in (table_row(entry, result["models"]["fp32"]) for entry in entries)]
    header = (f"{result['run']}, {result['samples']:,} test rows, batch 1", "accuracy, %", "kB", "median, ms", "time over fp32's")
    return f"{markdown_table(header, rows)}\n\n{origin_line([result], 'onnxruntime')}"


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"quantization": table(results), "quantization-summary": summary(results)}


def table_row(entry: dict[str, Any], fp32: dict[str, Any]) -> list[str]:
    """One file; the ratio of latencies is the median over rounds, with its 95 % interval."""
    ratio, latency = entry["latency"]["this_over_fp32"], entry["latency"]
    return [
        entry["title"],
        f"{100 * entry['accuracy']['value']:.2f}",
        f"{100 * (fp32['accuracy']['value'] - entry['accuracy']['value']):.2f}",
        f"{entry['size']['value'] / 1e3:.0f}",
        f"{entry['size']['value'] / fp32['size']['value']:.2f}",
        f"{latency['median_ms']:.3f}",
        f"{latency['p95_ms']:.3f}",
        f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
        f"{100 * entry['int8']['share']:.0f} %",
    ]


def _path(artifact: Artifact) -> Path:
    assert artifact.path
    return artifact.path


def _venv(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or name not in PEERS or name in SHARED:
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=PATH with NAME of {', '.join(name for name in PEERS if name not in SHARED)}")
    return name, Path(path).resolve()


def main() -> None:
    """Measures one run, or prints or publishes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="a run folder, such as runs/mobile_vqa")
    parser.add_argument("--venv", action="append", default=[], type=_venv, metavar="NAME=PATH", help="environment of a peer")
    parser.add_argument("--rounds", type=int, default=2000, help="timed calls of each file")
    parser.add_argument("--calibration-rows", type=int, default=512, help="rows that peers are calibrated on")
    parser.add_argument("--test-limit", type=int, help="test rows scored at most")
    parser.add_argument("--threads", type=int, default=1, help="threads for scoring; timing always has one")
    parser.add_argument("--results", type=Path, default=RESULTS / "quantization")
    add_table_arguments(parser)
    args = parser.parse_args()
    if show_tables(args, lambda: tables(read_results(args.results))):
        return
    if args.run is None:
        parser.error("give a run folder, --table or --publish")
    settings = {
        "rounds": args.rounds,
        "calibration_rows": args.calibration_rows,
        "test_limit": args.test_limit,
        "threads": args.threads,
    }
    result = measure(args.run, dict(args.venv), **settings)
    write_result(args.results / f"{result['run']}.json", result)
    print(table([result]))


if __name__ == "__main__":
    run_program(main)
