"""Sentence encoders of transformers as teachers of vectors: a folder as sentence-transformers or `save_pretrained` wrote it, behind our call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import DependencyError, RecipeError
from compress.io_spec import IOSpec, Outputs
from compress.models.classifier import Inputs, RowModel
from compress.models.pretrained import load_transformers
from compress.models.space import unit

PARTS = ("Transformer", "Pooling", "Normalize")  # of sentence-transformers, that a vector may be made of
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}


class SentenceTeacher(RowModel):
    """Token ids (R, T) -> vectors (R, D) of length 1: the mean of the tokens that are not padding, or the first of them."""

    def __init__(self, body: nn.Module, *, padding: int, pooling: str) -> None:
        super().__init__()
        self.body, self.padding, self.pooling = body, padding, pooling

    def classify(self, inputs: Inputs) -> Outputs:
        present = (inputs["text"] != self.padding).long()
        hidden: Tensor = self.body(input_ids=inputs["text"], attention_mask=present).last_hidden_state  # (R, T, D)
        if self.pooling == "first":
            vectors = hidden[:, 0]
        else:
            vectors = (hidden * present[:, :, None]).sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        return Outputs(unit(vectors), vectors)


def sentence_teacher(io: IOSpec, *, config_folder: str, padding: int, pooling: str, trust_remote_code: bool = False) -> nn.Module:
    """The architecture from a folder's config.json (and the model's own code beside it, where that is trusted), with fresh weights."""
    transformers = load_transformers()
    config = transformers.AutoConfig.from_pretrained(config_folder, trust_remote_code=trust_remote_code)
    body = transformers.AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32, trust_remote_code=trust_remote_code)
    return SentenceTeacher(without_pooler(body), padding=padding, pooling=pooling)


def open_sentences(folder: Path, *, trust_remote_code: bool = False) -> nn.Module:
    """The encoder in a local folder, in float32 and in eval mode. Raises: DependencyError for files that are missing, damaged or incomplete."""
    from safetensors import SafetensorError

    settings = {"attn_implementation": "eager", "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    try:
        model, found = load_transformers().AutoModel.from_pretrained(folder, trust_remote_code=trust_remote_code, **settings)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise DependencyError(f"teacher: cannot load {folder}: {first}; a folder needs config.json and model.safetensors, whole") from error
    absent = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))
    if absent:  # transformers fills them with random numbers
        raise DependencyError(f"teacher: {folder}: the weights lack {len(absent)} of the encoder's parts, such as {absent[:3]}")
    return without_pooler(model).eval()


def without_pooler(body: Any) -> nn.Module:
    """The model without the layer behind BERT's first token, which no vector is made of."""
    if getattr(body, "pooler", None) is not None:
        body.pooler = None
    return body  # type: ignore[no-any-return]


def read_pooling(folder: Path) -> str:
    """How tokens become one vector, as sentence-transformers wrote it beside the weights: "mean", where nothing is said too, or "first".

    Raises: RecipeError where a vector is made otherwise.
    """
    modules = folder / "modules.json"
    parts = [part["type"].rsplit(".", 1)[-1] for part in json.loads(modules.read_text())] if modules.is_file() else []
    if others := [part for part in parts if part not in PARTS]:
        raise RecipeError(f"teacher: {modules}: a vector is made by {', '.join(others)} too, which is not built; take another encoder")
    pooling = folder / "1_Pooling" / "config.json"
    if not pooling.is_file():
        return "mean"
    asked = [name for name, value in json.loads(pooling.read_text()).items() if name.startswith("pooling_mode_") and value is True]
    if len(asked) != 1 or asked[0] not in POOLINGS:
        raise RecipeError(f"teacher: {pooling}: asks for {', '.join(asked) or 'nothing'}; there are {', '.join(POOLINGS)}, one of them")
    return POOLINGS[asked[0]]
