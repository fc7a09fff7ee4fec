"""OBSERVERS: how the largest magnitude of a tensor is found over many batches; state lives in buffers alone.

An observer is `update(x)` for each batch and `clip(levels) -> scalar tensor`, the magnitude that the last step stands for.
NaN and infinity pass through to the clip, so that the caller can name the module they came from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.ranks.dealing import largest

MOMENTUM = 0.01  # weight of a new batch in the moving average, once there were 1 / MOMENTUM batches
BINS = 2048  # of the histogram
CANDIDATES = 128  # clips that are tried for the smallest squared error


def largest_magnitude(x: Tensor) -> Tensor:
    """max |x| as a scalar, in a batch that is dealt to several processes over all of it; one pass and no copy, unlike x.abs().amax()."""
    x = x.detach()
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        x = x.permute(0, 2, 3, 1)  # the same values in the order of memory; aminmax copies what is in another
    low, high = torch.aminmax(x)
    return largest(torch.maximum(-low, high))


class MinMax(nn.Module):
    """The largest magnitude ever seen."""

    moves_in_training = True
    peak: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("peak", torch.tensor(0.0))

    def update(self, x: Tensor) -> None:
        """peak = max(peak, max |x|)."""
        self.peak.copy_(torch.maximum(self.peak, largest_magnitude(x)))

    def clip(self, levels: int) -> Tensor:
        """The peak: nothing that was seen is clipped."""
        return self.peak


class MovingAverage(nn.Module):
    """The mean of the batches' largest magnitudes; exponential after the first 1 / MOMENTUM batches."""

    moves_in_training = True
    peak: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("peak", torch.tensor(0.0))
        self.register_buffer("seen", torch.tensor(0.0))

    def update(self, x: Tensor) -> None:
        """peak += (max |x| - peak) * max(1 / batches, MOMENTUM): a plain mean at first, or 16 batches would count as one."""
        self.seen += 1
        self.peak.lerp_(largest_magnitude(x), (1 / self.seen).clamp(min=MOMENTUM))

    def clip(self, levels: int) -> Tensor:
        """The averaged peak."""
        return self.peak


class Histogram(nn.Module):
    """A histogram of |x|, and the clip with the smallest expected squared error of quantization.

    The search costs about a millisecond, so it runs once, when calibration ends, and the range stays as it is from there.
    """

    moves_in_training = False
    counts: Tensor
    limit: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(BINS))  # of |x| between 0 and limit
        self.register_buffer("limit", torch.tensor(0.0))

    def update(self, x: Tensor) -> None:
        """Adds the batch; where it does not fit, the limit doubles until it does and neighbouring bins are merged."""
        peak = largest_magnitude(x)
        if not torch.isfinite(peak) or not torch.isfinite(self.limit):
            self.limit.fill_(torch.nan)
            return
        if self.limit == 0:
            self.limit.copy_(peak)
        while peak > self.limit:
            self.limit *= 2
            self.counts.copy_(nn.functional.pad(self.counts.view(-1, 2).sum(1), (0, BINS // 2)))
        if self.limit > 0:
            self.counts += torch.histc(x.detach().abs().float(), BINS, 0.0, float(self.limit))

    def clip(self, levels: int) -> Tensor:
        """The candidate c with the smallest sum_bins count * (v - min(round(v / s), levels) * s)^2, s = c / levels."""
        if not self.counts.any():
            return self.limit
        values = (torch.arange(BINS, device=self.counts.device) + 0.5) * self.limit / BINS
        clips = self.limit * torch.arange(1, CANDIDATES + 1, device=self.counts.device) / CANDIDATES
        steps = (clips / levels)[:, None]  # (CANDIDATES, 1)
        errors = values - (values / steps).round().clamp(max=levels) * steps  # (CANDIDATES, BINS)
        return clips[(errors.square() @ self.counts).argmin()]


OBSERVERS: dict[str, type[MinMax | MovingAverage | Histogram]] = {
    "minmax": MinMax,
    "moving_average": MovingAverage,
    "histogram": Histogram,
}
