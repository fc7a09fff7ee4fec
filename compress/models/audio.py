"""Small audio encoders: raw samples (N, T) int16 -> features (N, D) float32; the log-mel spectrogram is the first part of the graph.

Behind it, depthwise separable convolutions (DS-CNN, arXiv 1711.07128, section 3) of layers that the quantizer folds and quantizes.
"""

from __future__ import annotations

from torch import Tensor, nn

from compress.errors import RecipeError
from compress.io_spec import Port
from compress.models.layers import ConvNorm
from compress.models.log_mel import LogMel
from compress.models.tokens import Tokens, map_tokens


class DepthwiseSeparable(nn.Module):
    """Log-mel, a strided stem, depthwise and pointwise convolutions in turns, mean over bands and frames."""

    def __init__(self, front: LogMel, *, width: int, blocks: int, out: int) -> None:
        super().__init__()
        self.front = front
        layers: list[nn.Module] = [ConvNorm(1, width, kernel=5, stride=2)]
        channels = width
        for index in range(blocks):
            layers += [ConvNorm(channels, channels, kernel=3, stride=1 if index else 2, groups=channels), ConvNorm(channels, 2 * width)]
            channels = 2 * width
        layers.append(ConvNorm(channels, out))
        self.body = nn.Sequential(*layers)
        self.width = out

    def forward(self, audio: Tensor, *, tokens: bool = False) -> Tensor | Tokens:
        x = self.body(self.front(audio))  # (N, D, M/4, F/4)
        return map_tokens(x.mean(2, keepdim=True)) if tokens else x.mean((2, 3))


def ds_cnn(
    port: Port, *, width: int = 32, blocks: int = 4, out: int = 128, mels: int = 40, hop_ms: float = 16, centre: bool = False
) -> nn.Module:
    """A DS-CNN over `mels` bands every `hop_ms` (frames are two hops): a stem of `width` channels, `blocks` of twice as many, `out` is D.

    `centre` takes each band's mean over the frames away: for speech, through microphones that were never heard; not for lasting sounds.
    27 k parameters as it stands, and 111 kB of fixed float32 weights for the spectrogram at 8 kHz, four times that at 16 kHz.
    """
    rate = sample_rate(port)
    hop = 2 * round(rate * hop_ms / 2000)
    if hop < 2 or port.shape[0] < 2 * hop:
        raise RecipeError(
            f"student.encoders.{port.name}.options: a frame of two hops of {hop_ms:g} ms does not fit into {1000 * port.shape[0] / rate:g} ms"
        )
    return DepthwiseSeparable(LogMel(rate=rate, hop=hop, mels=mels, centre=centre), width=width, blocks=blocks, out=out)


def sample_rate(port: Port) -> int:
    """Samples a second of what a port takes."""
    assert port.reading
    return int(port.reading["rate"])
