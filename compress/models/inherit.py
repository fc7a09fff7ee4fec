"""Initialising a narrow, shallow text encoder from a BERT-like teacher: layers, channels, heads and neurons are picked, not trained.

Layers are spread evenly (DistilBERT, arXiv 1910.01108: every second of a teacher twice as deep). Channels of the residual
stream are those whose word embeddings vary most over the kept vocabulary; heads and neurons those with the largest weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.models.text import TextEncoder


def inherit_text(student: TextEncoder, teacher: nn.Module, kept_tokens: list[int]) -> dict:
    """Fills `student` from the first BERT-like encoder inside `teacher`; `kept_tokens[i]` is the teacher's id of token i."""
    body = find_bert(teacher)
    words = body.embeddings.word_embeddings.weight.detach()[kept_tokens]  # (V', D)
    if student.width > words.shape[1] or len(student.layers) > len(body.encoder.layer):
        raise RecipeError(
            f"student.text: {len(student.layers)} layers of width {student.width} cannot be picked from the teacher's "
            f"{len(body.encoder.layer)} of width {words.shape[1]}; make the student smaller or set initialise: random"
        )
    channels = top(words.var(0), student.width)
    length = student.positions.shape[0]
    with torch.no_grad():
        student.words.weight.copy_(words[:, channels])
        kinds = body.embeddings.token_type_embeddings.weight[0] if hasattr(body.embeddings, "token_type_embeddings") else 0
        student.positions.copy_((body.embeddings.position_embeddings.weight[:length] + kinds)[:, channels])
        copy_norm(student.norm, body.embeddings.LayerNorm, channels)
        picked = torch.linspace(0, len(body.encoder.layer) - 1, len(student.layers)).round().int().tolist()
        for layer, index in zip(student.layers, picked, strict=True):
            copy_layer(layer, body.encoder.layer[index], channels)
    return {"teacher_layers": picked, "channels": student.width, "teacher_channels": words.shape[1]}


def find_bert(teacher: nn.Module) -> nn.Module:
    """The first module with BERT's embeddings and layers; a teacher without one cannot be inherited from."""
    for module in teacher.modules():
        embeddings, encoder = getattr(module, "embeddings", None), getattr(module, "encoder", None)
        if hasattr(embeddings, "word_embeddings") and hasattr(encoder, "layer") and hasattr(encoder.layer[0], "intermediate"):
            return module
    raise RecipeError("student.text.initialise: the teacher has no BERT-like text encoder to pick layers from; set it to random")


def copy_layer(layer: nn.Module, source: nn.Module, channels: Tensor) -> None:
    """One transformer layer: `channels` (D') of the stream, the strongest heads and neurons."""
    attention = source.attention.self
    output = source.attention.output.dense
    per_head = output.weight.shape[1] // attention.num_attention_heads
    strength = output.weight.norm(dim=0).view(-1, per_head).norm(dim=1)  # (heads,)
    wanted = layer.attention.heads
    heads = top(strength, min(wanted, len(strength))).repeat(wanted)[:wanted]
    width = layer.attention.head_width
    inside = (heads[:, None] * per_head + torch.arange(width) % per_head).flatten()  # rows of q, k, v
    for name in ("query", "key", "value"):
        copy_linear(getattr(layer.attention, name), getattr(attention, name), inside, channels)
    copy_linear(layer.attention.output, output, channels, inside)
    neurons = top(source.intermediate.dense.weight.norm(dim=1) * source.output.dense.weight.norm(dim=0), layer.expand.out_features)
    copy_linear(layer.expand, source.intermediate.dense, neurons, channels)
    copy_linear(layer.project, source.output.dense, channels, neurons)
    copy_norm(layer.attention_norm, source.attention.output.LayerNorm, channels)
    copy_norm(layer.output_norm, source.output.LayerNorm, channels)


def copy_linear(target: nn.Linear, source: nn.Linear, rows: Tensor, columns: Tensor) -> None:
    """Rows and columns of a weight; scaled so that a sum over fewer inputs keeps its size."""
    share = source.weight.shape[1] / len(columns)
    target.weight.copy_(source.weight[rows][:, columns] * share**0.5)
    target.bias.copy_(source.bias[rows])


def copy_norm(target: nn.LayerNorm, source: nn.LayerNorm, channels: Tensor) -> None:
    """Scale and shift of the chosen channels."""
    target.weight.copy_(source.weight[channels])
    target.bias.copy_(source.bias[channels])


def top(values: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest, ascending."""
    return values.topk(count).indices.sort().values
