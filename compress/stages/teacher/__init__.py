"""Stage `teacher`: the big model, from a folder, a hub, a weights file, or pretrained encoders with a head fitted here; or what one answered."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import nn

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.errors import DataError, DependencyError, RecipeError
from compress.io_spec import IOSpec
from compress.losses.objective import Objective
from compress.measures.softness import softness
from compress.modalities.modality import modality
from compress.modalities.tokens import padding_id
from compress.models.audio_processors import require_audio_processor
from compress.models.hub import fetch
from compress.models.pretrained import check_sha256
from compress.models.processors import NO_IMAGES, read_processor
from compress.models.saved import count_parameters, save_model, tokenizer_of
from compress.models.space import own_space
from compress.models.student import over_features
from compress.recipe.recipe import Recipe
from compress.recipe.sections import Loss, Train
from compress.stages.teacher.dual import from_dual
from compress.stages.teacher.from_run import from_run
from compress.stages.teacher.generative import from_generative
from compress.stages.teacher.heard import from_answers, from_onnx, judge, validation_words
from compress.stages.teacher.zero_shot import from_zero_shot
from compress.store.artifacts import Features, TorchModel
from compress.tables import MODELS, resolve
from compress.tasks.labels import known
from compress.training.batches import INFERENCE_BATCH, Batches, scheduled_batches
from compress.training.checkpoint import seed_everything
from compress.training.fine_tuning import Steady, last_blocks
from compress.training.imbalance import against_imbalance
from compress.training.loop import predict, train
from compress.training.rows import model_io, open_all_views, open_features, open_rows, teacher_words
from compress.training.views import Views


def load_teacher(recipe: Recipe, features: Features | None, data: PreparedData, *, ctx: Context) -> TorchModel:
    """The teacher as our own model folder: model.json, model.safetensors and what it reads its inputs with, with its validation accuracy."""
    if not recipe.teacher.asked:
        return (from_answers if recipe.teacher.source == "answers" else from_generative)(recipe, data, ctx)
    if features is not None:
        model, io, details = fit(recipe, features, data, ctx)
    else:
        model, io, details = FROM[recipe.teacher.source](recipe, data, ctx)
    details = {"parameters": count_parameters(model), "source": recipe.teacher.source, **details}
    rows = open_rows(data.split("validation"), io, ctx.out, teacher=True)
    there = known(rows.labels)
    if "logits" not in details:
        details["logits"] = predict(model.to(ctx.device), Batches(rows, INFERENCE_BATCH, shuffle=False))
    logits, labels = details.pop("logits")[there], np.asarray(rows.labels)[there]
    details["facts"], metrics = judge(logits, labels, data) if there.any() else ({}, {})
    if data.task.one_of_many:
        details["softness"] = softness([logits], labels)
    reads = ", ".join(f"{port.name} {'x'.join(map(str, port.shape))}" for port in io.inputs)
    ctx.say(f"teacher: {details['parameters'] / 1e6:.1f} M parameters, reads {reads}, {validation_words(metrics, data)}")
    return TorchModel(io_spec=io, metrics=metrics, details=details)


def fit(recipe: Recipe, features: Features, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """A head trained on what the frozen encoders made of each distinct input in each view, put together with these encoders."""
    config = recipe.teacher
    if not known(data.split("train").labels).any():
        raise RecipeError(
            "teacher.source: no training row has a label, so a head cannot be fitted; take a teacher that knows the labels already"
        )
    seed_everything(ctx.seed)
    options = {"encoders": features.details["encoders"], "hidden": config.head_width}
    for m in recipe.modalities:
        for asset in modality(m).assets:
            shutil.copyfile(features.file(asset), ctx.out / asset)
    io = model_io(data, teacher_words(recipe), ctx.out)
    model = resolve(MODELS["fitted_teacher"])(io, **options).eval()
    for encoder in model.encoders.values():
        encoder[0].load_pretrained()
        encoder[0].requires_grad_(False)
    slow = last_blocks(model.encoders, config.fine_tune.blocks) if config.fine_tune else []
    rows, check = against_imbalance(open_all_views(features, data.split("train")), data), open_features(features, data.split("validation"))
    for m, encoder in model.encoders.items():
        encoder[1].fit(rows.inputs[m])
    body, validation, known_gains = over_features(model), Batches(check, 512, shuffle=False), None
    details: dict[str, Any] = {"encoders": features.details["encoders"]}
    if space := own_space(model):
        space.fit(rows.inputs[space.modality])
        known_gains = data.task.marks(predict(body, validation), check.labels)
    if any(p.requires_grad for p in body.parameters()):
        batches, schedule = scheduled_batches(rows, config.train, label="teacher", ctx=ctx, labelled=True)
        history = train(
            body,
            batches,
            objective=on_labels(data, config.smoothing),
            config=schedule,
            ctx=ctx,
            validate=lambda m: data.task.marks(predict(m, validation), check.labels),
            label="teacher",
            known=known_gains,
        )
        details["history"] = history.to_json()
    else:
        ctx.say("teacher: the encoder's own vectors are its answers, so nothing is fitted")
    if config.fine_tune:
        views, gentle = Views.from_json(features.details["views"]), (config.fine_tune.encoder_rate, slow)
        details["fine_tune"] = fine_tune(
            Steady(model, slow), config.fine_tune, io, data, ctx, smoothing=config.smoothing, views=views, gentle=gentle
        )
        details["fine_tune"] |= {"blocks": config.fine_tune.blocks, "trained_parameters": sum(p.numel() for p in slow)}
    else:
        details["logits"] = predict(body, validation)
    save_model(model, ctx.out, name="fitted_teacher", options=options, io=io)
    return model.eval(), io, details


def from_folder(recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """A classifier that `save_pretrained` wrote, with the files that it reads its inputs with, such as tokenizer.json."""
    folder = ctx.base / str(recipe.teacher.path)
    if not (folder / "config.json").is_file():
        raise DependencyError(f"teacher.path: {folder} has no config.json; give the folder that save_pretrained wrote")
    return from_transformers(folder, recipe, data, ctx)


def from_hub(recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """A classifier by id, at the recipe's pinned revision."""
    return from_transformers(fetch(str(recipe.teacher.id), str(recipe.teacher.revision)), recipe, data, ctx)


def from_transformers(folder: Path, recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """A transformers classifier, cut to the data's labels; a sentence encoder where vectors are asked for."""
    from compress.models.transformers_model import TransformersTeacher, answered, label_columns, open_pretrained, try_out

    if data.task.towers:
        return from_dual(folder, recipe, data, ctx)
    if data.task.port(data.labels).unit:
        return from_sentences(folder, recipe, data, ctx)
    trusted = recipe.teacher.trust_remote_code
    told, grid = answered(data.task.port(data.labels))
    body: Any = open_pretrained(folder, recipe.modalities, words=told, grid=grid, trust_remote_code=trusted)
    copy_assets(folder, recipe, ctx.out)
    tokenizer = tokenizer_of(ctx.out)
    words = teacher_words(recipe)
    processor = read_processor(folder, size=words("image").size) if "image" in recipe.modalities else NO_IMAGES
    if processor.note:
        ctx.say(f"teacher: {processor.note}")
    options: dict[str, Any] = {
        "columns": label_columns(body, data.labels, str(folder)),
        "padding": padding_id(tokenizer) if tokenizer else 0,
        "mean": processor.mean,
        "deviation": processor.deviation,
        "sound": require_audio_processor(folder, words("audio").rate) if "audio" in recipe.modalities else None,
    }
    io = model_io(data, words, ctx.out)
    model = TransformersTeacher(body, **options, words=told, grid=grid).eval()
    try_out(model, io, str(folder))
    options |= keep_config(body, folder, trusted, ctx.out)
    details = {"architecture": type(body).__name__, "note": processor.note, **tune_whole(model, recipe, io, data, ctx)}
    save_model(model, ctx.out, name="transformers_teacher", options=options, io=io)
    return model.eval(), io, details


def from_sentences(folder: Path, recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """A sentence encoder of transformers, whose own vectors are the space."""
    from compress.models.sentence import SentenceTeacher, open_sentences, read_pooling
    from compress.models.transformers_model import try_out

    if recipe.modalities != ("text",):
        read = " and ".join(recipe.modalities)
        raise RecipeError(f"teacher.source: of transformers, vectors are made of texts alone, and the data has {read}; take fit")
    trusted = recipe.teacher.trust_remote_code
    body: Any = open_sentences(folder, trust_remote_code=trusted)
    if (size := data.outputs) != body.config.hidden_size:
        raise RecipeError(
            f"data.task_options.size: {size}, but {folder} gives vectors of {body.config.hidden_size} numbers; set it to that"
        )
    copy_assets(folder, recipe, ctx.out)
    options: dict[str, Any] = {"padding": padding_id(ctx.out / "tokenizer.json"), "pooling": read_pooling(folder)}
    io = model_io(data, teacher_words(recipe), ctx.out)
    model = SentenceTeacher(body, **options).eval()
    try_out(model, io, str(folder))
    options |= keep_config(body, folder, trusted, ctx.out)
    save_model(model, ctx.out, name="sentence_teacher", options=options, io=io)
    return model, io, {"architecture": type(body).__name__, "note": None}


def copy_assets(folder: Path, recipe: Recipe, out: Path) -> None:
    """Copies what a model's inputs are read with; raises DependencyError where it is not there."""
    for asset in [asset for m in recipe.modalities for asset in modality(m).assets]:
        if not (folder / asset).is_file():
            raise DependencyError(
                f"teacher: {folder} has no {asset}; save it there, as tokenizer.save_pretrained does with the fast tokenizer"
            )
        shutil.copyfile(folder / asset, out / asset)


def keep_config(body: Any, folder: Path, trusted: bool, out: Path) -> dict[str, Any]:
    """Puts the configuration, and code that is trusted, beside the weights; gives the options that a model is built again with."""
    body.config.save_pretrained(out / "config")
    for code in folder.glob("*.py") if trusted else ():
        shutil.copyfile(code, out / "config" / code.name)
    return {"config_folder": "config", "trust_remote_code": trusted}


def from_weights(recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """A model of MODELS with weights from a file: safetensors, or torch's format read without unpickling."""
    config = recipe.teacher
    if unreadable := [m for m in recipe.modalities if modality(m).assets]:
        raise RecipeError(f"teacher: source weights brings no {modality(unreadable[0]).assets[0]}, so it cannot read {unreadable[0]}")
    path, entry = ctx.base / str(config.path), MODELS[str(config.model)]
    check_sha256(path, str(config.sha256), way_out="give its own hash as teacher.sha256, or the file that was meant as teacher.path")
    io = model_io(data, teacher_words(recipe), None)
    model = resolve(entry)(io, **config.options)
    state = read_weights(path)
    rename = getattr(sys.modules[resolve(entry).__module__], "rename_weights", dict)  # beside models whose published names differ
    try:
        model.load_state_dict(rename(state))
    except RuntimeError as error:
        raise DataError(f"teacher.path: {path} does not fit model {config.model!r} with {config.options}: {error}") from error
    details: dict[str, Any] = {"weights_sha256": config.sha256, **tune_whole(model, recipe, io, data, ctx)}
    save_model(model, ctx.out, name=str(config.model), options=config.options, io=io)
    return model.eval(), io, details


def tune_whole(model: nn.Module, recipe: Recipe, io: IOSpec, data: PreparedData, ctx: Context) -> dict[str, Any]:
    """{fine_tune: the history} of a model from elsewhere that the recipe trains further; {} where it is taken as it is."""
    if (config := recipe.teacher.fine_tune) is None:
        return {}
    seeded = replace(ctx, seed=recipe.data.seed)
    return {"fine_tune": fine_tune(model, config, io, data, seeded, smoothing=recipe.teacher.smoothing)}


def fine_tune(
    model: nn.Module,
    config: Train,
    io: IOSpec,
    data: PreparedData,
    ctx: Context,
    *,
    smoothing: float = 0.0,
    views: Views | None = None,
    gentle: tuple[float, Sequence[nn.Parameter]] = (1.0, ()),
) -> dict:
    """Trains a model that is good as it comes further on the labelled training rows, in place; gives the history."""
    rows = against_imbalance(open_rows(data.split("train"), io, ctx.out, teacher=True, views=views), data)
    check = open_rows(data.split("validation"), io, ctx.out, teacher=True)
    validation = Batches(check, INFERENCE_BATCH, shuffle=False)
    before = data.task.marks(predict(model.to(ctx.device), validation), check.labels)
    batches, schedule = scheduled_batches(rows, config, label="fine_tune", ctx=ctx, labelled=True)
    history = train(
        model,
        batches,
        objective=on_labels(data, smoothing),
        config=schedule,
        ctx=ctx,
        validate=lambda m: data.task.marks(predict(m, validation), check.labels),
        label="fine_tune",
        known=before,
        gentle=gentle,
    )
    ctx.say(
        f"teacher: validation {data.task.measure} {100 * before.mean():.2f} % before fine-tuning, {100 * history.best:.2f} % after {history.steps} steps"
    )
    return {**history.to_json(), "before": float(before.mean())}


def on_labels(data: PreparedData, smoothing: float) -> Objective:
    """The task's losses on labels alone, of which a share may be spread over all of them."""
    port, options = data.task.port(data.labels), {"options": {"smoothing": smoothing}} if smoothing else {}
    losses = [Loss.model_validate({**term, **options}) for term in data.task.on_labels]
    return Objective(losses, with_teacher=False, towers=port.each, prefixes=port.prefixes, heads=port.heads)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from .safetensors, or from torch's own format with weights_only."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise DataError(
            f"teacher.path: {path} holds no weights that can be read without running code: {str(error).splitlines()[0]}"
        ) from error
    return state.get("state_dict", state)


FROM = {"folder": from_folder, "hub": from_hub, "weights": from_weights, "run": from_run, "zero_shot": from_zero_shot, "onnx": from_onnx}
