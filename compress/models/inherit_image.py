"""Initialising a narrow, shallow image encoder from a larger one of the same family: its channels and blocks are picked, then fitted.

Picked are the channels that are written and read with the largest weights (of a stream, over all of its blocks), and the blocks that add
most. Compared with other ways in benchmarks/image_students.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.models.inherit import top
from compress.models.inverted_residual import InvertedResidual, InvertedResidualNet, fold_pixels
from compress.models.layers import ConvNorm, Pixels
from compress.models.refit import Part, Stretch, refit
from compress.models.saved import load_model

PLACE = "student.encoders.image.options"
WORD = "student.encoders.image.initialise"
Importance = Callable[[Sequence[ConvNorm], Sequence[ConvNorm]], Tensor]  # layers that write some channels, layers that read them -> (C,)


def start_image(encoder: Any, how: str, teacher: Path, images: np.ndarray, colours: tuple = ()) -> dict | None:
    """Gives a fresh encoder its first weights: "random", "pretrained", or "teacher" (a model folder); tells what was picked.

    images: (N, H, W, 3) uint8 of the data; colours: mean and deviation that an encoder from a folder expects. Raises: RecipeError where there is nothing of the encoder's family to start from.
    """
    if how == "random":
        return None
    if how == "pretrained" and not isinstance(encoder, InvertedResidualNet):
        if not hasattr(encoder, "load_pretrained"):
            raise RecipeError(f"{WORD}: {type(encoder).__name__} has no published weights; set it to random")
        encoder.load_pretrained(*colours)
        return {"whole": True}
    source = encoder.pretrained() if how == "pretrained" else check_inherit(encoder, load_model(teacher))
    return inherit_image(encoder, source, torch.from_numpy(np.array(images)))


def first_parts(encoder: Any, blocks: int) -> list[nn.Module]:
    """An encoder's stem and its first `blocks`. Raises RecipeError where it has no such parts, or no block would be left."""
    parts = [encoder.stem, *encoder.tunable()] if hasattr(encoder, "stem") and hasattr(encoder, "tunable") else []
    if blocks > len(parts) - 2:
        most = f"at most {len(parts) - 2} of its blocks can be frozen" if parts else "it has no blocks that can be frozen; set it to 0"
        raise RecipeError(f"student.encoders.image.freeze: {blocks} of a {type(encoder).__name__}: {most}")
    return parts[: blocks + 1]


def check_inherit(encoder: Any, teacher: nn.Module) -> InvertedResidualNet:
    """The encoder inside the teacher that `encoder` can be picked from; raises RecipeError where it cannot. Weights are not looked at."""
    source = find_source(teacher)
    if not isinstance(encoder, InvertedResidualNet):
        raise RecipeError(
            f"{WORD}: a {type(encoder).__name__} cannot be picked from another encoder; take mobilenet_v2, or set it to random"
        )
    check_sizes(encoder, source)
    return source


def find_source(teacher: nn.Module) -> InvertedResidualNet:
    """The first encoder inside the teacher that channels can be picked from; RecipeError where there is none."""
    for module in teacher.modules():
        if isinstance(module, InvertedResidualNet):
            return module
        if type(module).__name__ == "MobileNetV2Model":  # of a teacher from transformers
            from compress.models.transformers_cnn import convert

            source = convert(copy.deepcopy(module), 0, exact=False)
            pixels = next(m for m in teacher.modules() if isinstance(m, Pixels))
            fold_pixels(source.stem, pixels.mean, pixels.deviation)
            return source
    raise RecipeError(f"{WORD}: the teacher has no image encoder that a student can be picked from; set it to pretrained or random")


@torch.no_grad()
def inherit_image(student: InvertedResidualNet, source: InvertedResidualNet, images: Tensor) -> dict:
    """Fills `student` from `source`; images: (N, H, W, 3) uint8 of the data, on which the layers are fitted where something was left out.

    Raises: RecipeError where the student is larger than the source in some direction, or of another family.
    """
    check_sizes(student, source)
    source = copy.deepcopy(source).eval()
    stretches = pick(student, source)
    kept = [[group.index(s.theirs) for s in stretches if s.theirs in group] for group in source.blocks()]
    parts = [part for stretch in stretches for part in stretch.parts]
    smaller = any(stretch.skipped for stretch in stretches) or any(len(part.rows) < part.theirs.conv.out_channels for part in parts)
    if smaller:
        refit(student, source, stretches, images)
    return {"features": student.width, "source_features": source.width, "blocks": kept, "images": len(images) if smaller else 0}


def by_weights(writers: Sequence[ConvNorm], readers: Sequence[ConvNorm]) -> Tensor:
    """(C,) ||weights that write the channel||^2 * ||weights that read it||^2, each summed over the layers; where none reads, the first alone."""
    written = torch.stack([layer.conv.weight.square().sum((1, 2, 3)) for layer in writers]).sum(0)
    read = [layer.conv.weight.square().sum((1, 2, 3) if layer.conv.groups > 1 else (0, 2, 3)) for layer in readers]
    return written * torch.stack(read).sum(0) if read else written


@torch.no_grad()
def pick(student: InvertedResidualNet, source: InvertedResidualNet, *, importance: Importance = by_weights) -> list[Stretch]:
    """Copies the picked channels of the picked blocks; gives what stands for what, in the order of the forward pass.

    A depthwise layer has the channels of the layer before it; a stream has the same ones in all blocks of its group. `source` is changed: it
    takes the student's strides.
    """
    own, theirs = student.blocks(), source.blocks()
    kept = [pick_blocks(group, len(mine)) for group, mine in zip(theirs, own, strict=True)]
    stay = [[group[i] for i in which] for group, which in zip(theirs, kept, strict=True)]
    entrances = [*(group[0].expand or group[0].depthwise for group in stay), source.last]
    stream = pick_stem(student, source, stay[0][0], importance)
    stretches = [Stretch(student.stem, source.stem, [Part(student.stem, source.stem, stream)], [])]
    skipped: list[Any] = []
    for g, group in enumerate(theirs):
        readers = [*(block.expand for block in stay[g][1:]), entrances[g + 1]]
        out = top(importance([block.project for block in stay[g]], readers), own[g][0].project.conv.out_channels)
        for index, block in enumerate(group):
            if index in kept[g]:
                mine = own[g][kept[g].index(index)]
                stretches.append(pick_block(mine, block, stream, out, importance=importance, skipped=skipped))
                stream, skipped = out, []
            else:
                skipped.append(block)
    features = top(importance([source.last], []), student.width)
    stretches.append(Stretch(student.last, source.last, [Part(student.last, source.last, features, stream)], skipped))
    for part in (part for stretch in stretches for part in stretch.parts):
        copy_layer(part)
    return stretches


def pick_stem(student: InvertedResidualNet, source: InvertedResidualNet, first: InvertedResidual, importance: Importance) -> Tensor:
    """The channels of the stem; a first block without expansion works on the same ones."""
    scores = importance([source.stem], [first.expand]) if first.expand else importance([source.stem, first.depthwise], [first.project])
    return top(scores, student.stem.conv.out_channels)


def pick_block(own: Any, theirs: Any, stream: Tensor, out: Tensor, *, importance: Importance, skipped: list[Any]) -> Stretch:
    """One block: `stream` and `out` are the channels that it reads and writes, those inside it are picked here."""
    hidden, parts = stream, []
    if theirs.expand is not None:
        hidden = top(importance([theirs.depthwise], [theirs.project]), own.depthwise.conv.out_channels)
        parts.append(Part(own.expand, theirs.expand, hidden, stream))
    parts += [Part(own.depthwise, theirs.depthwise, hidden), Part(own.project, theirs.project, out, hidden)]
    return Stretch(own, theirs, parts, skipped)


def pick_blocks(blocks: list[Any], count: int) -> list[int]:
    """The first block of a group, which brings its width, and those of the others that add most: the largest norm scales at their end."""
    added = torch.stack([block.project.norm.weight.detach().square().sum() for block in blocks])
    added[0] = torch.inf
    return top(added, count).tolist()


def copy_layer(part: Part) -> None:
    """Weights and norm of the picked channels."""
    own, theirs = part.own, part.theirs
    weight = theirs.conv.weight[part.rows]
    own.conv.weight.copy_(weight if part.columns is None else weight[:, part.columns])
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(own.norm, name).copy_(getattr(theirs.norm, name)[part.rows])
    own.norm.running_var.add_(theirs.norm.eps - own.norm.eps)  # variance and eps only ever stand together
    theirs.conv.stride = own.conv.stride


def check_sizes(student: InvertedResidualNet, source: InvertedResidualNet) -> None:
    """Raises RecipeError unless everything that the student has can be picked from the source."""
    if student.kernels != source.kernels:
        raise RecipeError(
            f"{WORD}: a {type(student).__name__} cannot be picked from a {type(source).__name__}; "
            "take the source's own family as student.encoders.image.model, or set it to random"
        )
    pairs = [("width", student.stem.conv.out_channels, source.stem.conv.out_channels), ("out", student.width, source.width)]
    for own, theirs in zip(student.blocks(), source.blocks(), strict=True):
        mine, other = own[0], theirs[0]
        pairs.append(("depth", len(own), len(theirs)))
        pairs.append(("width", mine.project.conv.out_channels, other.project.conv.out_channels))
        pairs.append(("expand", mine.depthwise.conv.out_channels, other.depthwise.conv.out_channels))
    names = {"depth": "blocks of a group", "out": "features"}
    problems = [
        f"{PLACE}.{option}: {wanted} {names.get(option, 'channels')} cannot be picked from {there}; make it smaller or set {WORD}: random"
        for option, wanted, there in pairs
        if wanted > there
    ]
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
