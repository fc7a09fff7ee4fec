"""What the result of a stage depends on besides its input artifacts: its part of the recipe, and what lies outside recipe and store."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from compress.artifacts import hash_file
from compress.errors import DependencyError
from compress.grammar import LoadedRecipe
from compress.recipe import Recipe
from compress.tables import DATASETS, LICENCES, resolve

EXTRAS = (  # place in the recipe, name there and of the extra, module, package
    ("benchmark.runtimes", "openvino", "openvino", "openvino"),
    ("export.mobile", "litert", "litert_torch", "litert-torch"),
    ("export.mobile", "litert", "ai_edge_litert", "ai-edge-litert"),
)
WATCHING = ("checkpoint_seconds", "trackers")  # of a training: how it is followed and saved, not what it gives


def only(recipe: Recipe, places: tuple[str, ...]) -> Any:
    """The recipe with nothing but these dotted places: what is no ingredient of the fingerprint cannot be read."""
    part = SimpleNamespace(modalities=recipe.modalities)
    for place in places:
        source, target, *names = recipe, part, *place.split(".")
        for name in names[:-1]:
            source = getattr(source, name)
            if not hasattr(target, name):
                setattr(target, name, SimpleNamespace())
            target = getattr(target, name)
        setattr(target, names[-1], getattr(source, names[-1]))
    return part


def identity(name: str, loaded: LoadedRecipe) -> dict[str, Any]:
    """What lies outside the recipe and outside the store and still makes the result: data, weights, plugins, the GPU."""
    plugins = {p.name: hash_file(p) for p in loaded.plugins} if name in ("data", "features", "teacher", "distill", "quantize") else {}
    found: dict[str, Any] = {"plugins": plugins} if plugins else {}
    recipe = loaded.recipe
    if name == "data":
        found["source"] = source_of(loaded).identity
        if recipe.data.paraphrases:
            found["paraphrases"] = hash_file(loaded.base / recipe.data.paraphrases)
    if name == "teacher" and recipe.teacher.source == "folder":
        folder = loaded.base / str(recipe.teacher.path)
        found["folder"] = {p.name: hash_file(p) for p in sorted(folder.glob("*")) if p.is_file()}
    if name == "engine":
        from compress.device.gpu import probe_gpu

        gpu = probe_gpu()
        found["gpu"] = [gpu.name, gpu.driver] if gpu.ok else None
    if name == "bundle":  # the runner is copied into it
        found["runner"] = {path.name: hash_file(path) for path in sorted((Path(__file__).parent / "device").glob("*.py"))}
    return found


def source_of(loaded: LoadedRecipe) -> Any:
    """The recipe's data set, not yet read."""
    data = loaded.recipe.data
    return resolve(DATASETS[data.source])(base=loaded.base, **data.options)


def require_extras(recipe: Recipe) -> None:
    """Raises DependencyError, before anything is made, for a runtime or converter that is asked for and not installed."""
    asked: dict[str, Sequence[str]] = {"benchmark.runtimes": recipe.benchmark.runtimes, "export.mobile": recipe.export.mobile}
    for place, name, module, package in EXTRAS:
        if name in asked[place] and importlib.util.find_spec(module) is None:
            raise DependencyError(
                f"{place}: {package!r} is not installed; 'pip install {package}' (extra: {name}), or take {name} off the list"
            )


def licences(loaded: LoadedRecipe) -> list[dict[str, str]]:
    """Where the data and the teacher's weights come from, and under which licence, for the model card."""

    recipe = loaded.recipe
    found = [{"name": recipe.data.source, "use": "data", "licence": source_of(loaded).licence, "source": recipe.data.source}]
    if recipe.teacher.source != "fit":
        where = recipe.teacher.id or recipe.teacher.path
        return [*found, {"name": str(where), "use": "teacher", "licence": "see its origin", "source": str(where)}]
    names = [part.model for part in (recipe.teacher.image, recipe.teacher.text) if part]
    unknown = {"licence": "not recorded"}  # an encoder of a plugin
    return [*found, *({"name": name, "use": "teacher's encoder", **LICENCES.get(name, unknown | {"source": name})} for name in names)]


def machine() -> str:
    """The processor that timings belong to."""
    from compress.device.info import describe_device

    device = describe_device()
    return f"{device['name']}, {device['cores']} cores, {device['system']}"


def as_json(part: Any) -> Any:
    """A part of `only` as plain data, without what a result does not depend on."""
    return json.loads(json.dumps(part, default=_plain), object_hook=lambda d: {k: v for k, v in d.items() if k not in WATCHING})


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else vars(value)
