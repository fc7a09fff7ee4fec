"""What all benchmarks share: where a figure comes from, results as JSON files, and Markdown tables made of them.

Results lie in `benchmarks/results`; `--publish` puts a table into every document that has `<!-- NAME:begin -->` and `<!-- NAME:end -->`.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from compress.device.info import describe_device
from compress.errors import CompressError
from compress.store.artifacts import write_json_atomic

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
SCHEMA = 1


def origin(*, threads: int, libraries: Sequence[str] = ("torch", "numpy")) -> dict[str, Any]:
    """{schema, device, threads, versions, git_commit, git_clean, command}: what every result carries beside its figures; of a path its name."""
    return {
        "schema": SCHEMA,
        "device": describe_device(),
        "threads": threads,
        "versions": {name: installed_version(name) for name in libraries},
        "git_commit": git("rev-parse", "HEAD") or None,
        "git_clean": not git("status", "--porcelain", "--", "compress", "benchmarks", "recipes", ":!benchmarks/results"),
        "command": shlex.join(["python", *(Path(word).name if word.startswith("/") else word for word in sys.argv)]),
    }


def run_program(main: Callable[[], None]) -> None:
    """Runs a benchmark's command line: a failure that is expected ends it with one line and no traceback."""
    try:
        main()
    except CompressError as error:
        sys.exit(f"error: {error}")


def add_training_arguments(parser: argparse.ArgumentParser, results: str) -> None:
    """What every program that trains takes; `results` is its folder in benchmarks/results."""
    parser.add_argument(
        "-o", dest="overrides", action="append", default=[], metavar="PLACE=VALUE", help="change the recipe; give another --results then"
    )
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--results", type=Path, default=RESULTS / results)
    parser.add_argument("--threads", type=int, default=1)
    add_table_arguments(parser)


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """What every program takes that has tables to show; `show_tables` reads it."""
    parser.add_argument("--table", action="store_true", help="print what the results come to and end")
    parser.add_argument("--publish", action="store_true", help="put the tables into the documents that have their markers and end")


def show_tables(args: argparse.Namespace, tables: Callable[[], Mapping[str, str]]) -> bool:
    """Whether the command line asked for the tables, which then were printed or published; `tables`: name of the markers -> table."""
    if args.publish:
        publish_tables(tables())
    elif args.table:
        print("\n\n".join(tables().values()))
    return args.publish or args.table


def run_on_a_run(
    description: str | None, name: str, measure: Callable[[str], dict[str, Any]], table: Callable[[Sequence[dict[str, Any]]], str]
) -> None:
    """The command line of a program that measures one run's bundle, keeps results/`name`/RUN.json, and has one table, marked `name`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="a run's folder, or a bundle's")
    add_table_arguments(parser)
    args, results = parser.parse_args(), RESULTS / name
    if show_tables(args, lambda: {name: table(read_results(results))}):
        return
    if not args.run:
        parser.error("give a run")
    result = measure(args.run)
    write_result(results / f"{result['run']}.json", result)
    print(table([result]))


def installed_version(name: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git(*arguments: str) -> str:
    """What a git command prints in the repository; "" where there is no git."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Writes one result; a reader finds the old file or the new one and nothing between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, result)


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Every result in a folder, in the order of the file names."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, all others to the right."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def origin_line(results: Sequence[dict[str, Any]], library: str) -> str:
    """One line below a table: devices, threads, version of `library` and commits, each kind once."""
    threads = sorted({r["threads"] for r in results})
    parts = [
        _distinct(f"{r['device']['name']}, {r['device']['cores']} cores" for r in results),
        f"{', '.join(map(str, threads))} {'thread' if threads == [1] else 'threads'}",
        _distinct(f"{library} {r['versions'][library]}" for r in results),
        "commit " + _distinct((r["git_commit"] or "unknown")[:10] + ("" if r["git_clean"] else " with changes") for r in results),
    ]
    return "; ".join(parts) + "."


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def held_table(document: str, name: str) -> str | None:
    """What stands between the markers of table `name`; None where the document has no such markers."""
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", document, re.DOTALL)
    return found[1].strip() if found else None


def publish_tables(tables: Mapping[str, str], documents: Sequence[Path] = DOCUMENTS) -> None:
    """Puts each table between its markers, in every document that has them.

    Raises: SystemExit for a table that no document has markers for.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in documents}
    for name, table in tables.items():
        held = [path for path, text in texts.items() if held_table(text, name) is not None]
        if not held:
            sys.exit(
                f"no document has the markers <!-- {name}:begin --> and <!-- {name}:end -->, each on a line of its own; add them to one"
            )
        for path in held:
            before, rest = texts[path].split(f"<!-- {name}:begin -->\n", 1)
            after = rest.split(f"<!-- {name}:end -->", 1)[1]
            texts[path] = f"{before}<!-- {name}:begin -->\n{table}\n<!-- {name}:end -->{after}"
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and the sample's standard deviation (n - 1 below the line); None for a single value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5


def spread(values: Sequence[float], *, signed: bool = False) -> str:
    """`mean ± deviation` with two decimals."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:+.2f}" * signed + f"{mean:.2f}" * (not signed) + ("" if deviation is None else f" ± {deviation:.2f}")
