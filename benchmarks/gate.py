"""The parity gate on small students: how far sound files are from the form before them, and which planted faults it catches at every hop.

    python benchmarks/gate.py               writes results/gate.json: a few minutes
    python benchmarks/gate.py --publish     puts the table into its document

Students, hops and faults are those of tests/stages/test_gate.py: some learnt their task, some are nearly random, and for sound files some have
the weights of these shuffled and scaled. A fault is planted at the first, the last and two other places of a file that has so many.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from record import RESULTS, ROOT, add_table_arguments, markdown_table, origin, origin_line, run_program, show_tables, write_result

from compress.errors import CompressError
from compress.graphs.diverge import relative_difference
from compress.graphs.graph import Graph
from compress.graphs.trace import run_model
from compress.recipe.parity import Parity
from compress.stages.export.gate import STEPS, Gate
from compress.tasks.task import task

STUDENTS = (
    (2, 4),
    (2, 60),
    (9, 4),
    (9, 60),
    (77, 4),
)  # classes and steps of training: 60 teach the task, 4 nothing; of 2 classes by images alone
REDRAWN, SEEDS = (2, 77), range(6)
HOPS = {
    "fp32": "torch -> fp32",
    "fp16": "fp32 -> fp16",
    "as written": "fake-quantized torch -> ONNX as written",
    "onnxruntime_x86": "as written -> ONNX Runtime's file",
    "onnxruntime_arm": "as written -> its file for ARM",
    "tensorrt": "as written -> TensorRT's file",
}
KEYS = ("distance", "bias", "layer", "steps")


def judged(hop: Any, graph: Any) -> tuple[dict[str, Any], str]:
    """What the gate notes of a graph (empty where it does not even run), and its objection; "" where it has none."""
    gate = Gate(Parity(), hop.feeds, decisions=task("single_label").decisions)
    try:
        got = run_model(graph, hop.feeds, optimise=hop.optimise)["logits"]
        gate.compare("a", "b", hop.expected, got, kind=hop.kind, layers=lambda: hop.layers(graph), doubt=hop.doubt)
    except CompressError as error:
        return gate.records[0] if gate.records else {}, str(error)
    return gate.records[0], ""


def plant(known: ModuleType, student: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """For each hop and fault: how many were planted, how many caught, and of the others how far they moved the logits."""
    for name, hop in known.hops(*student).items():
        sound = run_model(hop.graph, hop.feeds, optimise=hop.optimise)["logits"]
        for fault in known.FAULTS:
            edits = fault(Graph(hop.graph))
            places = sorted({round(place * (len(edits) - 1) / 3) for place in range(4)} if edits else ())
            missed = []
            for place in places:
                faulty = Graph.copy_of(hop.graph)
                edits[place](faulty)
                if not judged(hop, faulty.model)[1]:
                    moved = relative_difference(sound, run_model(faulty.model, hop.feeds, optimise=hop.optimise)["logits"])
                    missed.append({"place": place, "moved": float(moved)})
            if places:
                yield {"student": list(student), "hop": name, "fault": fault.__name__, "planted": len(places), "missed": missed}


def measure() -> dict[str, Any]:
    """All students, their sound files and their faulty ones."""
    sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("stages", "support")]
    import test_gate as known

    sound, planted = [], []
    drawn = {f"{classes} classes, redrawn {seed}": known.redrawn(classes, seed) for classes in REDRAWN for seed in SEEDS}
    for title, hops in ({f"{c} classes, {s} steps": known.hops(c, s) for c, s in STUDENTS} | drawn).items():
        for name, hop in hops.items():
            record, objection = judged(hop, hop.graph)
            sound.append({"student": title, "hop": name, "objection": objection, **{key: record.get(key) for key in KEYS}})
    for student in STUDENTS:
        planted += plant(known, student)
        print(f"{student[0]} classes, {student[1]} steps: {sum(len(p['missed']) for p in planted)} faults missed so far", flush=True)
    return {**origin(threads=1, libraries=("torch", "onnx", "onnxruntime")), "sound": sound, "planted": planted}


def table(result: dict[str, Any]) -> str:
    """A line for each hop, the worst of its sound files beside the limit, and the faults; a sentence of what was missed."""
    parity, lines = Parity(), []
    for name, title in HOPS.items():
        files = [s for s in result["sound"] if s["hop"] == name]
        limits = getattr(parity, name if name in ("fp32", "fp16") else "int8")
        asked = {"distance": limits.distance, "bias": limits.bias, "layer": getattr(limits, "layer", None), "steps": STEPS}
        worst = {key: max((s[key] for s in files if s[key] is not None), default=None) for key in KEYS}
        cells = [f"{worst[key]:.2g} ({asked[key]:g})" if worst[key] is not None else "-" for key in KEYS]
        passed = f"{sum(not s['objection'] for s in files)} of {len(files)}"
        lines.append([title, passed, *cells, _caught([p for p in result["planted"] if p["hop"] == name])])
    header = (
        "step from form to form",
        "sound files passed",
        "distance of logits",
        "a class's mean",
        "a layer",
        "int8 steps",
        "faults caught",
    )
    missed = [m["moved"] for p in result["planted"] for m in p["missed"]]
    told = f"; those that were not moved the logits by at most {100 * max(missed):.1g} %" if missed else ""
    students = len({s["student"] for s in result["sound"]})
    words = f"{students} students. Of all faults {_caught(result['planted'])} were caught{told}. {origin_line([result], 'onnxruntime')}"
    return f"{markdown_table(header, lines)}\n\n{words}"


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"gate": table(results[0])}


def _caught(planted: list[dict[str, Any]]) -> str:
    total = sum(p["planted"] for p in planted)
    return f"{total - sum(len(p['missed']) for p in planted)} of {total}"


def main() -> None:
    """Measures, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS / "gate.json")
    add_table_arguments(parser)
    args = parser.parse_args()
    if not show_tables(args, lambda: tables([json.loads(args.results.read_text())])):
        write_result(args.results, measure())


if __name__ == "__main__":
    run_program(main)
