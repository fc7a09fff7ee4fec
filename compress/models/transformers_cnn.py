"""Convolutional image encoders of transformers, laid out again in layers that the quantizer folds and quantizes: MobileNetV1, V2, ResNet.

TensorFlow's "same" padding is kept exactly: where it pads unevenly, the kernel gets a row and a column of zeros. Norms take torch's momentum,
because transformers hands on TensorFlow's, with which running statistics are those of the last batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import DependencyError, RecipeError
from compress.io_spec import Port
from compress.models.hub import fetch
from compress.models.inverted_residual import InvertedResidualNet, fold_pixels
from compress.models.layers import ConvNorm, MaxPool, Pixels, Sum
from compress.models.maps import Maps, map_by_map
from compress.models.mobilenet_v2 import GROUPS, MobileNetV2
from compress.models.pretrained import load_transformers
from compress.models.tokens import Tokens, map_tokens
from compress.models.vision import CENTRE, SPREAD

PLACE = "student.encoders.image.options"
ACTIVATIONS: dict[str, type[nn.Module]] = {"ReLU": nn.ReLU, "ReLU6": nn.ReLU6, "Identity": nn.Identity, "NoneType": nn.Identity}
MOMENTUM = 0.1  # of batch norms, torch's own


class TransformersCnn(nn.Module):
    """Raw pixels (N, H, W, 3) uint8 -> the mean over the last map (N, D)."""

    def __init__(self, model: nn.Module, *, size: int, options: dict[str, Any], folder: Path | None) -> None:
        super().__init__()
        self.net: Any = convert(model, size)
        self.size, self.width, self.folder = size, self.net.width, folder
        self.rebuilt_with = options  # where its folder is not

    def forward(self, image: Tensor, *, tokens: bool = False, maps: bool = False) -> Tensor | Tokens | Maps:
        return self.net(image, tokens=tokens, maps=maps)

    def load_pretrained(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        """Reads the folder's weights, and folds into the first layer what its processor does to pixels: mean and deviation, of 0 to 1."""
        if self.folder is None:
            raise RecipeError(f"{PLACE}: there are no weights without a folder or an id")
        net = convert(open_weights(self.folder), self.size)
        fold_pixels(net.stem, tuple(mean), tuple(deviation))  # type: ignore[arg-type]
        self.net.load_state_dict(net.state_dict())


class Chain(nn.Module):
    """Pixels, a stem, the layers behind it, and the mean over the last map."""

    def __init__(self, stem: ConvNorm, body: nn.Sequential, width: int) -> None:
        super().__init__()
        self.pixels = Pixels(CENTRE, SPREAD)
        self.stem, self.body, self.width = stem, body, width

    def forward(self, image: Tensor, *, tokens: bool = False, maps: bool = False) -> Tensor | Tokens | Maps:
        x = self.stem(self.pixels(image))
        if maps:
            return map_by_map(x, self.body)
        x = self.body(x)
        return map_tokens(x) if tokens else x.mean((2, 3))


class Residual(nn.Module):
    """Layers whose input, changed by a 1x1 convolution where shapes differ, is added to what they give, and ReLU."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.sum = body, shortcut, Sum(relu=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.sum(self.body(x), self.shortcut(x))


def transformers_cnn(
    port: Port,
    *,
    folder: str | None = None,
    id: str | None = None,
    revision: str | None = None,
    config: dict | None = None,
) -> nn.Module:
    """MobileNetV1, V2 or ResNet of transformers: a `folder` of save_pretrained, or a hub `id` at a pinned `revision` (40 hex digits).

    `config` is config.json's content, for an architecture with random weights and no folder.
    """
    place = Path(folder) if folder else fetch(id, revision) if id and revision else None
    transformers = load_transformers()
    if config is None:
        if place is None or not (place / "config.json").is_file():
            raise RecipeError(
                f"{PLACE}: {place or 'no folder'}: give a folder with config.json, as save_pretrained writes it, or id and revision"
            )
        config = transformers.AutoConfig.from_pretrained(place).to_dict()
    config = {name: value for name, value in config.items() if name not in ("_name_or_path", "transformers_version")}
    kind = config.get("model_type")
    refuse_unknown(str(kind))
    made = transformers.AutoConfig.for_model(**config)
    model = transformers.AutoModel.from_config(made, dtype=torch.float32)
    return TransformersCnn(model, size=port.shape[0], options={"config": config}, folder=place)


def open_weights(folder: Path) -> nn.Module:
    """The model in a folder without its classifier, in float32 and in eval mode. Raises DependencyError where weights are missing."""
    from safetensors import SafetensorError

    settings = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    try:
        model, found = load_transformers().AutoModel.from_pretrained(folder, **settings)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise DependencyError(f"{PLACE}: cannot load {folder}: {first}; a folder needs config.json and model.safetensors, whole") from error
    if absent := sorted(found["missing_keys"]):  # transformers fills them with random numbers
        raise DependencyError(f"{PLACE}: {folder}: the weights lack {len(absent)} of the model's parts, such as {absent[:3]}")
    return model.eval()


def refuse_unknown(kind: str) -> None:
    """Raises RecipeError, with what stands in the way, for an architecture that has no form here."""
    if kind in LAYOUTS:
        return
    why = (
        "its squeeze-excite and SiLU run in no int8 kernel"
        if kind == "efficientnet"
        else "this architecture has no form in int8 layers here"
    )
    raise RecipeError(f"{PLACE}: {kind}: {why}; there are {', '.join(LAYOUTS)}")


def convert(model: Any, size: int, *, exact: bool = True) -> Any:
    """The same function of `size` pixels a side in our layers, which hold the model's own convolutions and norms.

    `exact`: uneven padding is kept by larger kernels; otherwise it is made even, and all kernels stay as they are.
    """
    refuse_unknown(model.config.model_type)
    return LAYOUTS[model.config.model_type](model, Sides(size, exact))


class Sides:
    """Turns one layer after the other, and knows the side of the map that reaches it."""

    def __init__(self, size: int, exact: bool) -> None:
        self.size, self.exact = size, exact

    def layer(self, theirs: Any) -> ConvNorm:
        """Convolution, norm and activation of transformers (`convolution`, `normalization`, `activation`) as one of our layers."""
        name = type(getattr(theirs, "activation", None)).__name__
        if name not in ACTIVATIONS or theirs.normalization is None:
            lacks = f"activation {name}" if name not in ACTIVATIONS else "a convolution without norm"
            raise RecipeError(f"{PLACE}: {type(theirs).__name__} has {lacks}, which runs in no int8 kernel here; ReLU and ReLU6 do")
        made: Any = ConvNorm(1, 1)
        made.conv, made.norm, made.act = theirs.convolution, theirs.normalization, ACTIVATIONS[name]()
        made.norm.momentum = MOMENTUM
        if getattr(getattr(theirs, "config", None), "tf_padding", False):
            pad_same(made.conv, self.size, exact=self.exact)
        conv = made.conv
        self.size = (self.size + 2 * conv.padding[0] - conv.dilation[0] * (conv.kernel_size[0] - 1) - 1) // conv.stride[0] + 1
        return made


@torch.no_grad()
def pad_same(conv: nn.Conv2d, size: int, *, exact: bool) -> None:
    """Gives a convolution without padding TensorFlow's "same" padding for maps of `size` pixels a side.

    Before the map it pads p // 2 and behind it p - p // 2. Where these differ by one, both become the larger, and the kernel begins with a row
    and a column of zeros, which read the pixels that were added.
    """
    kernel, stride = conv.dilation[0] * (conv.kernel_size[0] - 1) + 1, conv.stride[0]
    total = max(kernel - (stride if size % stride == 0 else size % stride), 0)
    after = total - total // 2
    conv.padding = (after, after)
    if exact and after != total // 2:
        conv.weight = nn.Parameter(nn.functional.pad(conv.weight, (1, 0, 1, 0)))
        conv.kernel_size = (conv.kernel_size[0] + 1, conv.kernel_size[1] + 1)


def _mobilenet_v1(model: Any, maps: Sides) -> Chain:
    stem = maps.layer(model.conv_stem)
    body = nn.Sequential(*(maps.layer(layer) for layer in model.layer))
    return Chain(stem, body, model.layer[-1].convolution.out_channels)


def _mobilenet_v2(model: Any, maps: Sides) -> InvertedResidualNet:
    """A MobileNetV2 of ours, so that a narrower one can be picked from it."""
    if model.conv_stem.expand_1x1 is not None:
        raise RecipeError(f"{PLACE}: first_layer_is_expansion is false, and that first layer has no place here")
    net: Any = MobileNetV2(GROUPS, stem=8, width=0.01, expand=1.0, depth=1.0, stride=32, out=8)  # its layers are replaced
    net.stem = maps.layer(model.conv_stem.first_conv)
    theirs = [model.conv_stem, *model.layer]
    for ours, block in zip((block for group in net.blocks() for block in group), theirs, strict=True):
        ours.expand = maps.layer(block.expand_1x1) if block.expand_1x1 is not None else None
        ours.depthwise, ours.project = maps.layer(block.conv_3x3), maps.layer(block.reduce_1x1)
        ours.sum = Sum() if getattr(block, "use_residual", False) else None
    net.last = maps.layer(model.conv_1x1)
    net.width = net.last.conv.out_channels
    return net


def _resnet(model: Any, maps: Sides) -> Chain:
    blocks: list[nn.Module] = [MaxPool(3, 2, 1)]
    for stage in model.encoder.stages:
        for layer in stage.layers:
            if type(layer.activation).__name__ != "ReLU":
                raise RecipeError(
                    f"{PLACE}: activation {type(layer.activation).__name__} behind a sum runs in no int8 kernel here; ReLU does"
                )
            whole = isinstance(layer.shortcut, nn.Identity)
            blocks.append(Residual(nn.Sequential(*map(maps.layer, layer.layer)), nn.Identity() if whole else maps.layer(layer.shortcut)))
    return Chain(maps.layer(model.embedder.embedder), nn.Sequential(*blocks), model.config.hidden_sizes[-1])


LAYOUTS = {"mobilenet_v1": _mobilenet_v1, "mobilenet_v2": _mobilenet_v2, "resnet": _resnet}
