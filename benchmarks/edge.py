"""ExecuTorch on the student of a run: does it convert as it is, does it answer the same, how fast is it beside ONNX Runtime.

    ENV/bin/python -m pip install executorch onnxruntime pydantic pyyaml
    PYTHONPATH=. ENV/bin/python benchmarks/edge.py runs/mobile_vqa         writes results/edge/executorch.json
    python benchmarks/edge.py --publish                                    puts the table into its document

It has an environment of its own: its runtime for Python needs torch, so it can be no runtime of a bundle. Timed in turns with ONNX Runtime on
the fp32 file, batch 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, add_table_arguments, markdown_table, origin, origin_line, read_results, run_program, show_tables, write_result

from compress.device.sessions import open_session
from compress.device.timing import Effort, ratio_interval, summarise, time_calls
from compress.store.store import RunFolder

ROUNDS, WARMUP = 1000, 50
LIBRARIES = ("executorch", "torch", "onnxruntime")
Feeds = dict[str, np.ndarray]
Answer = Callable[[Feeds], np.ndarray]  # one row of each input -> logits (1, K)


def convert(model: Any, example: tuple[Any, ...], out: Path) -> Answer:
    """torch.export, lowered to XNNPACK, to a .pte file, run by ExecuTorch's own runtime."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    exported = torch.export.export(model, example)
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    out.write_bytes(program.buffer)
    method = Runtime.get().load_program(out).load_method("forward")

    def answer(feeds: Feeds) -> np.ndarray:
        return method.execute([torch.from_numpy(array) for array in feeds.values()])[0].numpy()

    return answer


def measure(run: Path) -> dict[str, Any]:
    """The result; where the student does not convert, with the reason and no figures."""
    import torch

    from compress.io_spec import IOSpec
    from compress.models.classifier import ByPort
    from compress.models.saved import load_model

    torch.set_num_threads(1)
    made = RunFolder(run).links()
    student = made["distill"]
    io = IOSpec.load(student / "io_spec.json")
    with np.load(made["bundle"] / "bundle" / "golden.npz") as stored:
        golden = {m: stored[m] for m in io.modalities}
    rows = [{m: array[i : i + 1] for m, array in golden.items()} for i in range(len(next(iter(golden.values()))))]
    reference = open_session(made["export"] / "fp32.onnx")
    result: dict[str, Any] = {**origin(threads=1, libraries=LIBRARIES), "run": run.resolve().name}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "student"
        try:
            answer = convert(ByPort(load_model(student), io).eval(), tuple(torch.from_numpy(array) for array in rows[0].values()), out)
        except Exception as error:  # whatever a converter raises is its answer
            return {**result, "failed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"}
        expected = np.concatenate([reference.run(row)["logits"] for row in rows])
        got = np.concatenate([answer(row) for row in rows])
        calls = {"onnxruntime": lambda: reference.run(rows[0]), "executorch": lambda: answer(rows[0])}
        times = time_calls(calls, Effort(ROUNDS, WARMUP)).ns
        size = os.path.getsize(out)
    return {
        **result,
        "size": {"value": size, "unit": "bytes"},
        "max_difference": {"value": float(np.abs(got - expected).max() / np.abs(expected).max()), "unit": "of the largest logit"},
        "samples": len(rows),
        "latency": {key: {**summarise(ns), "unit": "ms"} for key, ns in times.items()},
        "over_onnxruntime": ratio_interval(times["executorch"], times["onnxruntime"]),
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """One line a result."""
    header = ("fp32 student, batch 1", "kB", "largest difference", "median, ms", "over ONNX Runtime")
    return f"{markdown_table(header, [table_row(r) for r in results])}\n\n{origin_line(results, 'onnxruntime')}"


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"edge": table(results)}


def table_row(result: dict[str, Any]) -> list[str]:
    """The figures, or why there are none."""
    title = f"executorch {result['versions']['executorch']}"
    if "failed" in result:
        return [f"{title}: {result['failed']}", "-", "-", "-", "-"]
    ratio = result["over_onnxruntime"]
    return [
        title,
        f"{result['size']['value'] / 1e3:.0f}",
        f"{result['max_difference']['value']:.1e}",
        f"{result['latency']['executorch']['median_ms']:.3f}",
        f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
    ]


def main() -> None:
    """Converts and measures, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="a run folder, such as runs/mobile_vqa")
    add_table_arguments(parser)
    args = parser.parse_args()
    if show_tables(args, lambda: tables(read_results(RESULTS / "edge"))):
        return
    if args.run is None:
        sys.exit("error: give a run folder, --table or --publish")
    result = measure(args.run)
    write_result(RESULTS / "edge" / "executorch.json", result)
    print(table([result]))


if __name__ == "__main__":
    run_program(main)
