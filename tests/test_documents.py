"""The documents: short, current, and true to the program: links and paths, commands and options, recipes and their words.

Python that is marked to be run is run by test_whole_pipeline.py, on the run that is there.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from compress.cli import app
from compress.errors import RecipeError
from compress.listing import lines_of
from compress.recipe.grammar import json_schema, load_recipe
from compress.tables import STAGES, TABLES, read_plugin

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
LANGUAGES = {"sh", "yaml", "python", "text", "text compress-tree"}
FOREIGN = {"chromium", "curl", "pip"}  # commands that are not ours
ELSEWHERE = {"runs", "shared"}  # folders that a checkout need not have
FILES = ("json", "html", "yaml", "py", "npz", "onnx", "csv", "sig", "md")


@dataclass(frozen=True)
class Fence:
    """A fenced block of a document."""

    document: Path
    line: int
    language: str
    text: str
    run: bool  # below the comment `run`

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT).as_posix()}:{self.line}"


@cache
def tokens(document: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(document.read_text(encoding="utf-8"))


def flat(document: Path) -> Iterator[Token]:
    for token in tokens(document):
        yield token
        yield from token.children or ()


def fences(*languages: str, run: bool | None = None) -> list[Fence]:
    found = []
    for document in DOCUMENTS:
        before = None
        for token in tokens(document):
            if token.type == "fence":
                marked = before is not None and before.content.strip() == "<!-- run -->"
                assert token.map
                found.append(Fence(document, token.map[0] + 1, token.info, token.content, marked))
            before = token
    return [fence for fence in found if (not languages or fence.language in languages) and run in (None, fence.run)]


def in_line(document: Path) -> list[str]:
    """The pieces of code within sentences."""
    return [token.content for token in flat(document) if token.type == "code_inline"]


def headings(document: Path) -> set[str]:
    """The anchors that a renderer makes of the headings."""
    titles = [after.content for token, after in zip(tokens(document), tokens(document)[1:], strict=False) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@cache
def schema() -> dict[str, Any]:
    return json_schema()


def options_of(node: dict[str, Any]) -> list[dict[str, Any]]:
    """What may stand at a place of the schema: references followed, alternatives apart."""
    if "$ref" in node:
        return options_of(schema()["$defs"][node["$ref"].rsplit("/", 1)[1]])
    return [node, *(option for kind in ("anyOf", "allOf", "oneOf") for inner in node.get(kind, ()) for option in options_of(inner))]


def has_place(dotted: str) -> bool:
    """Whether the grammar has a word at `a.b[0].c`; what lies below free options is not its business."""
    nodes = options_of(schema())
    for word in re.findall(r"\w+", dotted):
        inner = [
            node["items"] if word.isdigit() else node.get("properties", {}).get(word)
            for node in nodes
            if not word.isdigit() or "items" in node
        ]
        if not any(inner):
            return any(node.get("additionalProperties") is True for node in nodes)
        nodes = [option for node in inner if node for option in options_of(node)]
    return True


@cache
def words_of_the_grammar() -> set[str]:
    return {word for node in (schema(), *schema()["$defs"].values()) for word in node.get("properties", {})}


def test_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_generated_parts_are_current() -> None:
    checked = subprocess.run([sys.executable, str(ROOT / "tools" / "docs.py")], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_blocks_are_fences_of_a_known_language(document: Path) -> None:
    assert [token.map for token in tokens(document) if token.type == "code_block"] == []
    assert {fence.language for fence in fences() if fence.document == document} <= LANGUAGES


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    wrong = []
    for token in flat(document):
        target = token.attrs.get("href") or token.attrs.get("src")
        if isinstance(target, str) and "://" not in target:
            file, _, anchor = target.partition("#")
            path = document.parent / file if file else document
            if not path.exists() or (anchor and anchor not in headings(path)):
                wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_paths_are_there(document: Path) -> None:
    top = {path.name for path in ROOT.iterdir()} - ELSEWHERE
    paths = [code for code in in_line(document) if re.fullmatch(r"[\w.*-]+(/[\w.*-]+)*/?", code)]
    ours = [code for code in paths if code.split("/")[0] in top or ("/" in code and code.endswith(".py"))]
    assert [code for code in ours if not any(ROOT.glob(code.rstrip("/")))] == []


def commands() -> list[tuple[str, list[str], bool]]:
    """(where, words, whole): each command of a shell fence, and those within sentences, which may leave arguments out."""
    found = []
    for fence in fences("sh"):
        for number, line in enumerate(fence.text.splitlines(), fence.line + 1):
            for command in line.split("&&"):
                if words := shlex.split(command, comments=True):
                    found.append((f"{fence.document.name}:{number}", words, True))
    for document in DOCUMENTS:
        found += [
            (f"{document.name} {code}", shlex.split(code), False)
            for code in in_line(document)
            if re.match(r"(compress|make|python|run\.py) \S", code) and "COMMAND" not in code
        ]
    return found


@pytest.mark.parametrize(("words", "whole"), [found[1:] for found in commands()], ids=[found[0] for found in commands()])
def test_command_exists_with_its_options(words: list[str], whole: bool) -> None:
    if words[0] == "compress":
        check_command_line(words[1:], whole)
    elif words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[0] in ("python", "run.py"):
        check_program([word for word in words if word != "python"])
    else:
        assert words[0] in FOREIGN, f"{words[0]}: no command of ours; put it into FOREIGN if it is meant"


def check_command_line(words: list[str], whole: bool) -> None:
    """A command line of `compress`, parsed and not run; places and values that it sets are checked against the grammar."""
    command: Any = typer.main.get_command(app)
    words = [word for word in words if word != "--help"]
    while words and hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    if hasattr(command, "commands"):
        return
    try:
        given = command.make_context(name, words).params
    except Exception as error:  # typer's own copy of click raises it
        assert type(error).__name__ == "MissingParameter" and not whole, error
        return
    for option in ("first", "last"):
        assert given.get(option) in (None, *STAGES)
    assert given.get("runtime") in (None, *(line.split()[0] for line in lines_of("runtimes")))
    if "what" in given:
        list(lines_of(given["what"]))
    overrides, recipe = given.get("override") or [], given.get("recipe")
    for override in overrides:
        assert has_place(override.partition("=")[0]), f"the grammar has no {override}"
    if recipe and (len(recipe.parts) > 1 or overrides):
        load_recipe(ROOT / recipe, overrides)


def check_program(words: list[str]) -> None:
    """A program of ours: it is there, and its options and its command stand in its source or in that of its neighbours."""
    device = ROOT / "compress" / "device"
    sources = [device / "main.py", *device.glob("modalities/*.py")] if words[0] == "run.py" else [ROOT / words[0]]
    if words[0].startswith("benchmarks/"):
        sources += (ROOT / "benchmarks").glob("*.py")
    text = "\n".join(path.read_text() for path in sources)
    named = [word for word in words[1:] if word.startswith("-")] + (words[1:2] if words[0] == "run.py" else [])
    assert [word for word in named if f'"{word}"' not in text] == []


def test_places_of_the_grammar_are_told_from_others() -> None:
    assert all(map(has_place, ("seed", "distill.train.epochs", "distill.losses[0].weight", "data.options.train", "export.mobile")))
    assert not any(
        map(has_place, ("sed", "distill.train.epoch", "distill.losses[0].wait", "distill.losses.weight", "export.mobile.litert"))
    )


@pytest.mark.parametrize("fence", fences("yaml"), ids=str)
def test_recipes_and_parts_of_recipes_are_in_the_grammar(fence: Fence, tmp_path: Path) -> None:
    """A part stands in for the same section of a shipped recipe; files that it names need not be there."""
    part = yaml.safe_load(fence.text)
    whole = {**yaml.safe_load((ROOT / "recipes" / "smoke.yaml").read_text()), **part}
    if "teachers" in part:
        del whole["teacher"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    assert set(part) <= set(schema()["properties"])
    try:
        load_recipe(tmp_path / "recipe.yaml")
    except RecipeError as error:
        faults = [re.fullmatch(r"\S+?:\d+ (\w+)\S*: .*", problem, re.S) for problem in error.problems]
        assert [fault[0] for fault in faults if fault and fault[1] in part and "is not there" not in fault[0]] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_words_of_recipes_within_sentences_are_in_the_grammar(document: Path) -> None:
    wrong = []
    for code in in_line(document):
        place = re.fullmatch(r"([a-z_]+(?:\.[a-z_]+)+)(?:: .+)?", code)
        word = re.fullmatch(r"([a-z_]+): .+", code)
        if place and place[1].split(".")[0] in schema()["properties"] and not place[1].endswith(tuple(f".{kind}" for kind in FILES)):
            wrong += [code] if not has_place(place[1]) else []
        elif word and word[1] not in words_of_the_grammar():
            wrong.append(code)
    assert wrong == []


@pytest.mark.parametrize("fence", fences("python", run=False), ids=str)
def test_python_that_is_shown_is_python_and_its_tables_are_ours(fence: Fence, tmp_path: Path) -> None:
    compile(fence.text, str(fence), "exec")
    if re.search(rf"^({'|'.join(TABLES)}) = ", fence.text, re.M):
        (tmp_path / "plugin.py").write_text(fence.text)
        assert read_plugin(tmp_path / "plugin.py")


@pytest.mark.parametrize("fence", fences("sh", run=True), ids=str)
def test_commands_that_are_marked_run(fence: Fence, tmp_path: Path) -> None:
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "compress"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m compress "$@"\n')
    program.chmod(0o755)
    surroundings = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(["bash", "-e", "-c", fence.text], cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
