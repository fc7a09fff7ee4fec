"""Zero-shot classifiers: one tower of a dual encoder such as CLIP, whose labels are prompts that its text tower has read.

The prompts become the weights of a linear layer, once; what is left is an ordinary model, which is exported, looked into and inherited from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.io_spec import IOSpec, Outputs
from compress.models.classifier import Inputs, RowModel
from compress.models.dual import Tower, cosine_scale, dual_tokenizer, fresh, longest_text, open_both, space_size, text_tower, tower

BATCH = 64  # prompts a call


class ZeroShot(RowModel):
    """logits (R, K) = scale * cos(what the tower makes of an input, what the text tower made of each label's prompts).

    The embedding (R, D) is the tower's output at length 1; the last layer (K, D) holds the labels' vectors times the scale. SigLIP's bias is the same
    for all labels and left out.
    """

    def __init__(self, tower: Tower, *, width: int, labels: int) -> None:
        super().__init__()
        self.tower = tower
        self.output = nn.Linear(width, labels, bias=False)

    def classify(self, inputs: Inputs) -> Outputs:
        """Of the one input that the tower takes."""
        (given,) = inputs.values()
        seen = self.tower(given)  # (R, D)
        embedding = seen / seen.norm(dim=1, keepdim=True)
        return Outputs(self.output(embedding), embedding)


def zero_shot(io: IOSpec, *, config_folder: str, width: int, **reading: Any) -> nn.Module:
    """The architecture of a tower from the whole model's config.json, with fresh weights; `reading`: as of `tower`."""
    return ZeroShot(tower(fresh(config_folder), only_input(io), **reading), width=width, labels=io.outputs[0].shape[0])


def only_input(io: IOSpec) -> str:
    """The modality of the data. Raises RecipeError where there are several."""
    if len(io.modalities) > 1:
        raise RecipeError(f"teacher: a dual encoder answers to one input alone, not to {' and '.join(io.modalities)}; use another source")
    return io.modalities[0]


def open_zero_shot(folder: Path, io: IOSpec, prompts: Sequence[Sequence[str]], **reading: Any) -> tuple[ZeroShot, Any]:
    """The classifier of the dual encoder in a folder, and the whole model's configuration; prompts: several for each label, whose vectors are
    averaged; reading: as of `tower`.

    Raises: DependencyError for files that are missing or incomplete, RecipeError for a model that is no such encoder.
    """
    m, model = only_input(io), open_both(folder)
    classifier = ZeroShot(tower(model, m, **reading), width=space_size(model.config), labels=io.outputs[0].shape[0])
    with torch.no_grad():
        classifier.output.weight.copy_(cosine_scale(model, m) * label_vectors(model, folder, prompts))
    return classifier.eval(), model.config


@torch.no_grad()
def label_vectors(model: Any, folder: Path, prompts: Sequence[Sequence[str]]) -> Tensor:
    """(K, D) of length 1: for each label the mean of its prompts' vectors, each brought to length 1 first (as by CLIP's authors)."""
    tokenizer, reads = dual_tokenizer(folder), text_tower(model, folder)
    tokenizer.enable_truncation(longest_text(model.config))
    texts = [prompt for some in prompts for prompt in some]
    parts = []
    for start in range(0, len(texts), BATCH):
        ids = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(texts[start : start + BATCH])])
        vectors = reads(ids)
        parts.append(vectors / vectors.norm(dim=1, keepdim=True))
    groups = torch.cat(parts).split([len(some) for some in prompts])
    means = torch.stack([group.mean(0) for group in groups])
    return means / means.norm(dim=1, keepdim=True)
