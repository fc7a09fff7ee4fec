"""Initialising a narrow, shallow text encoder from a BERT-like teacher: layers, channels, heads and neurons are picked, not trained.

Layers are spread evenly (DistilBERT, arXiv 1910.01108: every second of a teacher twice as deep). Channels of the residual
stream are those whose word embeddings vary most over the kept vocabulary; heads and neurons those with the largest weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.models.text import Bag, TextEncoder

Parts = dict[str, Any]  # the parts (nn.Linear and nn.LayerNorm) of one teacher layer, by our names

# where BERT, DistilBERT and ViLT keep their layers, and the parts of each by our names
LAYOUTS: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "encoder.layer",
        {
            "query": "attention.self.query",
            "key": "attention.self.key",
            "value": "attention.self.value",
            "output": "attention.output.dense",
            "attention_norm": "attention.output.LayerNorm",
            "expand": "intermediate.dense",
            "project": "output.dense",
            "output_norm": "output.LayerNorm",
        },
    ),
    (
        "transformer.layer",
        {
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "output": "attention.out_lin",
            "attention_norm": "sa_layer_norm",
            "expand": "ffn.lin1",
            "project": "ffn.lin2",
            "output_norm": "output_layer_norm",
        },
    ),
    (  # normalises before each part where the others, and students, do so behind it: see `read_layouts`
        "encoder.layer",
        {
            "query": "attention.attention.query",
            "key": "attention.attention.key",
            "value": "attention.attention.value",
            "output": "attention.output.dense",
            "attention_norm": "layernorm_after",
            "expand": "intermediate.dense",
            "project": "output.dense",
            "output_norm": "layernorm_before",
        },
    ),
)


def inherit_text(student: TextEncoder, teacher: nn.Module, kept_tokens: list[int]) -> dict:
    """Fills `student` from the first BERT-like encoder inside `teacher`; `kept_tokens[i]` is the teacher's id of token i.

    Raises: RecipeError when there is none, or when the student is larger than it in any direction.
    """
    body, embeddings, layers = check_inherit(student, teacher)
    words = embeddings.word_embeddings.weight.detach()[kept_tokens]  # (V', D)
    channels = top(words.var(0), student.width)
    places = embeddings.position_embeddings.weight.detach()[: student.positions.shape[0]]  # (T, D)
    if hasattr(embeddings, "token_type_embeddings"):  # DistilBERT has none
        places = places + embeddings.token_type_embeddings.weight.detach()[0]
    picked = torch.linspace(0, len(layers) - 1, len(student.layers)).round().int().tolist()
    with torch.no_grad():
        student.words.weight.copy_(words[:, channels])
        student.positions.copy_(places[:, channels])
        copy_norm(student.norm, embeddings.LayerNorm, channels)
        for layer, index in zip(student.layers, picked, strict=True):
            copy_layer(layer, layers[index], channels, source_heads=body.config.num_attention_heads)
    return {"teacher_layers": picked, "channels": student.width, "teacher_channels": words.shape[1]}


def inherit_bag(student: Bag, teacher: nn.Module, kept_tokens: list[int]) -> dict:
    """Fills the bag's word vectors with those of the first BERT-like encoder inside `teacher`, along the directions in which they differ most.

    Formula: (w - mean) V / deviation, V (D, D') the first principal directions of the kept words. Raises: RecipeError as `inherit_text`.
    """
    words = check_bag(student, teacher).detach()[kept_tokens]  # (V', D)
    centred = (words - words.mean(0)).double()
    directions = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, : student.width]  # (D, D'), the largest first
    turned = centred @ directions
    with torch.no_grad():
        student.words.weight.copy_(turned / turned.std().clamp(min=1e-12))
        student.words.weight[0] = 0
    return {"teacher_layers": [], "channels": student.width, "teacher_channels": words.shape[1]}


def check_bag(student: Bag, teacher: nn.Module) -> Tensor:
    """The teacher's word vectors (V, D), if the bag can start from them; raises RecipeError where it cannot."""
    words: Tensor = find_bert(teacher)[1].word_embeddings.weight
    if student.width > words.shape[1]:
        raise RecipeError(
            f"student.encoders.text.options.width: {student.width} cannot be picked from the teacher's {words.shape[1]}; "
            "make it smaller or set student.encoders.text.initialise: random"
        )
    return words


def check_inherit(student: TextEncoder, teacher: nn.Module) -> tuple[Any, Any, list[Parts]]:
    """What `find_bert` finds, if the student can be picked from it; raises RecipeError where it cannot. Weights are not looked at."""
    found = find_bert(teacher)
    check_sizes(student, *found[1:])
    return found


def find_bert(teacher: nn.Module) -> tuple[Any, Any, list[Parts]]:
    """The first module with BERT's embeddings and layers, its embeddings of texts, and the parts of its layers.

    Raises: RecipeError for a teacher without one.
    """
    for module in teacher.modules():
        embeddings = getattr(module, "embeddings", None)
        embeddings = getattr(embeddings, "text_embeddings", embeddings)  # ViLT has others for images
        words = getattr(embeddings, "word_embeddings", None)
        if words is None or not hasattr(embeddings, "position_embeddings"):
            continue
        for layers in read_layouts(module):
            if layers[0]["query"].in_features == words.embedding_dim:  # otherwise the stream has other channels than the words
                return module, embeddings, layers
    raise RecipeError("student.encoders.text.initialise: the teacher has no BERT-like text encoder to pick layers from; set it to random")


def read_layouts(module: nn.Module) -> Iterator[list[Parts]]:
    """The layers of a module, for each of LAYOUTS that it has.

    What ViLT normalises before a part stands for what a student normalises behind the part before: a layer's last norm is the next one's first.
    """
    for place, names in LAYOUTS:
        try:
            layers = [{ours: attrgetter(theirs)(layer) for ours, theirs in names.items()} for layer in attrgetter(place)(module)]
            if names["output_norm"] == "layernorm_before":
                norms = [*(layer["output_norm"] for layer in layers[1:]), attrgetter("layernorm")(module)]
                layers = [{**layer, "output_norm": norm} for layer, norm in zip(layers, norms, strict=True)]
        except AttributeError:
            continue
        yield layers


def check_sizes(student: TextEncoder, embeddings: Any, layers: list[Parts]) -> None:
    """Raises RecipeError unless everything that the student has can be picked from the teacher."""
    sizes = {
        "student.encoders.text.options.layers": (len(student.layers), len(layers)),
        "student.encoders.text.options.width": (student.width, embeddings.word_embeddings.embedding_dim),
        "student.encoders.text.options.feedforward": (
            student.layers[0].get_parameter("expand.weight").shape[0],
            layers[0]["expand"].out_features,
        ),
        "data.inputs.text.length": (student.positions.shape[0], embeddings.position_embeddings.num_embeddings),
    }
    problems = [
        f"{place}: {wanted} cannot be picked from the teacher's {there}" for place, (wanted, there) in sizes.items() if wanted > there
    ]
    if problems:
        raise RecipeError([f"{problem}; make it smaller or set student.encoders.text.initialise: random" for problem in problems])


def copy_layer(layer: Any, source: Parts, channels: Tensor, *, source_heads: int) -> None:
    """One transformer layer: `channels` (D') of the stream, the strongest heads and neurons."""
    attention, output = layer.attention, source["output"]
    inside = pick_heads(output.weight, source_heads, heads=attention.heads, width=attention.head_width)  # rows of q, k, v
    for part, name in enumerate(("query", "key", "value")):
        copy_linear(attention.inputs, source[name], inside, channels, start=part * len(inside))
    copy_linear(attention.output, output, channels, inside)
    neurons = top(source["expand"].weight.norm(dim=1) * source["project"].weight.norm(dim=0), layer.expand.out_features)
    copy_linear(layer.expand, source["expand"], neurons, channels)
    copy_linear(layer.project, source["project"], channels, neurons)
    copy_norm(layer.attention_norm, source["attention_norm"], channels)
    copy_norm(layer.output_norm, source["output_norm"], channels)


def pick_heads(output: Tensor, source_heads: int, *, heads: int, width: int) -> Tensor:
    """Which of the teacher's attention channels stand for `heads` heads of `width` channels, head after head: (heads * width,).

    `output`: (D, D) weight behind the teacher's heads. Each head takes the first channels of one of the strongest; heads wider than
    the teacher's take several of them, and more heads than the teacher has share its heads' channels.
    """
    per_head = output.shape[1] // source_heads
    strength = output.norm(dim=0).view(-1, per_head).norm(dim=1)  # (source_heads,)
    if width > per_head:
        chosen = top(strength, -(-heads * width // per_head))
        return (chosen[:, None] * per_head + torch.arange(per_head)).flatten()[: heads * width]
    chosen = top(strength, min(heads, source_heads))
    index = torch.arange(heads)
    first = index // len(chosen) * width  # 0 but for heads beyond the teacher's number
    return (chosen[index % len(chosen), None] * per_head + (first[:, None] + torch.arange(width)) % per_head).flatten()


def copy_linear(target: nn.Linear, source: nn.Linear, rows: Tensor, columns: Tensor, *, start: int = 0) -> None:
    """Rows and columns of a weight, into the rows from `start` on; scaled so that a sum over fewer inputs keeps its size."""
    share = source.weight.shape[1] / len(columns)
    target.weight[start : start + len(rows)] = source.weight[rows][:, columns] * share**0.5
    target.bias[start : start + len(rows)] = source.bias[rows]


def copy_norm(target: nn.LayerNorm, source: nn.LayerNorm, channels: Tensor) -> None:
    """Scale and shift of the chosen channels."""
    target.weight.copy_(source.weight[channels])
    target.bias.copy_(source.bias[channels])


def top(values: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest, ascending."""
    return values.topk(count).indices.sort().values
