"""Stage `teacher`: the big model, from a folder, a hub, a weights file, or pretrained encoders with a head fitted here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compress.artifacts import Features, TorchModel
from compress.context import Context
from compress.data.prepared import PreparedData
from compress.data.tokens import padding_id, vocabulary_size
from compress.errors import DataError, DependencyError
from compress.io_spec import IOSpec, io_spec
from compress.losses.objective import Objective
from compress.models.pretrained import check_sha256
from compress.models.saved import count_parameters, save_model, tokenizer_of
from compress.models.student import over_features
from compress.recipe import Loss, Recipe
from compress.tables import MODELS, resolve
from compress.training.batches import INFERENCE_BATCH, Batches
from compress.training.checkpoint import seed_everything
from compress.training.loop import accuracy, predict, train
from compress.training.rows import open_features, open_rows


def load_teacher(recipe: Recipe, features: Features | None, data: PreparedData, *, ctx: Context) -> TorchModel:
    """The teacher as our own model folder: model.json, model.safetensors, tokenizer.json, with its validation accuracy."""
    if features is not None:
        model, io, details = fit(recipe, features, data, ctx)
    else:
        model, io, details = {"folder": from_folder, "hub": from_hub, "weights": from_weights}[recipe.teacher.source](recipe, data, ctx)
    size = recipe.teacher.image_size or recipe.data.image_size
    details |= {"parameters": count_parameters(model), "source": recipe.teacher.source}
    rows = open_rows(data.split("validation"), io, tokenizer=tokenizer_of(ctx.out), teacher=True)
    scored = details["history"]["best"] if features else accuracy(predict(model, Batches(rows, INFERENCE_BATCH, shuffle=False)), rows.labels)
    ctx.say(f"teacher: {details['parameters'] / 1e6:.1f} M parameters, images of {size} pixels, validation accuracy {100 * scored:.2f} %")
    metrics = {"validation_accuracy": {"value": 100 * scored, "unit": "%", "samples": int((rows.labels >= 0).sum())}}
    return TorchModel(io_spec=io, metrics=metrics, details=details)


def fit(recipe: Recipe, features: Features, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """A head trained on what the frozen encoders made of each distinct input, put together with these encoders."""
    config = recipe.teacher
    seed_everything(ctx.seed)
    options = {"encoders": features.details["encoders"], "hidden": config.head_width}
    model = resolve(MODELS["fitted_teacher"])(teacher_io(recipe, data, None), **options).eval()
    for encoder in model.encoders.values():
        encoder[0].load_pretrained()
        encoder[0].requires_grad_(False)
    tokenizer = shutil.copyfile(features.file("tokenizer.json"), ctx.out / "tokenizer.json") if "text" in recipe.modalities else None
    io = teacher_io(recipe, data, vocabulary_size(tokenizer) if tokenizer else None)
    rows, check = (open_features(features, data.split(name)) for name in ("train", "validation"))
    for m, encoder in model.encoders.items():
        encoder[1].fit(rows.inputs[m])
    batches = Batches(rows, config.train.batch_size, seed=ctx.seed, keep=np.asarray(rows.labels) >= 0)
    validation = Batches(check, 512, shuffle=False)
    history = train(
        over_features(model),
        batches,
        objective=Objective([Loss(name="cross_entropy")], with_teacher=False),
        config=config.train,
        ctx=ctx,
        validate=lambda m: accuracy(predict(m, validation), check.labels),
        label="teacher",
    )
    save_model(model, ctx.out, name="fitted_teacher", options=options, io=io)
    return model.eval(), io, {"history": history.to_json(), "encoders": features.details["encoders"]}


def from_folder(recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """A classifier that `save_pretrained` wrote, with its tokenizer.json where it reads text."""
    folder = ctx.base / str(recipe.teacher.path)
    if not (folder / "config.json").is_file():
        raise DependencyError(f"teacher.path: {folder} has no config.json; give the folder that save_pretrained wrote")
    return from_transformers(str(folder), folder, recipe, data, ctx)


def from_hub(recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """A classifier by id, at the recipe's pinned revision."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    config = recipe.teacher
    try:
        folder = Path(snapshot_download(str(config.id), revision=config.revision, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.py"], etag_timeout=5))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise DependencyError(
            f"teacher.id: cannot fetch {config.id!r} at {config.revision}: {str(error).splitlines()[0]}; "
            "check the network and the id, or fetch it elsewhere and use source: folder"
        ) from error
    return from_transformers(str(folder), folder, recipe, data, ctx)


def from_transformers(where: str, folder: Path, recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """A transformers classifier, cut to the data's labels."""
    from compress.models.transformers_model import TransformersTeacher, label_columns, normalisation, open_pretrained

    body: Any = open_pretrained(where, recipe.modalities, trust_remote_code=recipe.teacher.trust_remote_code)
    tokenizer = None
    if "text" in recipe.modalities:
        tokenizer = folder / "tokenizer.json"
        if not tokenizer.is_file():
            raise DependencyError(f"teacher: {folder} has no tokenizer.json; save the fast tokenizer there with tokenizer.save_pretrained")
        shutil.copyfile(tokenizer, ctx.out / "tokenizer.json")
    mean, deviation = normalisation(folder)
    columns = label_columns(body, data.labels, where)
    padding = padding_id(tokenizer) if tokenizer else 0
    io = teacher_io(recipe, data, vocabulary_size(tokenizer) if tokenizer else None)
    model = TransformersTeacher(body, columns=columns, padding=padding, mean=mean, deviation=deviation).eval()
    (ctx.out / "config").mkdir(exist_ok=True)
    body.config.save_pretrained(ctx.out / "config")
    options = {"config_folder": "config", "columns": columns, "padding": padding, "mean": mean, "deviation": deviation}
    save_model(model, ctx.out, name="transformers_teacher", options=options, io=io)
    return model, io, {"architecture": type(body).__name__}


def from_weights(recipe: Recipe, data: PreparedData, ctx: Context) -> tuple[nn.Module, IOSpec, dict]:
    """A model of MODELS with weights from a file: safetensors, or torch's format read without unpickling."""
    config = recipe.teacher
    path = ctx.base / str(config.path)
    check_sha256(path, str(config.sha256))
    io = teacher_io(recipe, data, None)
    model = resolve(MODELS[str(config.model)])(io, **config.options)
    state = read_weights(path)
    rename = resolve(MODELS[str(config.model)].split(":")[0] + ":rename_weights")
    try:
        model.load_state_dict(rename(state))
    except RuntimeError as error:
        raise DataError(f"teacher.path: {path} does not fit model {config.model!r} with {config.options}: {error}") from error
    save_model(model, ctx.out, name=str(config.model), options=config.options, io=io)
    return model.eval(), io, {"weights_sha256": config.sha256}


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from .safetensors, or from torch's own format with weights_only."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, weights_only=True, map_location="cpu")
    return state.get("state_dict", state)


def teacher_io(recipe: Recipe, data: PreparedData, vocabulary: int | None) -> IOSpec:
    """The teacher's ports: the data's, with its own image size and vocabulary."""
    size = (recipe.teacher.image_size or recipe.data.image_size) if recipe.data.image_size else None
    return io_spec(image_size=size, text_length=recipe.data.text_length, vocabulary=vocabulary, classes=len(data.labels))
