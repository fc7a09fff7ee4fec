"""Keeps the generated parts of the documents current: the tree, the folders, the commands, the exit codes.

python tools/docs.py           says which documents are not current, and exits with 1 if there is one
python tools/docs.py --write   brings them up to date

Tables of figures come from the programs in benchmarks (`--publish`).
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the checkout that this file is part of, and no other that is installed
OTHERS = {  # what has no first line to read
    "Makefile": "the two commands: `make run` and `make test`",
    "README.md": "what, why, how, and the figures that matter most",
    "pyproject.toml": "the package, its dependencies and extras, the tools' settings",
    "constraints.txt": "pinned versions that a fresh machine installs from",
    "requirements-weights.txt": "pretrained weights that come as packages",
    ".ci/run": "what CI does",
    "LICENSE": "Apache-2.0",
    "docs/report.png": "the picture in README.md",
    "recipes/mobile_vqa_paraphrases.csv": "the default's questions in other words, scored apart",
    "recipes/schema.json": "JSON Schema of a recipe, for editors; generated",
    "compress/examples/cpp/golden.cpp": "asks every model for its golden samples through ONNX Runtime's C API, and compares",
    "compress/examples/cpp/CMakeLists.txt": "builds it, against a release or the library in the Python wheel",
    "compress/examples/cpp/onnxruntime_c_api.h": "of ONNX Runtime 1.21.0; its licence lies beside it",
    "docs/measurements.schema.json": "JSON Schema of the measurements.json of a run's benchmark, for scripts; generated",
    "compress/reporting/page.html.j2": "every word of the report's page",
    "compress/reporting/devices.html.j2": "every word of the page that compares devices",
    "compress/reporting/style.css.j2": "the style of both",
    "benchmarks/results/": "what these programs measured, as JSON",
    "tests/": "mirrors compress/; test_whole_pipeline runs the chain once for all tests that read its result",
    "tools/": "this project's own tools",
    "recipes/": "runs to start from",
    "recipes/sweeps/": "what to try of them: `compress sweep RECIPE SWEEP`",
    "docs/": "what README.md has no room for",
}
KINDS = ("py", "yaml", "md")  # files that say on their first lines what they are
FOLDERS = ("compress", "recipes", "benchmarks", "docs", "tools")
ORDER = {"README.md": 0, "docs": 2, "compress": 3, "recipes": 4, "benchmarks": 5, "tools": 6, "tests": 7}  # all else: 1


def write_tree() -> str:
    """Every file that a reader should know with its gloss: two spaces a level, glosses in one column."""
    lines: list[tuple[str, str]] = []
    shown: set[str] = set()
    glosses = read_glosses()
    for path in sorted(glosses, key=sort_key):
        parts = path.rstrip("/").split("/")
        for depth in range(len(parts)):
            name = "/".join(parts[: depth + 1]) + ("/" if depth < len(parts) - 1 or path.endswith("/") else "")
            if name not in shown:
                shown.add(name)
                lines.append((f"{'  ' * depth}{parts[depth]}{'/' if name.endswith('/') else ''}", glosses.get(name, "")))
    width = max(len(name) for name, _ in lines) + 2
    return "```text compress-tree\n" + "\n".join(f"{name:<{width}}{gloss}".rstrip() for name, gloss in lines) + "\n```"


def write_folders() -> str:
    """One line a folder of the package."""
    glosses = read_glosses()
    named = sorted(path for path in glosses if path.count("/") == 2 and path.startswith("compress/") and path.endswith("/"))
    return "\n".join(["| folder | what it holds |", "| --- | --- |", *(f"| `{path}` | {glosses[path]} |" for path in named)])


def write_commands() -> str:
    """The commands of `compress`, as its own help has them."""
    sys.path.insert(0, str(ROOT))
    import typer

    from compress.cli import app

    def lines(group: Any, before: str) -> list[str]:
        found = []
        for name, command in group.commands.items():
            inner = getattr(command, "commands", None)
            found += lines(command, f"{before} {name}") if inner else [f"| `{before} {name}` | {command.help} |"]
        return found

    return "\n".join(["| command | what it does |", "| --- | --- |", *lines(typer.main.get_command(app), "compress")])


def write_exit_codes() -> str:
    """What the docstring of compress/errors.py says."""
    docstring = ast.get_docstring(ast.parse((ROOT / "compress" / "errors.py").read_text())) or ""
    _, tree, missed = docstring.split("\n\n", 2)
    return f"```text\n{textwrap.dedent(tree)}\n```\n\n{missed}"


def write_scale() -> str:
    """A thousand million images and 64 GPUs, by the formulas that `compress plan` uses."""
    from compress.recipe import cost

    rows, classes, processes, rate_hz, parameters = 10**9, 1000, 64, 1000, 5_000_000
    image, answer = 224 * 224 * 3, cost.stored_bytes(1, 1, classes, 10)
    read = cost.step_bytes({"image": (1, image)}, 1, answer) * rate_hz
    size = cost.checkpoint_bytes(parameters)
    write, between = size / cost.DISK_RATE_HZ, cost.failure_seconds(processes)
    best = cost.checkpoint_interval(write, between)
    stored, live = cost.answers_asked(1, rows, steps=3 * rows // 4096, batch_rows=4096)
    lines = {
        "inputs, as bytes of pixels": ("N H W 3", f"{rows * image / 1e12:,.0f} TB"),
        "answers, whole (`kd`, `dkd`, `dist`)": ("V R K 2", f"{cost.stored_bytes(1, rows, classes) / 1e9:,.0f} GB"),
        "answers, the 10 largest (`distill.store_top_k`)": ("V R (4 k + 2)", f"{cost.stored_bytes(1, rows, classes, 10) / 1e9:,.0f} GB"),
        "a hidden state of 512 numbers (`hint`, `simkd`, `cosine`)": ("V R D 2", f"{cost.hidden_bytes(1, rows, 512) / 1e9:,.0f} GB"),
        "of the 10 largest, what each process reads in a pass": (
            "over processes",
            f"{cost.stored_bytes(1, rows, classes, 10) / processes / 1e9:,.2f} GB",
        ),
        "what a GPU reads, at 1,000 images a second": ("(H W 3 + 4 k + 2) a second", f"{read / 1e6:,.0f} MB/s"),
        "what 64 of them read": ("", f"{processes * read / 1e9:,.1f} GB/s"),
        "rows that the teacher answers, stored, one view": ("V R", f"{stored:,}"),
        "the same live, three passes": ("steps x rows of a batch", f"{live:,}"),
        "a checkpoint of a student of 5 M parameters": (
            "16 P",
            f"{size / 1e6:,.0f} MB, {write:.1f} s at {cost.DISK_RATE_HZ / 1e6:,.0f} MB/s",
        ),
        "between two failures of 64 processes": ("2,111 days over processes", f"{between / 86_400:,.0f} days"),
        "best interval between checkpoints": (
            "sqrt(2 C M)",
            f"{best / 60:,.0f} minutes; every 30 s loses {100 * cost.lost_share(30, write, between):.1f} %",
        ),
    }
    head = "| what | formula | 10^9 images of 224 pixels, 1,000 labels, 64 GPUs |\n| --- | --- | ---: |"
    return "\n".join([head, *(f"| {what} | {formula} | {value} |" for what, (formula, value) in lines.items())])


PARTS: dict[str, dict[str, Callable[[], str]]] = {  # document -> markers -> what stands between them
    "README.md": {"folders": write_folders},
    "docs/scale.md": {"scale": write_scale},
    "docs/guide.md": {"commands": write_commands, "exit-codes": write_exit_codes},
    "docs/tree.md": {"tree": write_tree},
}


def read_glosses() -> dict[str, str]:
    """Path -> gloss; a folder ends in a slash and has that of its package."""
    found = {path: gloss for path, gloss in OTHERS.items() if (ROOT / path).exists()}
    for path in (file for folder in FOLDERS for kind in KINDS for file in sorted((ROOT / folder).rglob(f"*.{kind}"))):
        place = path.relative_to(ROOT)
        gloss = first_line(path)
        if path.name != "__init__.py":
            found[place.as_posix()] = gloss
        elif gloss:
            found[f"{place.parent.as_posix()}/"] = gloss
    for path in (ROOT / "benchmarks").glob("README.md"):
        found["benchmarks/"] = found.pop(path.relative_to(ROOT).as_posix())
    return found


def first_line(path: Path) -> str:
    """The first sentence of a module's docstring, of a recipe's first comment, or of a document below its title."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    elif path.suffix == ".yaml":
        text = text.splitlines()[0].lstrip("# ")
    else:
        text = text.partition("\n\n")[2]
    sentence = re.split(r"(?<=[a-z0-9)`])[.;] ", text.split("\n\n")[0].strip().replace("\n", " "))[0].rstrip(".")
    word = sentence.partition(" ")[0]
    return sentence[:1].lower() + sentence[1:] if word in ("A", "An") or (word[1:].islower() and len(word) > 1) else sentence


def sort_key(path: str) -> tuple:
    """README.md first, then what stands beside the folders; files of a folder before its subfolders."""
    parts = path.rstrip("/").split("/")
    folder = path.endswith("/")
    return (ORDER.get(parts[0], 1), *((len(parts) > i + 1 or folder, part) for i, part in enumerate(parts)))


def fill(text: str, mark: str, content: str) -> str:
    """`text` with what lies between `<!-- mark:begin -->` and `<!-- mark:end -->` replaced."""
    pattern = re.compile(rf"(<!-- {mark}:begin -->\n).*?(<!-- {mark}:end -->)", re.S)
    if not pattern.search(text):
        raise SystemExit(f"no document has the part {mark}: put <!-- {mark}:begin --> and <!-- {mark}:end --> in")
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def main() -> int:
    """0 when all documents are current, or were written."""
    stale = []
    for document, parts in PARTS.items():
        path = ROOT / document
        before = after = path.read_text(encoding="utf-8")
        for mark, write in parts.items():
            after = fill(after, mark, write())
        if before != after:
            stale.append(document)
            if "--write" in sys.argv:
                path.write_text(after, encoding="utf-8")
    if stale and "--write" not in sys.argv:
        print(f"not current: {', '.join(stale)}; run: python tools/docs.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
