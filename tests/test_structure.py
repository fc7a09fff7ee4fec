"""The shape of the source tree: who may import whom, one import of each heavy library, small files, and a tree that lists every file."""

from __future__ import annotations

import ast
import fnmatch
import re
from pathlib import Path

import pytest

from compress.tables import DATASETS, MODALITIES

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "compress"
SOURCES = sorted(PACKAGE.rglob("*.py"))

WORDS = ("errors", "io_spec", "context", "tables", "placement")  # the shared vocabulary
# a module or package -> what it may import besides itself and `device`; each line may use what stands in the lines before it
LAYERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(WORDS, WORDS),
    "ranks": WORDS,
    "recipe": WORDS,
    "measures": WORDS,
    "examples": WORDS,
    "store": (*WORDS, "recipe", "examples"),
    "graphs": WORDS,
    "losses": (*WORDS, "recipe"),  # a loss knows no model, a model no loss
    "models": (*WORDS, "recipe", "ranks"),
    "modalities": (*WORDS, "recipe", "store", "models"),
    "tasks": (*WORDS, "measures"),
    "data": (*WORDS, "recipe", "store", "modalities", "tasks"),
    "quantizers": (*WORDS, "recipe", "models", "ranks"),
    "training": (*WORDS, "measures", "recipe", "ranks", "store", "losses", "models", "modalities", "tasks", "data"),
    **dict.fromkeys(("listing", "doctor"), (*WORDS, "recipe")),
    "fleet": (*WORDS, "recipe", "listing"),
    "reporting": (*WORDS, "recipe", "store", "measures", "modalities", "tasks", "data", "fleet"),
    "stages": (
        *(*WORDS, "recipe", "store", "measures", "graphs", "losses", "models", "modalities", "tasks", "data", "quantizers"),
        *("training", "reporting", "examples"),
    ),
    "making": (*WORDS, "ranks", "recipe", "store", "data", "reporting"),
    "pipeline": (*WORDS, "ranks", "recipe", "store", "modalities", "reporting", "making"),
    "sweeping": (*WORDS, "recipe", "store", "modalities", "listing", "fleet"),
    "serving": (*WORDS, "modalities", "tasks", "data", "reporting", "store"),
    "cli": (
        *WORDS,
        "ranks",
        "recipe",
        "store",
        "measures",
        "models",
        "data",
        "listing",
        "doctor",
        "fleet",
        "reporting",
        "serving",
        "sweeping",
        "pipeline",
    ),
    "__main__": ("cli", "pipeline", "recipe", "errors"),  # and `import compress`, which is the same door from Python
    "device": (),  # what ships imports only itself
}
ONE_IMPORT = {
    "accelerate": "compress/training/loop.py",
    "typer": tuple(f"compress/cli/{name}.py" for name in ("__init__", "bundles", "results", "sweeps")),
    "optuna": "compress/sweeping/proposing.py",
    "ray": "compress/sweeping/on_ray.py",
    "wandb": None,
    "tensorrt": None,
    "tensorrt_rtx": None,
}
CATCH_ALL = {"util", "utils", "helper", "helpers", "common", "misc", "base", "core", "shared", "stuff", "tools", "lib"}


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def unit(module: str) -> str:
    """compress.models.text -> models; compress.store.store -> store; compress -> ""."""
    return (module.split(".") + [""])[1]


def imports_of(path: Path) -> list[tuple[int, str]]:
    """(line, module) of every import in a file, those inside functions too; relative ones are made absolute."""
    package = place(path).removesuffix(".py").removesuffix("/__init__").split("/")
    folder = package if path.name == "__init__.py" else package[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*folder[: len(folder) - node.level + 1], *filter(None, [node.module])]) if node.level else str(node.module)
            found += [(node.lineno, f"{base}.{name.name}" if base in ("compress", "compress.stages") else base) for name in node.names]
    return found


def ours(path: Path) -> list[tuple[int, str]]:
    return [(line, module) for line, module in imports_of(path) if module.split(".")[0] == "compress"]


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_imports_point_down_the_layers(path: Path) -> None:
    own = unit(place(path).removesuffix(".py").replace("/", "."))
    if own == "__init__":
        own = "__main__"
    allowed = {own, *LAYERS[own], *(["device"] if own != "device" else [])}
    wrong = [f"{place(path)}:{line} imports {module}" for line, module in ours(path) if unit(module) not in allowed]
    assert not wrong


def test_layers_have_no_cycle_and_cover_the_package() -> None:
    seen = set()
    for name, allowed in LAYERS.items():
        group = WORDS if name in WORDS else (name,)
        assert set(allowed) - set(group) <= seen, f"{name} may import {set(allowed) - seen}, which stands further down"
        seen.add(name)
    assert {unit(place(path).removesuffix(".py").replace("/", ".")) for path in SOURCES} - {"__init__"} == set(LAYERS)


def test_no_stage_imports_a_stage() -> None:
    def stage(module: str) -> str:
        return (module.split(".") + [""] * 3)[2]

    wrong = []
    for path in SOURCES:
        if "stages" in path.parts:
            own = stage(place(path).removesuffix(".py").replace("/", "."))
            wrong += [f"{place(path)}:{line} {m}" for line, m in ours(path) if m.startswith("compress.stages") and stage(m) != own]
    assert not wrong


def test_only_the_pipeline_names_stages_and_by_name_alone() -> None:
    outside = [place(p) for p in SOURCES if "stages" not in p.parts and any(m.startswith("compress.stages") for _, m in ours(p))]
    assert not outside  # their imports cost seconds, so the pipeline resolves them when they must run


@pytest.mark.parametrize(("library", "only_place"), ONE_IMPORT.items(), ids=str)
def test_heavy_library_is_imported_at_one_place(library: str, only_place: str | tuple[str, ...] | None) -> None:
    found = {place(p) for p in SOURCES for _, module in imports_of(p) if module.split(".")[0] == library}
    assert found == ({only_place} if isinstance(only_place, str) else set(only_place or ()))


def test_tensorrt_is_loaded_by_the_vendor_module_alone() -> None:
    loads = {place(p) for p in SOURCES if re.search(r"import_module\((?!module\))", p.read_text()) and "tensorrt" in p.read_text()}
    assert loads <= {"compress/device/runtimes/vendor.py", "compress/device/sessions.py"}  # the latter asks for a version
    assert "compress/device/runtimes/vendor.py" in loads


MODALITY_FILES = (
    "compress/models/vision.py",
    "compress/models/text.py",
    "compress/models/inherit.py",
    "compress/models/words.py",
    "compress/models/generative.py",
    "compress/models/dual.py",
)


def test_a_modality_is_named_in_its_own_room() -> None:
    """Elsewhere its name stands as a string in few files: the tables, a data set's columns, and what is of one modality by its nature."""
    naming, sets = [], {entry.split(":")[0].replace(".", "/") + ".py" for entry in DATASETS.values()}
    for path in SOURCES:
        if {"modalities", "device"} & set(path.parts) or place(path) in {*MODALITY_FILES, *sets}:
            continue
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.Constant) and node.value in MODALITIES for node in ast.walk(tree)):
            naming.append(place(path))
    assert len(naming) <= 8, naming


def test_few_files_lie_at_the_top() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 11
    assert len((PACKAGE / "pipeline.py").read_text().splitlines()) <= 200


@pytest.mark.parametrize("folder", ["compress", "tests", "benchmarks", "tools"])
def test_no_file_is_longer_than_400_lines(folder: str) -> None:
    lengths = {place(path): len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {path: lines for path, lines in lengths.items() if lines > 400} == {}


def test_no_module_is_a_catch_all() -> None:
    assert [place(path) for path in SOURCES if CATCH_ALL & {path.stem, *path.relative_to(PACKAGE).parts[:-1]}] == []


def test_every_module_says_what_it_holds() -> None:
    silent = []
    for path in SOURCES:
        text = path.read_text()
        docstring = ast.get_docstring(ast.parse(text)) or ""
        if text.strip() and not 1 <= len(docstring.splitlines()) <= 12:
            silent.append(place(path))
    assert silent == []


def test_every_public_function_is_typed_and_described() -> None:
    poor = []
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if not ast.get_docstring(node) or node.returns is None or any(a.annotation is None for a in arguments):
                    poor.append(f"{place(path)}:{node.lineno} {node.name}")
    assert poor == []


def read_tree(text: str) -> dict[str, str]:
    """Path -> gloss of the fenced tree in docs/tree.md; two spaces of indentation a level, a folder ends in a slash."""
    fence = re.search(r"```text compress-tree\n(.*?)\n```", text, re.S)
    assert fence, "docs/tree.md has no block ```text compress-tree"
    found: dict[str, str] = {}
    above: list[str] = []
    for line in fence[1].splitlines():
        match = re.fullmatch(r"((?:  )*)(\S+)(?: {2,}(\S.*))?", line)
        assert match, f"not a line of a tree: {line!r}"
        depth = len(match[1]) // 2
        assert depth <= len(above), f"indented too far: {line!r}"
        above[depth:] = [match[2]]
        assert all(parent.endswith("/") for parent in above[:-1]), f"stands under a file: {line!r}"
        found["".join(above)] = match[3] or ""
    return found


def ignored(name: str) -> bool:
    patterns = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    return name in (".git", ".gitignore") or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


@pytest.fixture(scope="module")
def tree() -> dict[str, str]:
    return read_tree((ROOT / "docs" / "tree.md").read_text())


def test_tree_lists_every_module_and_package_with_a_gloss(tree: dict[str, str]) -> None:
    modules = {place(p) if p.name != "__init__.py" else f"{place(p.parent)}/" for p in SOURCES}
    assert modules - {path for path, gloss in tree.items() if gloss} == set()


def test_tree_lists_every_top_level_entry(tree: dict[str, str]) -> None:
    entries = {f"{path.name}/" if path.is_dir() else path.name for path in ROOT.iterdir() if not ignored(path.name)}
    assert entries - {path for path in tree if "/" not in path.rstrip("/")} == set()


def test_tree_lists_nothing_that_is_not_there(tree: dict[str, str]) -> None:
    assert [path for path in tree if not ((ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file())] == []


def test_tree_glosses_every_file_it_lists(tree: dict[str, str]) -> None:
    assert [path for path, gloss in tree.items() if not path.endswith("/") and not gloss] == []
