"""What `compress list` and `compress show` print, and where a run or a bundle of a name lies; reads source and JSON, imports no torch."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.errors import CompressError
from compress.recipe.declarations import declaration, first_line, literal_table, module_line, source_file
from compress.recipe.messages import did_you_mean
from compress.recipe.options import option_parameters
from compress.recipe.yaml_source import read_yaml
from compress.tables import INJECTED, STAGES, TABLES

RECIPES = Path("recipes")
SUMMARY = "summary.json"
_KINDS = {table.lower(): table for table in TABLES}
_CLOSED = {"quantizers": ("compress.quantizers", "QUANTIZERS"), "runtimes": ("compress.device.sessions", "SESSIONS")}


def lines_of(what: str, name: str | None = None) -> Iterator[str]:
    """The lines of `compress list <what>`, or of `compress list <what> <name>`. Raises CompressError for an unknown kind of thing or name."""
    kinds = [*_KINDS, *_CLOSED, "stages", "recipes"]
    if what not in kinds:
        raise CompressError(f"list {what}: unknown{did_you_mean(what, kinds)}; there are {', '.join(kinds)}")
    if name is not None:
        return _card(what, name)
    if what == "losses":
        return _losses()
    if what == "stages":
        return (f"{name:<15} {_stage_line(name)}".rstrip() for name in STAGES)
    if what in _CLOSED:
        return (f"{name}  {gloss}".rstrip() for name, gloss in literal_table(*_CLOSED[what]).items())
    return _recipes() if what == "recipes" else _entries(TABLES[_KINDS[what]])


def find_run(name: str, *, runs: Path) -> Path:
    """The folder of a run, by its path or its name under `runs`. Raises CompressError when there is none."""
    for folder in (runs / name, Path(name)):
        if folder.is_dir():
            return folder
    known = sorted(path.parent.name for path in runs.glob(f"*/{SUMMARY}"))
    raise CompressError(f"{name}: no such run in {runs}{did_you_mean(name, known)}; there are: {', '.join(known) or 'none'}")


def find_bundle(name: str, *, runs: Path) -> Path:
    """The bundle at a path, or of a run. Raises CompressError when there is none."""
    folder = find_run(name, runs=runs)
    candidates = [folder, *sorted(folder.glob("*-bundle")), *sorted(folder.glob("*-bundle/bundle"))]
    bundle = next((path for path in candidates if (path / "run.py").is_file()), None)
    if bundle is None:
        raise CompressError(f"{folder}: holds no bundle (a folder with run.py); `compress run` makes it as the last stage")
    return bundle.resolve()


def find_student(name: str, *, runs: Path) -> Path:
    """The model folder of a run's student in torch. Raises CompressError where there is none, as beside a bundle that was taken elsewhere."""
    folder = find_run(name, runs=runs)
    student = next(folder.glob("*-distill"), None)
    if student is None:
        raise CompressError(f"{folder}: holds no student in torch, whose gradients could be asked for; name the run and not its bundle")
    return student.resolve()


def summary_lines(run: Path) -> list[str]:
    """`key  value` for each entry of a run's summary. Raises CompressError when the run has none."""
    try:
        summary: dict[str, Any] = json.loads((run / SUMMARY).read_text())
    except FileNotFoundError:
        raise CompressError(f"{run / SUMMARY}: not there; the run has not come to its report yet, so run it again") from None
    except ValueError as error:
        raise CompressError(f"{run / SUMMARY}: not JSON ({error}); run the recipe again to write it anew") from error
    width = max(map(len, summary), default=0)
    return [f"{key:<{width}}  {_show(value)}" for key, value in summary.items()]


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


def _losses() -> Iterator[str]:
    """One line a loss, under the kind that its file holds."""
    kinds: dict[str, list[str]] = {}
    for name, entry in TABLES["LOSSES"].items():
        kinds.setdefault(entry.rsplit(":", 1)[0], []).append(name)
    width = max(map(len, TABLES["LOSSES"]))
    for module, names in kinds.items():
        yield f"{Path(module).stem if module.endswith('.py') else module.rsplit('.', 1)[1]}: {module_line(module)}"
        yield from (f"    {name:<{width}}  {first_line(TABLES['LOSSES'][name])}" for name in names)
    yield "One of them with its options: compress list losses NAME"


def _card(what: str, name: str) -> Iterator[str]:
    """All that one entry says of itself, and its options."""
    table = TABLES.get(_KINDS.get(what, ""))
    if table is None or name not in table:
        raise CompressError(f"list {what} {name}: unknown{did_you_mean(name, table or ())}; `compress list {what}` shows what there is")
    yield from (f"{name}  {inspect.getdoc(declaration(table[name])) or ''}".rstrip().split("\n"))
    yield from _options(table[name])


def _entries(table: dict[str, str]) -> Iterator[str]:
    for name, entry in table.items():
        yield f"{name}  {first_line(entry)}"
        yield from _options(entry)


def _options(entry: str) -> Iterator[str]:
    for option, parameter in option_parameters(declaration(entry), injected=INJECTED).items():
        needed = parameter.default is inspect.Parameter.empty
        kind = inspect.formatannotation(parameter.annotation)
        yield f"    {option}: {kind}" + (", required" if needed else f" = {parameter.default!r}")


def _stage_line(name: str) -> str:
    """The gloss of a stage that has a module of its name; one that shares a module, such as a second export, has none."""
    return module_line(f"compress.stages.{name}") if source_file(f"compress.stages.{name}").is_file() else ""


def _recipes() -> Iterator[str]:
    for path in sorted(RECIPES.glob("*.yaml")):
        data = read_yaml(path.read_text(encoding="utf-8")).data
        yield f"{path}  {data.get('description', '') if isinstance(data, dict) else 'not a recipe: see `compress check`'}"
