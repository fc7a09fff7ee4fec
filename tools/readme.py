"""Keeps README.md's generated parts current: the tree, from each module's first docstring line, and the recipe's own text.

python tools/readme.py           says whether README.md is current, and exits with 1 if not
python tools/readme.py --write   brings it up to date
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OTHERS = {  # what has no docstring to read
    "Makefile": "the two commands: `make run` and `make test`",
    "pyproject.toml": "the package, its dependencies and extras, the tools' settings",
    "constraints.txt": "pinned versions that a fresh machine installs from",
    "requirements-weights.txt": "pretrained weights that come as packages",
    ".ci/run": "what CI does",
    "LICENSE": "Apache-2.0",
    "recipes/mobile_vqa.yaml": "the default: a 29 M teacher of images and questions to a student for a phone",
    "recipes/mobile_vqa_paraphrases.csv": "its questions in other words, scored apart",
    "recipes/smoke.yaml": "every stage on a handful of images, for a quick look",
    "recipes/schema.json": "JSON Schema of a recipe, for editors; generated",
    "compress/reporting/page.html.j2": "every word and all style of the report's page",
    "tests/": "mirrors compress/; test_whole_pipeline runs the chain once for all tests that read its result",
}
SKIPPED = {"__init__.py", "__pycache__"}


def first_line(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].replace("\n", " ")
    sentence = re.split(r"(?<=[a-z0-9)`])[.;] ", text)[0].rstrip(".")
    word = sentence.split()[0]
    return sentence[:1].lower() + sentence[1:] if word[1:].islower() and len(word) > 1 else sentence


def list_entries() -> list[tuple[str, str]]:
    """(path, gloss) of every file that a reader should know, folder by folder."""
    found = dict(OTHERS)
    for folder in ("compress", "benchmarks", "tools"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            package = path.name == "__init__.py"
            if package and path.parent.name != folder and len(path.read_text().splitlines()) < 3:
                continue
            found[path.relative_to(ROOT).as_posix()] = first_line(path)
    for path in sorted((ROOT / "benchmarks").rglob("*.yaml")):
        found[path.relative_to(ROOT).as_posix()] = path.read_text().splitlines()[0].lstrip("# ").rstrip(".")
    return sorted(found.items(), key=lambda item: sort_key(item[0]))


def sort_key(path: str) -> tuple:
    """Files of a folder before its subfolders; the package before what stands around it."""
    parts = path.rstrip("/").split("/")
    order = {"compress": 1, "recipes": 2, "benchmarks": 3, "tools": 4, "tests": 5}
    return (order.get(parts[0], 0), *((len(parts) > i + 1, part) for i, part in enumerate(parts)))


def render_tree() -> str:
    """The tree as text, two spaces a level, glosses in one column."""
    lines: list[tuple[str, str]] = []
    shown: set[str] = set()
    for path, gloss in list_entries():
        parts = path.rstrip("/").split("/")
        for depth in range(len(parts) - 1):
            folder = "/".join(parts[: depth + 1])
            if folder not in shown:
                shown.add(folder)
                lines.append((f"{'  ' * depth}{parts[depth]}/", ""))
        lines.append((f"{'  ' * (len(parts) - 1)}{parts[-1]}{'/' if path.endswith('/') else ''}", gloss))
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:<{width}}{gloss}".rstrip() for name, gloss in lines)


def fill(text: str, mark: str, content: str) -> str:
    """`text` with what lies between `<!-- mark:begin -->` and `<!-- mark:end -->` replaced."""
    pattern = re.compile(rf"(<!-- {mark}:begin -->\n).*?(<!-- {mark}:end -->)", re.S)
    if not pattern.search(text):
        raise SystemExit(f"README.md has no part {mark}: put <!-- {mark}:begin --> and <!-- {mark}:end --> in")
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def current(text: str) -> str:
    """README.md as it should be."""
    return fill(text, "tree", f"```text compress-tree\n{render_tree()}\n```")


def main() -> int:
    """0 when README.md is current, or was written."""
    readme = ROOT / "README.md"
    before = readme.read_text()
    after = current(before)
    if "--write" in sys.argv:
        readme.write_text(after)
        return 0
    if before != after:
        print("README.md is not current: run python tools/readme.py --write")
    return int(before != after)


if __name__ == "__main__":
    sys.exit(main())
