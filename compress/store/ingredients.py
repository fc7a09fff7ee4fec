"""What the result of a stage depends on besides its input artifacts: its part of the recipe, and what lies outside recipe and store."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from compress.examples import example_files
from compress.placement import AUTO, CPU, arithmetic, training_precision
from compress.recipe.declarations import class_literal
from compress.recipe.grammar import LoadedRecipe
from compress.recipe.packages import EXTRAS, WEIGHTS, asked_extras
from compress.recipe.recipe import Recipe
from compress.recipe.sections import Train
from compress.store.artifacts import hash_file
from compress.store.earlier import open_earlier
from compress.tables import DATASETS, MODALITIES, STAGES, TASKS, Stage, resolve

RUNNER = Path(__file__).parents[1] / "device"
FLAVOURS = {"tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}  # package -> flavour of the engine
WATCHING = ("checkpoint_seconds", "trackers")  # of a training: how it is followed and saved, not what it gives
# words that came later, with the value that gives what was made before them
YOUNGER = {
    **{"fusion": {"name": "product", "options": {}}, "allow_missing": False, "modality_dropout": 0.0, "precision": "fp32"},
    **{"words": False, "shares": False},
    **{"form": None, "columns": {}, "labels": {}, "on_bad_answer": "error"},
    **dict.fromkeys(
        ("classes", "feeds", "output", "tokenizer", "templates", "initialise", "prompt", "store_top_k", "adversarial", "robustness")
    ),
    **{"arm": "shipped", "combine": "mean", "rounds": 1, "round_teacher": "last"},
    "bundle": {"examples": []},
    **{"names": [], "judge": "labels"},
}


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


def used_libraries(stage: Stage, recipe: Recipe) -> list[str]:
    """The libraries of a stage that this recipe's result uses: one that it does not ask for may come and go."""
    asked = asked_extras(recipe)
    optional = {package: package in asked for *_, package in EXTRAS}
    optional |= {package: recipe.engine is not None and recipe.engine.flavour == flavour for package, flavour in FLAVOURS.items()}
    return [library for library in stage.libraries if optional.get(library, True)]


def identity(name: str, loaded: LoadedRecipe, device: str = CPU) -> dict[str, Any]:
    """What lies outside the recipe and outside the store and still makes the result: data, weights, plugins, the arithmetic of `device`, the GPU."""
    uses = ("data", "features", "teacher", "targets", "alone", "distill", "quantize", "benchmark", "report", "bundle")
    plugins = {p.name: hash_file(p) for p in loaded.plugins} if name in uses else {}
    found: dict[str, Any] = {"plugins": plugins} if plugins else {}
    recipe = loaded.recipe
    generative = name == "teacher" and recipe.teacher.source in ("llm", "vlm")
    if name == "data":
        found["source"] = source_of(loaded).identity
        if recipe.data.paraphrases:
            found["paraphrases"] = hash_file(loaded.base / recipe.data.paraphrases)
    if name in ("features", "targets") or generative:  # answers of another arithmetic are other answers
        found["arithmetic"] = arithmetic(device)
    if any(training.precision == AUTO for training in trained_by(name, recipe)):  # what the recipe leaves to the device
        found["precision"] = training_precision(AUTO, device)
    if name == "teacher" and (recipe.teacher.source == "folder" or (generative and recipe.teacher.path)):
        folder = loaded.base / str(recipe.teacher.path)
        found["folder"] = _hashes(folder)
    if name == "teacher" and recipe.teacher.source == "run":
        found["run"] = open_earlier(loaded.base / str(recipe.teacher.path), recipe.teacher.arm, place="teacher.path").artifact.fingerprint
    if name == "teacher" and recipe.teacher.source in ("answers", "onnx"):
        named = (recipe.teacher.path, recipe.teacher.tokenizer, recipe.teacher.classes)
        files = [loaded.base / name for name in named if isinstance(name, str)]
        weights = sorted(files[0].parent.glob(f"{files[0].name}?data")) if recipe.teacher.source == "onnx" else []  # of a large file
        found["files"] = {path.name: hash_file(path) for path in [*files, *weights]}
    if name in ("alone", "distill"):
        if start := recipe.student.initialise:
            found["run"] = open_earlier(loaded.base / start.run, start.arm, place="student.initialise.run").artifact.fingerprint
        students = [recipe.student.encoders.get(m) for m in recipe.modalities]
        started = [s.model for s in students if getattr(s, "initialise", None) == "pretrained" and s.model in WEIGHTS]
        found |= {"weights": {model: WEIGHTS[model].sha256 for model in started}} if started else {}
        folders = [loaded.base / s.options["folder"] for s in students if s.options.get("folder")]
        found |= {"folders": [_hashes(folder) for folder in folders]} if folders else {}
    if name == "engine":
        from compress.device.gpu import probe_gpu

        gpu = probe_gpu()
        found["gpu"] = [gpu.name, gpu.driver] if gpu.ok else None
    if name == "bundle":  # the runner is copied into it
        found["runner"] = {path.relative_to(RUNNER).as_posix(): hash_file(path) for path in sorted(RUNNER.rglob("*.py"))}
        readers = {m: plugin_reader(MODALITIES[m]) for m in loaded.recipe.modalities}
        found["runner"] |= {f"modalities/{m}.py": hash_file(path) for m, path in readers.items() if path}
        if answers := plugin_reader(TASKS[recipe.data.task]):
            found["runner"][f"tasks/{recipe.data.task}.py"] = hash_file(answers)
        found["runner"] |= {f"{name}/{path.name}": hash_file(path) for name in recipe.bundle.examples for path in example_files(name)}
    return found


def _hashes(folder: Path) -> dict[str, str]:
    return {p.name: hash_file(p) for p in sorted(folder.glob("*")) if p.is_file()}


def plugin_reader(entry: str) -> Path | None:
    """The file for the device of a plugin's modality or task "file.py:class"; None for one of ours."""
    file, _ = entry.rsplit(":", 1)
    return Path(file).with_name(class_literal(entry, "device")) if file.endswith(".py") else None


def trained_by(name: str, recipe: Recipe) -> list[Train]:
    """The trainings of a stage whose precision the recipe may choose: int8 is trained in float32."""
    teacher: list[Train | None] = [recipe.teacher.train if recipe.teacher.source == "fit" else None, recipe.teacher.fine_tune]
    trained: dict[str, list[Train | None]] = {"teacher": teacher, "alone": [recipe.distill.train], "distill": [recipe.distill.train]}
    return [training for training in trained.get(name, []) if training]


def trainings(recipe: Recipe) -> list[Train]:
    """All of these of a run."""
    taught = [recipe.taught_by(number + 1) for number in range(len(recipe.teachers))] or [recipe]
    return [training for one in taught for name in STAGES for training in trained_by(name, one)]


def source_of(loaded: LoadedRecipe) -> Any:
    """The recipe's data set, not yet read."""
    data = loaded.recipe.data
    heads = {"data_heads": {name: head["column"] for name, head in data.room["data_heads"].items()}} if data.heads else {}
    return resolve(DATASETS[data.source])(base=loaded.base, **heads, **data.options)


def licences(loaded: LoadedRecipe) -> list[dict[str, str]]:
    """Where the data and the weights of teacher and student come from, and under which licence, for the model card."""
    recipe = loaded.recipe
    found = [{"name": recipe.data.source, "use": "data", "licence": source_of(loaded).licence, "source": recipe.data.source}]
    for teacher in recipe.places.values():
        if teacher.source != "fit":
            where = teacher.id or teacher.path
            found.append({"name": str(where), "use": "teacher", "licence": "see its origin", "source": str(where)})
        if teacher.encoders:
            found += [_licence(teacher.encoders.get(m).model, "teacher's encoder") for m in recipe.modalities]
    if start := recipe.student.initialise:
        found.append({"name": start.run, "use": "student's first weights", "licence": "see its origin", "source": start.run})
    students = [recipe.student.encoders.get(m) for m in recipe.modalities]
    started = [s for s in students if getattr(s, "initialise", None) == "pretrained"]
    return [*found, *(_licence(s.model, "student's first weights", s.options.get("id") or s.options.get("folder")) for s in started)]


def _licence(encoder: str, use: str, place: str | None = None) -> dict[str, str]:
    weights = WEIGHTS.get(encoder)
    unknown = {"licence": "see its origin" if place else "not recorded", "source": place or encoder}
    known = {"licence": weights.licence, "source": weights.source} if weights else unknown
    return {"name": encoder, "use": use, **known}


def machine() -> str:
    """The processor that timings belong to."""
    from compress.device.info import describe_device

    device = describe_device()
    return f"{device['name']}, {device['cores']} cores, {device['system']}"


def as_json(part: Any) -> Any:
    """A part of `only` as plain data, without what a result does not depend on."""

    def tells(word: str, value: Any) -> bool:
        return word not in WATCHING and not (word in YOUNGER and value == YOUNGER[word])

    return json.loads(json.dumps(part, default=_plain), object_hook=lambda d: {k: v for k, v in d.items() if tells(k, v)})


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else vars(value)
