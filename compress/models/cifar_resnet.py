"""ResNets for 32x32 images (arXiv 1512.03385, section 4.2): a teacher whose weights come as a file."""

from __future__ import annotations

from torch import Tensor, nn

from compress.io_spec import IOSpec
from compress.models.classifier import Classifier, LinearHead
from compress.models.layers import Pixels
from compress.models.vision import DEVIATION, MEAN


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (every second pixel, new channels are zero)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.stride, self.extra = stride, out - channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.extra:
            x = x[:, :, :: self.stride, :: self.stride]
            x = nn.functional.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return (x + y).relu()


class CifarResNet(nn.Module):
    """Three groups of blocks with 16, 32 and 64 channels: (N, H, W, 3) uint8 -> (N, 64)."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.pixels = Pixels(MEAN, DEVIATION)
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(*(BasicBlock(first if i == 0 else out, out, stride if i == 0 else 1) for i in range(blocks)))
            for first, out, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        )
        self.width = 64

    def forward(self, image: Tensor) -> Tensor:
        x = self.bn1(self.conv1(self.pixels(image))).relu()
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))


def cifar_resnet(io: IOSpec, *, depth: int = 56) -> nn.Module:
    """ResNet of `depth` layers (20, 32, 44, 56, 110) for small images; published weights name the head `linear`."""
    return Classifier({"image": CifarResNet(depth)}, LinearHead("image", 64, io.outputs[0].shape[0]))


def rename_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published names (`module.layer1...`, `linear.weight`) -> ours."""
    names = {k: k.removeprefix("module.") for k in state}
    return {
        (f"head.output.{n.removeprefix('linear.')}" if n.startswith("linear.") else f"encoders.image.{n}"): state[k]
        for k, n in names.items()
    }
