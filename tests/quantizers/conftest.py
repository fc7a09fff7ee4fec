"""A student of a few layers with everything a quantizer must handle: depthwise and strided convolutions, a residual sum, text, a head."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compress.models.layers import ConvNorm, Pixels, Sum
from compress.recipe.sections import Quantize

CLASSES, TOKENS, VOCABULARY, PIXELS = 5, 6, 23, 16


class ImageEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pixels = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self.stem = ConvNorm(3, 8, kernel=3, stride=2)
        self.depthwise = ConvNorm(8, 8, kernel=3, groups=8)
        self.project = ConvNorm(8, 8, relu=False)
        self.sum = Sum()
        self.last = ConvNorm(8, 16)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(self.pixels(image))
        return self.last(self.sum(x, self.project(self.depthwise(x)))).mean((2, 3))


class TextEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, 16, padding_idx=0)
        self.norm = nn.LayerNorm(16)
        self.query, self.key, self.value, self.mix = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, text: Tensor) -> Tensor:
        x = self.norm(self.words(text))
        bias = (text == 0).float()[:, None, :] * -1e4  # (M, 1, T)
        attention = (self.query(x) @ self.key(x).transpose(1, 2) / 4 + bias).softmax(-1)
        return self.mix(nn.functional.gelu(attention @ self.value(x))).mean(1)


class Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({"image": ImageEncoder(), "text": TextEncoder()})
        self.head = nn.Linear(16, CLASSES)

    def forward(self, inputs: dict[str, Tensor], rows: dict[str, Tensor] | None = None) -> Tensor:
        features = {m: encoder(inputs[m]) for m, encoder in self.encoders.items()}
        if rows is not None:
            features = {m: x[rows[m]] for m, x in features.items()}
        return self.head(features["image"] * features["text"])


def draw_inputs(batch: int, *, seed: int) -> dict[str, Tensor]:
    """Random pixels (B, H, W, 3) uint8 and tokens (B, T) int64 with padding."""
    chance = torch.Generator().manual_seed(seed)
    text = torch.randint(1, VOCABULARY, (batch, TOKENS), generator=chance)
    text[:, TOKENS - 1] = 0
    return {"image": torch.randint(0, 256, (batch, PIXELS, PIXELS, 3), generator=chance, dtype=torch.uint8), "text": text}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def draw() -> Callable[..., dict[str, Tensor]]:
    return draw_inputs


@pytest.fixture(scope="session")
def batches() -> list:
    return [(draw_inputs(16, seed=seed), None) for seed in range(4)]


@pytest.fixture(scope="session")
def make_student() -> Callable[[], nn.Module]:
    """Builds a student whose batch norms have statistics and weights that are not the initial ones."""

    def make() -> nn.Module:
        torch.manual_seed(0)
        model = Student()
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
            norm.momentum = 0.3
        nn.init.normal_(model.head.weight, std=1.0)
        for seed in range(10):
            model(draw_inputs(16, seed=100 + seed))
        return model.eval()

    return make


@pytest.fixture(scope="session")
def config() -> Callable[..., Quantize]:
    return lambda **changes: Quantize(**changes)
