"""Teachers that are heard and not looked into: an ONNX file behind our ports, and a table of what was answered."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from torch import nn

from compress.context import Context
from compress.data.answer_table import describe_answers, read_answer_table
from compress.data.prepared import PreparedData
from compress.device.errors import DeviceError
from compress.errors import DataError, RecipeError
from compress.graphs.adapt import Reading, adapt
from compress.io_spec import IOSpec
from compress.modalities.modality import modality
from compress.modalities.tokens import padding_id
from compress.models.onnx_teacher import OnnxTeacher
from compress.models.pretrained import check_sha256
from compress.models.saved import save_model, tokenizer_of
from compress.models.transformers_model import try_out
from compress.recipe.recipe import Recipe
from compress.store.artifacts import TorchModel
from compress.tasks.labels import known
from compress.training.rows import model_io, teacher_words

FILE = "teacher.onnx"  # as the benchmark calls it


def from_onnx(recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """FILE: the recipe's file with our ports, what makes its inputs of them in front and the data's labels behind."""
    import onnx

    config = recipe.teacher
    assert config.feeds
    path = ctx.base / str(config.path)
    if config.sha256:
        check_sha256(path, config.sha256, way_out="give its own hash as teacher.sha256, or the file that was meant as teacher.path")
    if config.tokenizer:
        shutil.copyfile(ctx.base / config.tokenizer, ctx.out / "tokenizer.json")
    for m in recipe.modalities:
        if lacking := [asset for asset in modality(m).assets if not (ctx.out / asset).is_file()]:
            raise RecipeError(f"teacher.tokenizer: the file reads {m}, so its {lacking[0]} is needed")
    tokenizer, io = tokenizer_of(ctx.out), model_io(data, teacher_words(recipe), ctx.out)
    feeds = {m: modality(m).feed(config.feeds.get(m), padding=padding_id(tokenizer) if tokenizer else 0) for m in recipe.modalities}
    classes = read_classes(config.classes, ctx.base)
    columns = columns_of(classes, data.labels, place="teacher.classes")
    reading = Reading(config.output, columns, len(classes), str(config.form), odds=not data.task.one_of_many)
    try:
        adapted = adapt(onnx.load(path), io, feeds, reading)
        onnx.save(adapted, ctx.out / FILE)
        model = OnnxTeacher(io, ctx.out / FILE)
    except (DeviceError, DecodeError, ValueError, OSError) as error:
        raise DataError(f"teacher.path: {path} cannot be used as an ONNX model: {str(error).splitlines()[0]}") from error
    try_out(model, io, str(path))
    save_model(model, ctx.out, name="onnx_teacher", options={"file": FILE}, io=io)
    details = {"parameters": sum(int(np.prod(t.dims)) for t in adapted.graph.initializer), "form": config.form}
    return model, io, details


def read_classes(given: list[str] | str | None, base: Path) -> list[str]:
    """The names of a file's outputs: a list, or the lines of a text file."""
    return (
        [line.strip() for line in (base / given).read_text(encoding="utf-8").splitlines()] if isinstance(given, str) else list(given or [])
    )


def columns_of(classes: list[str], labels: list[str], *, place: str) -> list[int]:
    """The place of each label among the teacher's classes. Raises DataError for a class named twice, and for labels that are none of them."""
    if len(set(classes)) < len(classes):
        raise DataError(f"{place}: names a class twice: {', '.join(sorted({name for name in classes if classes.count(name) > 1}))}")
    if absent := [label for label in labels if label not in classes]:
        raise DataError(
            f"{place}: {len(absent)} of the data's {len(labels)} labels are not there, such as {absent[:5]}; there are {classes[:10]}"
        )
    return [classes.index(label) for label in labels]


def from_answers(recipe: Recipe, data: PreparedData, ctx: Context) -> TorchModel:
    """answers-SPLIT.npy: (R, K) float32 logits of what the recipe's table answers to the rows of each split, NaN where it has nothing usable."""
    config = recipe.teacher
    table = read_answer_table(
        ctx.base / str(config.path),
        data,
        form=str(config.form),
        columns=dict(config.columns.items()),
        labels=config.labels,
        strict=config.on_bad_answer == "error",
    )
    for split, logits in table.logits.items():
        np.save(ctx.out / f"answers-{split}.npy", logits)
    labels = np.asarray(data.split("validation").labels)
    there = known(labels) & np.isfinite(table.logits["validation"]).all(1)
    facts, metrics = judge(table.logits["validation"][there], labels[there], data) if there.any() else ({}, {})
    ctx.say(f"teacher: {describe_answers(table.to_json())}; {validation_words(metrics, data)}")
    details = {"source": config.source, "parameters": None, "facts": facts, "answers": table.to_json()}
    return TorchModel(io_spec=model_io(data, recipe.data.inputs.get, None), metrics=metrics, details=details)


def judge(logits: np.ndarray, labels: np.ndarray, data: PreparedData) -> tuple[dict, dict]:
    """What the task learns of a teacher from labelled validation rows, and how good it is there: logits (R, K), labels (R, ...), R > 0."""
    facts = data.task.fit(logits, labels)
    scored = data.task.with_facts(facts).score(logits, labels)
    return facts, {"validation_accuracy": {"value": 100 * scored, "unit": "%", "samples": len(labels)}}


def validation_words(metrics: dict, data: PreparedData) -> str:
    """The teacher's measure on validation, in words."""
    known = metrics.get("validation_accuracy")
    return f"validation {data.task.measure} {known['value']:.2f} %" if known else "not known on validation"
