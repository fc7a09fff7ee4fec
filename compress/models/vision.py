"""MobileNet-style image encoders: raw pixels (N, H, W, 3) uint8 -> features (N, D) float32.

ReLU and no squeeze-excite, because that is what gains from int8; blocks are MobileNetV4's universal inverted bottleneck
(arXiv 2404.10518, section 3).
"""

from __future__ import annotations

from torch import Tensor, nn

from compress.io_spec import Port
from compress.models.layers import ConvNorm, Pixels, Sum
from compress.models.maps import Maps, map_by_map
from compress.models.tokens import Tokens, map_tokens

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, for weights that were trained with them
CENTRE, SPREAD = (128 / 255,) * 3, (64 / 255,) * 3  # near ImageNet's, and pixels stay on int8's grid: (pixel - 128) / 64

# (channels, expansion, stride, kernel of the depthwise convolution before the expansion or 0, kernel of the one inside or 0)
STAGES = (
    (48, 3, 2, 5, 5),  # extra depthwise
    (48, 2, 1, 0, 3),  # inverted bottleneck
    (48, 2, 1, 3, 0),  # ConvNext-like
    (64, 4, 2, 0, 3),
    (64, 2, 1, 0, 3),
    (64, 2, 1, 0, 0),  # feed-forward
)


def scale_channels(channels: int, width: float) -> int:
    """`channels * width`, rounded to a multiple of 8, because that is what vector units and TensorRT's int8 tiles want."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


class UniversalBottleneck(nn.Module):
    """Optional depthwise, expansion, optional depthwise, projection; the input is added where shapes agree."""

    def __init__(self, channels: int, out: int, *, expansion: float, stride: int, before: int, inside: int) -> None:
        super().__init__()
        wide = round(channels * expansion)
        early = stride if not inside else 1  # the stride goes to the depthwise inside the expansion if there is one
        body: list[nn.Module] = []
        if before:
            body.append(ConvNorm(channels, channels, kernel=before, stride=early, groups=channels, relu=False))
        body.append(ConvNorm(channels, wide))
        if inside:
            body.append(ConvNorm(wide, wide, kernel=inside, stride=stride, groups=wide))
        body.append(ConvNorm(wide, out, relu=False))
        self.body = nn.Sequential(*body)
        self.sum = Sum() if stride == 1 and channels == out else None

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if self.sum is None else self.sum(x, self.body(x))


class MobileNetV4(nn.Module):
    """Stem, one plain convolution, universal bottlenecks, 1x1 convolution, mean over the pixels."""

    def __init__(self, *, width: float, depth: int, stem_stride: int, out: int, expand: float, kernel: int | None = None) -> None:
        super().__init__()
        stem, early = scale_channels(16, width), scale_channels(24, width)
        self.pixels = Pixels(CENTRE, SPREAD)
        layers: list[nn.Module] = [ConvNorm(3, stem, kernel=3, stride=stem_stride), ConvNorm(stem, early, kernel=3, stride=2)]
        channels = early
        for base, expansion, stride, before, inside in STAGES:
            for _ in range(1 if stride == 2 else depth):
                wide, sides = scale_channels(base, width), (kernel or before if before else 0, kernel or inside if inside else 0)
                block = UniversalBottleneck(channels, wide, expansion=expansion * expand, stride=stride, before=sides[0], inside=sides[1])
                layers.append(block)
                channels = wide
        layers.append(ConvNorm(channels, out))
        self.body = nn.Sequential(*layers)
        self.width = out

    def forward(self, image: Tensor, *, tokens: bool = False, maps: bool = False) -> Tensor | Tokens | Maps:
        x = self.pixels(image)
        if maps:
            stem, *layers = self.body
            return map_by_map(stem(x), layers)
        x = self.body(x)  # (N, D, H/8s, W/8s)
        return map_tokens(x) if tokens else x.mean((2, 3))


def mobilenet_v4(
    port: Port,
    *,
    width: float = 1.0,
    depth: int = 1,
    stem_stride: int = 2,
    out: int = 128,
    expand: float = 1.0,
    kernel: int | None = None,
) -> nn.Module:
    """A small MobileNetV4-style encoder: `width` multiplies channels, `expand` those inside blocks, `depth` repeats blocks, `out` is D.

    `kernel` is the side of every depthwise convolution, odd; None: 5 in the first block, 3 in the others.
    Total stride is 8 * stem_stride: use stem_stride 1 for 32x32 images, 2 from 64x64 on. 100 k parameters at width 1.
    """
    return MobileNetV4(width=width, depth=depth, stem_stride=stem_stride, out=out, expand=expand, kernel=kernel)
