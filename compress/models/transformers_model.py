"""Teachers from transformers: a classifier saved by `save_pretrained`, or fetched by id and pinned revision, behind our call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import DataError, DependencyError, RecipeError
from compress.io_spec import IOSpec, Outputs, Port
from compress.models.audio_processors import build_front
from compress.models.classifier import Inputs, RowModel
from compress.models.layers import Pixels
from compress.models.pretrained import load_transformers
from compress.models.text import first_tokens
from compress.models.word_head import gather_words

AUTO_CLASSES = {  # which transformers class reads a model of these inputs
    ("image", "text"): "AutoModelForVisualQuestionAnswering",
    ("image",): "AutoModelForImageClassification",
    ("text",): "AutoModelForSequenceClassification",
    ("audio",): "AutoModelForAudioClassification",
}


class TransformersTeacher(RowModel):
    """Raw pixels, samples and token ids -> the logits of the labels that the data has, in the data's order."""

    def __init__(
        self,
        body: nn.Module,
        *,
        columns: list[int],
        padding: int,
        mean: list[float],
        deviation: list[float],
        sound: dict[str, Any] | None = None,
        words: int = 1,
        grid: int = 0,
    ) -> None:
        super().__init__()
        self.body, self.padding, self.words, self.grid = body, padding, words, grid
        self.pixels = Pixels(tuple(mean), tuple(deviation))  # type: ignore[arg-type]
        self.sound = build_front(sound) if sound else None
        self.register_buffer("columns", torch.tensor(columns))
        classes = getattr(getattr(body, "config", None), "num_labels", None)
        linear = [m for m in body.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
        self.last = linear[-1:]  # the layer that gives the logits (in a list: it is the body's part); what it reads is the embedding

    def classify(self, inputs: Inputs) -> Outputs:
        given: dict[str, Tensor] = {}
        if "text" in inputs:
            text = inputs["text"].abs() if self.words > 1 else inputs["text"]  # negative where a word begins
            given["input_ids"] = text
            given["attention_mask"] = (text != self.padding).long()
        if "image" in inputs:
            given["pixel_values"] = self.pixels(inputs["image"])
        if self.sound is not None:
            given["input_values"] = self.sound(inputs["audio"])
        seen: list[Tensor] = []
        layers = [] if torch.compiler.is_exporting() else self.last
        hooks = [layer.register_forward_pre_hook(lambda _, x: seen.append(x[0])) for layer in layers]
        try:
            logits = self.body(**given).logits
            if self.grid:  # (R, K, h, w)
                return by_place(logits[:, self.columns], self.grid)
            logits = logits[..., self.columns]
        finally:
            for hook in hooks:
                hook.remove()
        if self.words > 1:
            logits = gather_words(first_tokens(logits, inputs["text"] < 0), self.words)
            return Outputs(logits, logits)
        return Outputs(logits, seen[-1] if seen else logits)


def by_place(maps: Tensor, grid: int) -> Outputs:
    """Logits (R, P K) of maps (R, K, h, w), brought to a square of P places by bilinear interpolation."""
    if maps.shape[2:] != (grid, grid):
        maps = nn.functional.interpolate(maps, size=(grid, grid), mode="bilinear", align_corners=False)
    logits = maps.permute(0, 2, 3, 1).flatten(1)
    return Outputs(logits, logits)


def transformers_teacher(
    io: IOSpec,
    *,
    config_folder: str,
    columns: list[int],
    padding: int,
    mean: list[float],
    deviation: list[float],
    sound: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> nn.Module:
    """The architecture from a folder's config.json (and the model's own code beside it, where that is trusted), with fresh weights."""
    transformers = load_transformers()
    config = transformers.AutoConfig.from_pretrained(config_folder, trust_remote_code=trust_remote_code)
    words, grid = answered(io.outputs[0])
    auto = getattr(transformers, auto_class(io.modalities, words, grid))
    body = auto.from_config(config, attn_implementation="eager", dtype=torch.float32, trust_remote_code=trust_remote_code)
    make_exportable(body)
    return TransformersTeacher(body, columns=columns, padding=padding, mean=mean, deviation=deviation, sound=sound, words=words, grid=grid)


def answered(port: Port) -> tuple[int, int]:
    """How many words a model of this output answers for, 1 where it is for all at once; and the side of the square of places, 0 where there are none."""
    return 1 if port.grid else port.each, port.grid


def auto_class(modalities: tuple[str, ...], words: int, grid: int = 0) -> str:
    """The class of transformers that reads these inputs, and answers for each word where there are several, or for each place."""
    if grid:
        return "AutoModelForSemanticSegmentation"
    return "AutoModelForTokenClassification" if words > 1 else AUTO_CLASSES[modalities]


def open_pretrained(
    folder: Path, modalities: tuple[str, ...], *, words: int = 1, grid: int = 0, trust_remote_code: bool = False
) -> nn.Module:
    """The classifier in a local folder, in float32 and in eval mode.

    Raises: DependencyError for files that are missing, damaged or incomplete; RecipeError for a model of another task.
    """
    from safetensors import SafetensorError

    if modalities not in AUTO_CLASSES:
        raise RecipeError(f"teacher: transformers has no classifier that reads {' and '.join(modalities)}; use source: fit")
    auto = getattr(load_transformers(), auto_class(modalities, words, grid))
    settings = {"attn_implementation": "eager", "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    try:
        model, found = auto.from_pretrained(folder, trust_remote_code=trust_remote_code, **settings)
    except (OSError, RuntimeError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise DependencyError(f"teacher: cannot load {folder}: {first}; a folder needs config.json and model.safetensors, whole") from error
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise RecipeError(
            f"teacher: {folder} is no model that {auto_class(modalities, words, grid)} reads, as the data's {' and '.join(modalities)} ask: {first}"
        ) from error
    absent = sorted(found["missing_keys"])
    if absent:  # transformers fills them with random numbers
        raise DependencyError(
            f"teacher: {folder}: the weights lack {len(absent)} of the model's parts, such as {absent[:3]}; save the fine-tuned classifier"
        )
    make_exportable(model)
    return model.eval()


@torch.no_grad()
def try_out(model: nn.Module, io: IOSpec, where: str) -> None:
    """Raises RecipeError unless the model reads one row of inputs as `io` says: it may want other sizes than the data has."""
    inputs = {p.name: torch.full((1, *p.shape), int(p.high or 0), dtype=getattr(torch, p.dtype)) for p in io.inputs}
    try:
        model(inputs)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:  # whatever the foreign model raises
        sizes = ", ".join(f"{p.name} {list(p.shape)}" for p in io.inputs)
        raise RecipeError(
            f"teacher: {where} cannot read {sizes}: {type(error).__name__}: {str(error).splitlines()[0]}; "
            "set teacher.inputs to what it was trained with"
        ) from error


def label_columns(model: Any, labels: list[str], where: str) -> list[int]:
    """Which logit stands for each of the data's labels; every label must be one of the model's, in other case where that leaves no doubt."""
    names = {str(name): int(column) for column, name in model.config.id2label.items()}
    folded = {name.casefold(): column for name, column in names.items()}
    if len(folded) == len(names):  # published models write POSITIVE where data sets write positive
        names |= {label: folded[label.casefold()] for label in labels if label not in names and label.casefold() in folded}
    absent = [label for label in labels if label not in names]
    if absent:
        raise DataError(
            f"teacher {where}: {len(absent)} of the data's {len(labels)} labels are not the model's, such as {absent[:5]}; "
            f"the model has {list(names)[:10]}"
        )
    return [names[label] for label in labels]


def make_exportable(model: nn.Module) -> None:
    """ViLT picks patches at random places of padded images, which no ONNX graph can; ours are never padded, so all patches stay."""
    for module in model.modules():
        if type(module).__name__ == "ViltEmbeddings":
            module.visual_embed = _embed_whole_images.__get__(module)


def _embed_whole_images(self: Any, pixel_values: Tensor, pixel_mask: Tensor, max_image_length: int = 200) -> tuple[Tensor, Tensor, None]:
    """ViltEmbeddings.visual_embed for images without padding: (B, 3, H, W) -> (B, 1 + P, D), mask (B, 1 + P)."""
    patches = self.patch_embeddings(pixel_values)  # (B, D, h, w)
    height, width = patches.shape[2:]
    trained = self.patch_embeddings.image_size
    pairs = isinstance(trained, (tuple, list))
    side = trained[0] // self.patch_embeddings.patch_size[0] if pairs else self.config.image_size // self.config.patch_size
    grid = self.position_embeddings[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
    if (height, width) != (side, side):
        grid = nn.functional.interpolate(grid, size=(height, width), mode="bilinear", align_corners=True)
    places = torch.cat([self.position_embeddings[:, :1], grid.flatten(2).transpose(1, 2)], 1)  # (1, 1 + P, D)
    first = self.cls_token.expand(patches.shape[0], -1, -1)
    x = self.dropout(torch.cat([first, patches.flatten(2).transpose(1, 2)], 1) + places)
    return x, x.new_ones(x.shape[:2], dtype=torch.long), None
