"""Every name that a recipe may use for a thing outside the grammar: literal dicts, name -> "module:function".

Entries are strings, so that names are known without importing torch; `resolve` imports. To add one: the function, and a line here.
Plugins of a recipe name theirs the same way, in a module-level dict: `LOSSES = {"my_loss": my_loss}`. Closed to plugins, and so beside
their functions: QUANTIZERS (compress.quantizers), SESSIONS (compress.device.sessions), METRICS (compress.measures.metrics).
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from compress.errors import RecipeError

DATASETS = {
    "easy_vqa": "compress.data.easy_vqa:easy_vqa",
    "manifest": "compress.data.manifest:manifest",
    "hub": "compress.data.hub:hub",
    "webdataset": "compress.data.webdataset:webdataset",
    "fsdd": "compress.data.fsdd:fsdd",
    "stamps": "compress.data.stamps:stamps",
    "stamp_scenes": "compress.data.stamp_scenes:stamp_scenes",
    "speech_commands": "compress.data.speech_commands:speech_commands",
    "vqa": "compress.data.vqa:vqa",
    "imagenet": "compress.data.imagenet:imagenet",
    "groceries": "compress.data.groceries:groceries",
}
MODALITIES = {  # in the order of a graph's inputs; the first one of a data set groups the rows of a batch
    "image": "compress.modalities.image:Image",
    "audio": "compress.modalities.audio:Audio",
    "text": "compress.modalities.text:Text",
    "numbers": "compress.modalities.numbers:Numbers",
}
TASKS = {
    "single_label": "compress.tasks.single_label:SingleLabel",
    "multi_label": "compress.tasks.multi_label:MultiLabel",
    "regression": "compress.tasks.regression:Regression",
    "embedding": "compress.tasks.embedding:Embedding",
    "verification": "compress.tasks.verification:Verification",
    "retrieval": "compress.tasks.retrieval:Retrieval",
    "token_labels": "compress.tasks.token_labels:TokenLabels",
    "segmentation": "compress.tasks.segmentation:Segmentation",
    "several": "compress.tasks.several:Several",
}
IMAGE_ENCODERS = {
    "mobilenet_v4": "compress.models.vision:mobilenet_v4",
    "mobilenet_v2": "compress.models.mobilenet_v2:mobilenet_v2",
    "efficientnet_lite2": "compress.models.pretrained:efficientnet_lite2",
    "transformers_cnn": "compress.models.transformers_cnn:transformers_cnn",
}
AUDIO_ENCODERS = {
    "ds_cnn": "compress.models.audio:ds_cnn",
    "whisper_tiny": "compress.models.whisper:whisper_tiny",
    "ecapa": "compress.models.ecapa:ecapa",
}
TEXT_ENCODERS = {
    "distilbert": "compress.models.text:distilbert",
    "bag": "compress.models.text:bag",
    "minilm_l6": "compress.models.pretrained:minilm_l6",
}
NUMBERS_ENCODERS = {
    "mlp": "compress.models.numbers:mlp",
    "raw": "compress.models.numbers:raw",
}
FUSIONS = {
    "product": "compress.models.fusion:product",
    "concatenation": "compress.models.fusion:concatenation",
    "concatenation_product": "compress.models.fusion:concatenation_product",
    "sum": "compress.models.fusion:total",
    "weighted": "compress.models.fusion:weighted",
    "gated": "compress.models.fusion:gated",
    "bilinear": "compress.models.fusion:bilinear",
    "attention": "compress.models.fusion:attention",
    "cross_attention": "compress.models.fusion:cross_attention",
    "bottleneck": "compress.models.fusion:bottleneck",
}
MODELS = {
    "student": "compress.models.student:student",
    "fitted_teacher": "compress.models.student:fitted_teacher",
    "transformers_teacher": "compress.models.transformers_model:transformers_teacher",
    "zero_shot": "compress.models.zero_shot:zero_shot",
    "onnx_teacher": "compress.models.onnx_teacher:onnx_teacher",
    "dual_teacher": "compress.models.dual:dual_teacher",
    "sentence_teacher": "compress.models.sentence:sentence_teacher",
    "cifar_resnet": "compress.models.cifar_resnet:cifar_resnet",
}
LOSSES = {
    "cross_entropy": "compress.losses.logits:cross_entropy",
    "weighted_cross_entropy": "compress.losses.logits:weighted_cross_entropy",
    "focal": "compress.losses.logits:focal",
    "kd": "compress.losses.logits:kd",
    "kd_standardised": "compress.losses.logits:kd_standardised",
    "dkd": "compress.losses.logits:dkd",
    "dist": "compress.losses.logits:dist",
    "logit_mse": "compress.losses.logits:logit_mse",
    "binary_cross_entropy": "compress.losses.tags:binary_cross_entropy",
    "binary_kd": "compress.losses.tags:binary_kd",
    "squared_error": "compress.losses.numbers:squared_error",
    "absolute_error": "compress.losses.numbers:absolute_error",
    "number_kd": "compress.losses.numbers:number_kd",
    "label_contrast": "compress.losses.vectors:label_contrast",
    "vector_kd": "compress.losses.vectors:vector_kd",
    "vector_neighbours": "compress.losses.vectors:vector_neighbours",
    "tower_contrast": "compress.losses.towers:tower_contrast",
    "tower_affinity": "compress.losses.towers:tower_affinity",
    "tower_neighbours": "compress.losses.towers:tower_neighbours",
    "token_cross_entropy": "compress.losses.words:token_cross_entropy",
    "token_kd": "compress.losses.words:token_kd",
    "pixel_cross_entropy": "compress.losses.pixels:pixel_cross_entropy",
    "pixel_dice": "compress.losses.pixels:pixel_dice",
    "pixel_kd": "compress.losses.pixels:pixel_kd",
    "logit_l1": "compress.losses.logits:logit_l1",
    "teacher_label": "compress.losses.logits:teacher_label",
    "hint": "compress.losses.features:hint",
    "hint_l1": "compress.losses.features:hint_l1",
    "cosine": "compress.losses.features:cosine",
    "feature_kd": "compress.losses.features:feature_kd",
    "simkd": "compress.losses.features:simkd",
    "rkd_distance": "compress.losses.relations:rkd_distance",
    "rkd_angle": "compress.losses.relations:rkd_angle",
    "similarity": "compress.losses.relations:similarity",
    "pkt": "compress.losses.relations:pkt",
    "contrastive": "compress.losses.relations:contrastive",
    "cka": "compress.losses.alignment:cka",
    "procrustes": "compress.losses.alignment:procrustes",
    "affinity": "compress.losses.alignment:affinity",
}

TRAINING = ("torch", "transformers", "accelerate", "tokenizers", "numpy")


@dataclass(frozen=True)
class Stage:
    """A stage: its function, what of the recipe it may read, and what else its result depends on."""

    function: str  # "module:function", imported only when it must run
    version: int  # raised when the same inputs give another result
    reads: tuple[str, ...]  # dotted parts of the recipe; all that the function gets to see
    libraries: tuple[str, ...]  # distributions that make the result, where the recipe uses them
    seeded: bool = False
    beside: str = ""  # the stage whose number it shares
    late: tuple[str, ...] = ()  # stages whose results it waits for itself, as calls that give them


STAGES = {  # in the order they run; the number of a run folder's link is the place in this table among those that are not beside another
    "data": Stage(
        "compress.stages.data:prepare_data", 7, ("data", "teacher.inputs"), ("numpy", "pillow", "pyarrow", "scipy", "datasketch")
    ),
    "features": Stage(
        "compress.stages.features:encode_features", 2, ("data", "teacher.inputs", "teacher.encoders", "distill.augment"), TRAINING
    ),
    "teacher": Stage("compress.stages.teacher:load_teacher", 12, ("data", "teacher"), TRAINING, seeded=True),
    "export_teacher": Stage(
        "compress.stages.export:export_teacher", 2, ("export.opset", "export.parity"), ("torch", "onnx", "onnxscript", "onnxruntime")
    ),
    "targets": Stage(
        "compress.stages.targets:store_targets",
        7,
        ("data", "distill.augment", "distill.hidden", "distill.teacher_taps", "distill.store_top_k"),
        TRAINING,
    ),
    "ensemble": Stage(
        "compress.stages.ensemble:combine_answers", 1, ("teachers", "distill.combine", "distill.store_top_k"), TRAINING, beside="targets"
    ),
    "truth": Stage("compress.stages.truth:judge_by_teacher", 1, ("data.judge",), TRAINING, beside="targets"),
    "alone": Stage(
        "compress.stages.distill.alone:train_alone",
        2,
        ("data", "student", "distill.unaided", "distill.augment", "distill.adversarial", "distill.train"),
        TRAINING,
        seeded=True,
        beside="distill",
    ),
    "distill": Stage(
        "compress.stages.distill:distill", 14, ("data", "student", "distill"), (*TRAINING, "scipy"), seeded=True, late=("alone",)
    ),
    "quantize": Stage(
        "compress.stages.quantize:quantize",
        13,
        ("quantize", "student.encoders", "distill.losses", "distill.student_taps", "distill.adversarial", "export.targets"),
        TRAINING,
        seeded=True,
    ),
    "export": Stage(
        "compress.stages.export:export", 5, ("export", "quantize"), ("torch", "onnx", "onnxscript", "onnxruntime", "litert-torch")
    ),
    "engine": Stage("compress.stages.engine:engine", 2, ("engine",), ("tensorrt-rtx", "tensorrt")),
    "benchmark": Stage(
        "compress.stages.benchmark:benchmark",
        11,
        ("benchmark",),
        ("onnxruntime", "openvino", "ai-edge-litert", "numpy", "scipy", "scikit-learn"),
    ),
    "report": Stage(
        "compress.stages.report:report",
        11,
        ("name", "description", "quantize", "export.targets", "budget"),
        ("matplotlib", "jinja2", "scipy", "torch"),
    ),
    "bundle": Stage("compress.stages.bundle:bundle", 6, ("data.inputs", "engine", "bundle"), ("numpy", "onnx")),
}

TABLES: dict[str, dict[str, str]] = {
    "DATASETS": DATASETS,
    "MODALITIES": MODALITIES,
    "TASKS": TASKS,
    "IMAGE_ENCODERS": IMAGE_ENCODERS,  # one table of encoders a modality
    "AUDIO_ENCODERS": AUDIO_ENCODERS,
    "TEXT_ENCODERS": TEXT_ENCODERS,
    "NUMBERS_ENCODERS": NUMBERS_ENCODERS,
    "FUSIONS": FUSIONS,
    "MODELS": MODELS,
    "LOSSES": LOSSES,
}
INJECTED = ("base", "project", "counts", "lengths", "towers", "data_heads")  # keyword-only parameters that the program fills, so no options


def encoder_table(modality: str) -> str:
    """The name in TABLES of the encoders of a modality."""
    return f"{modality.upper()}_ENCODERS"


def encoders(modality: str) -> dict[str, str]:
    """The encoders of a modality."""
    return TABLES.get(encoder_table(modality), {})


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
            known = TABLES.setdefault(table, {})
            for name, entry in entries.items():
                if known.get(name, entry) != entry:
                    raise RecipeError(f"{path}: {name!r} is in {table} already, as {known[name]}; give it another name")
                known[name] = entry
                resolve(entry)


def loaded_plugins() -> list[str]:
    """The plugin files whose entries are in the tables, for a process that is started from this one."""
    return sorted({entry.rsplit(":", 1)[0] for table in TABLES.values() for entry in table.values() if ".py:" in entry})


def read_plugin(path: Path) -> dict[str, dict[str, str]]:
    """What a plugin file adds to each table, table -> name -> "file.py:function", read from its source without running it.

    Raises: RecipeError when it is no Python, adds nothing, or a dict is not of the form {"name": function of this file}.
    """
    try:
        body = ast.parse(path.read_bytes(), str(path)).body
    except (SyntaxError, ValueError) as error:
        raise RecipeError(f"{path}: this plugin is not Python: {error}") from error
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    dicts = {n.targets[0].id: n.value for n in body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)}
    found = {table: _plugin_entries(path, table, value, defined) for table, value in dicts.items() if table in TABLES}
    for table in map(encoder_table, found.get("MODALITIES", {})):  # a new modality brings its encoders along
        if table in dicts:
            found[table] = _plugin_entries(path, table, dicts[table], defined)
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
