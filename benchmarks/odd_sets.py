"""Small odd sets, as users bring them and not as benchmarks look: does each run end in a bundle or in one clear line, and is what ships sound?

    python benchmarks/odd_sets.py --generator odd_set.py --seeds 0-39 --minutes 60     writes results/odd_sets/0.json, ...; goes on where it was
    python benchmarks/odd_sets.py --publish                                            puts the table into its document

`python GENERATOR SEED OUT` must write OUT/train.csv, OUT/test.csv, OUT/about.json ({"inputs", "rows", "classes", ...}) and, where the set has
one, OUT/validation.csv. The recipe is what `compress init` makes of these files, and nothing is changed in it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

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
from trial import Ended, artifacts_of, init, judge, run

from compress.errors import CompressError
from compress.store.artifacts import Artifact

LIMIT_S = 360.0  # of a run
ENDS = {"bundle": "a bundle", "line": "one clear line before training", "failed": "an error", "time-out": "the time limit"}
STOPPED = "stopped"  # by someone else: no result
LEVELS = (0.05, 0.001)  # of the exact test of what ships against the student alone
TAIL = 40  # lines of a run without a bundle that its result holds


def measure(seed: int, generator: Path, *, scratch: Path | None, keep: bool, limit: float, threads: int) -> dict[str, Any]:
    """The result of one set: drawn, its recipe written, run, and judged on its test split."""
    folder = Path(tempfile.mkdtemp(prefix=f"odd-{seed}-", dir=scratch))
    try:
        drawn = subprocess.run([sys.executable, str(generator), str(seed), str(folder)], capture_output=True, text=True, check=False)
        if drawn.returncode:
            raise CompressError(f"{generator}: seed {seed}: {(drawn.stderr.strip().splitlines() or ['it failed'])[-1]}")
        about = json.loads((folder / "about.json").read_text())
        files = {split: path for split in ("train", "test", "validation") if (path := folder / f"{split}.csv").is_file()}
        recipe, runs = folder / "my.yaml", folder / "runs"
        written = init(recipe, files, limit=limit)
        ended = written if written.exit_code else run(recipe, runs, limit=limit, threads=threads)
        made = artifacts_of(runs / "my")
        end = ending(ended, made)
        return {
            **origin(threads=threads, libraries=("torch", "numpy", "onnxruntime")),
            "seed": seed,
            "set": about,
            "end": end,
            "at": "init" if written.exit_code else "run",
            "limit_s": limit,
            "init": written.to_json(),
            "run": ended.to_json(),
            "seconds": {stage: round(artifact.seconds, 1) for stage, artifact in made.items()},
            "found": judge(made, threads=threads) if end == "bundle" else None,
            "tail": [] if end == "bundle" else [line.replace(str(folder), "OUT").replace(f"{ROOT}/", "") for line in ended.lines[-TAIL:]],
        }
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def ending(ended: Ended, made: Mapping[str, Artifact]) -> str:
    """One of ENDS, or STOPPED: a line is clear where it is the last one, the program's own error, and no teacher had been trained."""
    if -ended.exit_code in (signal.SIGTERM, signal.SIGINT):
        return STOPPED
    if ended.timed_out:
        return "time-out"
    if "bundle" in made:
        return "bundle"
    errors = [line for line in ended.lines if line.startswith("error: ")]
    own = len(errors) == 1 and errors[0] == ended.lines[-1]
    return "line" if own and "teacher" not in made else "failed"


def work_through(seeds: Sequence[int], results: Path, *, jobs: int, minutes: float | None, **settings: Any) -> None:
    """Writes the results of the seeds that have none yet, `jobs` at a time; none is begun once `minutes` are over."""
    begun, left = time.monotonic(), [seed for seed in seeds if not (results / f"{seed}.json").is_file()]
    at_work: dict[Future[dict[str, Any]], int] = {}
    # a fresh process for each, because what one reads with torch would count as the next run's memory
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        while left or at_work:
            while left and len(at_work) < jobs and (minutes is None or time.monotonic() - begun < 60 * minutes):
                seed = left.pop(0)
                at_work[pool.submit(measure, seed, **settings)] = seed
            if not at_work:
                break
            for done in wait(at_work, return_when=FIRST_COMPLETED).done:
                result, seed = done.result(), at_work.pop(done)
                if result["end"] != STOPPED:
                    write_result(results / f"{seed}.json", result)
                print(f"{seed}: {one_line(result)}", file=sys.stderr, flush=True)
    if left:
        print(f"not begun: {', '.join(map(str, left))}; the same command goes on with them", file=sys.stderr)


def one_line(result: Mapping[str, Any]) -> str:
    """What one set came to."""
    about, ended, found = result["set"], result["run"], result["found"]
    head = f"{'+'.join(about['inputs'])}, {about['rows']} rows, {about['classes']} classes: {result['end']}, {ended['seconds']:.0f} s"
    if found is None:
        return f"{head}; {result['tail'][-1] if result['tail'] else ''}"
    test = ", ".join(f"{arm} {share['value']:.1f}" for arm, share in found["test"].items())
    paired = found["against_alone"]
    beside = f"; {paired['a_only']}:{paired['b_only']} to the student alone, p {paired['p']:.2g}" if paired else ""
    return f"{head}; {test}, commonest answer {found['majority']['value']:.1f} %{beside}; ships {found['shipped']['arm']}"


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line for each kind of input and one for all; below it what went wrong, by seed."""
    kinds = {kind: [r for r in results if "+".join(r["set"]["inputs"]) == kind] for kind in ("image", "text", "image+text")}
    rows = [table_row(kind, found) for kind, found in kinds.items() if found]
    header = (
        "inputs",
        "sets",
        *(f"ended in {words}" for words in ENDS.values()),
        *(f"ships worse than the student alone, p < {level:g}" for level in LEVELS),
        "beats the commonest answer, where the student alone does",
        "seconds, median and longest",
        "processor seconds, median",
        "longest silence, s",
        "memory, GB",
    )
    parts = [markdown_table(header, [*rows, table_row("all", results)])]
    if wrong := [f"seed {r['seed']}: {fault}" for r in results if (fault := fault_of(r))]:
        parts.append("\n".join(f"- {line}" for line in wrong))
    return "\n\n".join([*parts, origin_line(results, "torch")])


def table_row(kind: str, results: Sequence[dict[str, Any]]) -> list[str]:
    """Counts over some sets."""
    found = [r["found"] for r in results if r["found"]]
    able = [f for f in found if "alone" in f["test"] and f["test"]["alone"]["value"] > f["majority"]["value"]]
    seconds, cpu = ([r["run"][key] for r in results if r["end"] == "bundle"] for key in ("seconds", "cpu_seconds"))
    return [
        kind,
        str(len(results)),
        *(str(sum(r["end"] == end for r in results)) for end in ENDS),
        *(str(sum(is_worse(f, level) for f in found)) for level in LEVELS),
        f"{sum(beats(f) for f in able)} of {len(able)}",
        f"{statistics.median(seconds):.0f}, {max(seconds):.0f}" if seconds else "-",
        f"{statistics.median(cpu):.0f}" if cpu else "-",
        f"{max(r['run']['silence_s'] for r in results):.0f}",
        f"{max(r['run']['peak_bytes'] for r in results) / 1e9:.1f}",
    ]


def is_worse(found: Mapping[str, Any], level: float) -> bool:
    """Whether what ships has fewer test rows right than the student alone, beyond chance."""
    paired = found["against_alone"]
    return bool(paired and paired["difference"] < 0 and paired["p"] < level)


def beats(found: Mapping[str, Any]) -> bool:
    """Whether what ships has more test rows right than the commonest training answer."""
    return found["test"]["shipped"]["value"] > found["majority"]["value"]


def fault_of(result: Mapping[str, Any]) -> str | None:
    """What went wrong with a set, in a line; None where nothing did."""
    if result["end"] in ("failed", "time-out"):
        return f"ended in {ENDS[result['end']]}, after {next(reversed(result['seconds']), 'nothing')}: {(result['tail'] or [''])[-1]}"
    found = result["found"]
    if found and is_worse(found, LEVELS[0]):
        return f"what ships has {-found['against_alone']['difference']:.1f} points less than the student alone, p {found['against_alone']['p']:.2g}"
    if found and "alone" in found["test"] and not beats(found) and found["test"]["alone"]["value"] > found["majority"]["value"]:
        test = found["test"]
        return f"ships {test['shipped']['value']:.1f} %, the student alone {test['alone']['value']:.1f} %, the commonest answer {found['majority']['value']:.1f} %"
    return None


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"odd_sets": table(sorted(results, key=lambda r: r["seed"]))}


def seed_list(text: str) -> list[int]:
    """The seeds of `0-39`, `3,5,9` or both together, in that order."""
    ends = [part.partition("-") for part in text.split(",")]
    return [seed for first, dash, last in ends for seed in range(int(first), int(last if dash else first) + 1)]


def main() -> None:
    """Draws and runs the sets, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, help="the program that draws a set")
    parser.add_argument("--seeds", type=seed_list, default=seed_list("0-39"), metavar="0-39")
    parser.add_argument("--jobs", type=int, default=1, help="sets at a time")
    parser.add_argument("--minutes", type=float, help="begin no further set after so many")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds that a run may take")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="where the sets and their runs lie meanwhile")
    parser.add_argument("--keep", action="store_true", help="leave them there")
    parser.add_argument("--results", type=Path, default=RESULTS / "odd_sets")
    add_table_arguments(parser)
    args = parser.parse_args()
    if show_tables(args, lambda: tables(read_results(args.results))):
        return
    if args.generator is None:
        parser.error("give --generator FILE, --table or --publish")
    settings = {name: getattr(args, name) for name in ("generator", "scratch", "keep", "limit", "threads")}
    work_through(args.seeds, args.results, jobs=args.jobs, minutes=args.minutes, **settings)


if __name__ == "__main__":
    run_program(main)
