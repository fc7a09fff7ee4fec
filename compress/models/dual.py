"""Dual encoders of transformers (CLIP, SigLIP, CLAP): each of two inputs becomes a vector in the space that they share.

A tower is what transformers calls get_image_features, get_text_features or get_audio_features, behind what its own processor does to raw inputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from compress.errors import DependencyError, RecipeError
from compress.io_spec import IOSpec
from compress.models.audio_processors import build_front, require_audio_processor
from compress.models.classifier import Classifier
from compress.models.layers import Pixels
from compress.models.pretrained import load_transformers
from compress.models.processors import NO_IMAGES, read_processor
from compress.models.sentencepiece_file import read_sentencepiece
from compress.models.towers import Towers

PARTS = {  # type of a configuration -> input -> its tower in the model, and what that is projected with where it is projected
    "clip": {"image": ("vision_model", "visual_projection"), "text": ("text_model", "text_projection")},
    "siglip": {"image": ("vision_model", ""), "text": ("text_model", "")},
    "clap": {"audio": ("audio_model", "audio_projection"), "text": ("text_model", "text_projection")},
}
PIECES = "spiece.model"  # what SigLIP's tokenizer may be beside or instead of a tokenizer.json
LEGACY_END = 2  # CLIP's configurations that say so mean the highest token instead


class Tower(nn.Module):
    """One tower as an encoder: raw inputs (N, ...) -> what it projects to the space (N, D), not yet of length 1."""

    def __init__(self, front: nn.Module, body: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.front, self.body, self.projection = front, body, projection

    def forward(self, given: Tensor) -> Tensor:
        return self.projection(self.body(**self.front(given)).pooler_output)  # type: ignore[no-any-return]


class Fed(nn.Module):
    """What a front makes of raw inputs, by the name that a model of transformers has for it."""

    def __init__(self, name: str, front: nn.Module) -> None:
        super().__init__()
        self.name, self.front = name, front

    def forward(self, given: Tensor) -> dict[str, Tensor]:
        return {self.name: self.front(given)}


class FedTokens(nn.Module):
    """Token ids (N, T), as each kind of tower takes them.

    CLIP sees nothing behind a text's end. SigLIP sees the padding and reads its vector from the last place, so that every text is filled to the
    `length` that it was trained with. CLAP is told where tokens are.
    """

    def __init__(self, *, padding: int, length: int, masked: bool) -> None:
        super().__init__()
        self.padding, self.length, self.masked = padding, length, masked

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        if self.length:
            if ids.shape[1] > self.length:
                raise ValueError(f"texts have {self.length} tokens at most")
            return {"input_ids": nn.functional.pad(ids, (0, self.length - ids.shape[1]), value=self.padding)}
        return {"input_ids": ids, "attention_mask": (ids != self.padding).long()} if self.masked else {"input_ids": ids}


def dual_teacher(io: IOSpec, *, config_folder: str, **reading: Any) -> Classifier:
    """The architecture from a folder's config.json, with fresh weights; `reading`: as of `tower`."""
    return _around(fresh(config_folder), reading)


def open_dual(folder: Path, **reading: Any) -> tuple[Classifier, Any]:
    """The dual encoder in a local folder, in eval mode, and its configuration. Raises as `open_both` does."""
    whole = open_both(folder)
    return _around(whole, reading).eval(), whole.config


def _around(whole: Any, reading: dict[str, Any]) -> Classifier:
    encoders: dict[str, nn.Module] = {m: tower(whole, m, **reading) for m in PARTS[whole.config.model_type]}
    return Classifier(encoders, Towers({m: nn.Identity() for m in encoders}))


def tower(whole: Any, m: str, *, mean: list[float], deviation: list[float], sound: dict[str, Any] | None = None, padding: int = 0) -> Tower:
    """The tower of a dual encoder for one input. mean, deviation: of pixels; sound: its feature extractor, as `read_audio_processor` gives it;
    padding: the token that fills short texts. Raises RecipeError where none reads that input."""
    config = whole.config
    parts = PARTS[config.model_type]
    if m not in parts:
        raise RecipeError(
            f"teacher: a model of type {config.model_type} reads {' and '.join(parts)}, not {m}; take another, or another source"
        )
    kind, (body, projection) = config.model_type, parts[m]
    front: nn.Module
    if m == "text":
        length = config.text_config.max_position_embeddings if kind == "siglip" else 0
        front = FedTokens(padding=padding, length=length, masked=kind == "clap")
    elif m == "image":
        front = Fed("pixel_values", Pixels(tuple(mean), tuple(deviation)))  # type: ignore[arg-type]
    else:
        assert sound
        front = Fed("input_features", build_front(sound))
    return Tower(front, getattr(whole, body), getattr(whole, projection) if projection else nn.Identity())


def text_tower(whole: Any, folder: Path) -> Tower:
    """The one that reads texts as the tokenizer in `folder` fills them."""
    return tower(whole, "text", mean=[0.0] * 3, deviation=[1.0] * 3, padding=_padding(folder))


def read_inputs(folder: Path, forms: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """How the dual encoder in `folder` reads its inputs, as `tower` takes it, and how that differs from its own processor; forms: modality -> the
    words of its form. Raises RecipeError for a processor that cannot be followed."""
    processor = read_processor(folder, size=forms["image"].size) if "image" in forms else NO_IMAGES
    reading: dict[str, Any] = {"mean": processor.mean, "deviation": processor.deviation, "padding": _padding(folder)}
    if "audio" in forms:
        reading["sound"] = require_audio_processor(folder, forms["audio"].rate, seconds=forms["audio"].seconds)
    return reading, processor.note


def cosine_scale(whole: Any, m: str) -> Tensor:
    """The factor of cosines where inputs of that modality are told apart by texts; CLAP has one a direction."""
    if whole.config.model_type == "clap":
        return (whole.logit_scale_t if m == "text" else whole.logit_scale_a).exp()  # type: ignore[no-any-return]
    return whole.logit_scale.exp()  # type: ignore[no-any-return]


def longest_text(config: Any) -> int:
    """Tokens of a text at most; CLAP counts places from behind its padding's id, as RoBERTa does."""
    text = config.text_config
    return int(text.max_position_embeddings - (text.pad_token_id + 1 if config.model_type == "clap" else 0))


def space_size(config: Any) -> int:
    """How many numbers a vector of the space has."""
    return int(config.text_config.projection_size if config.model_type == "siglip" else config.projection_dim)


def fresh(config_folder: str) -> Any:
    """The whole model of a folder's config.json, with fresh weights."""
    transformers = load_transformers()
    config = transformers.AutoConfig.from_pretrained(config_folder)
    return transformers.AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32)


def open_both(folder: Path) -> Any:
    """The dual encoder in a local folder with both of its towers, in eval mode.

    Raises: DependencyError for files that are missing or incomplete, RecipeError for a model that is no such encoder.
    """
    from safetensors import SafetensorError

    dual_config(folder)
    # plain attention is what the exporter takes: see TransformersTeacher
    settings = {"attn_implementation": "eager", "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    try:
        model, found = load_transformers().AutoModel.from_pretrained(folder, **settings)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise _unloadable(folder, error) from error
    if absent := sorted(found["missing_keys"]):
        raise DependencyError(
            f"teacher: {folder}: the weights lack {len(absent)} of the model's parts, such as {absent[:3]}; save it whole"
        )
    return model.eval()


def dual_config(folder: Path) -> Any:
    """The configuration of the dual encoder in a local folder. Raises as `open_both` does."""
    try:
        config = load_transformers().AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise _unloadable(folder, error) from error
    kind = config.model_type
    if kind not in PARTS:
        raise RecipeError(f"teacher: {folder} is a model of type {kind}; of dual encoders those of type {', '.join(PARTS)} are built")
    if kind == "clap" and config.audio_config.enable_fusion:
        raise RecipeError(
            f"teacher: {folder} is a CLAP that fuses parts of long sounds (enable_fusion), which is not built; take one without, such as "
            "laion/clap-htsat-unfused"
        )
    if kind == "siglip" and not (config.vision_config.vision_use_head and config.vision_config.hidden_size == space_size(config)):
        raise RecipeError(f"teacher: {folder} is a SigLIP whose pictures and texts do not share a space (vision_use_head, projection_size)")
    return config


def dual_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a dual encoder, set to fill short texts with the token that it was trained with; of CLIP, which does not see it, with its end.

    Raises: RecipeError for a SigLIP's that keeps capitals, which neither SigLIP was trained with.
    """
    config, file = dual_config(folder), folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file)) if file.is_file() else read_sentencepiece(folder / PIECES)
    if config.model_type == "siglip" and tokenizer.encode("A Cat").ids != tokenizer.encode("a cat").ids:
        raise RecipeError(
            f"teacher: {file} keeps capitals, which SigLIP was not trained with; put the normalizer Lowercase before its others"
        )
    if not tokenizer.padding:
        number = end_token(config, tokenizer) if config.model_type == "clip" else _named_padding(folder, config, tokenizer)
        tokenizer.enable_padding(pad_id=number, pad_token=tokenizer.id_to_token(number))
    return tokenizer


def end_token(config: Any, tokenizer: Tokenizer) -> int:
    """The id of the token that ends a text of CLIP: what its tower reads a text's vector from."""
    end = int(config.text_config.eos_token_id)
    return tokenizer.get_vocab_size(with_added_tokens=True) - 1 if end == LEGACY_END else end


def _padding(folder: Path) -> int:
    return int((dual_tokenizer(folder).padding or {})["pad_id"])


def _named_padding(folder: Path, config: Any, tokenizer: Tokenizer) -> int:
    """The id of the token that tokenizer_config.json names, else that of the configuration."""
    beside = folder / "tokenizer_config.json"
    named = json.loads(beside.read_text(encoding="utf-8")).get("pad_token") if beside.is_file() else None
    number = tokenizer.token_to_id(named["content"] if isinstance(named, dict) else named) if named else None
    return int(config.text_config.pad_token_id) if number is None else number


def _unloadable(folder: Path, error: Exception) -> DependencyError:
    return DependencyError(
        f"teacher: cannot load {folder}: {str(error).splitlines()[0]}; a folder needs config.json, model.safetensors and tokenizer.json"
    )
