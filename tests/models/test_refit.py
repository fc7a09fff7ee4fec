"""Refitting of 1x1 layers: the least-squares solution, the pull towards the copied weights, and statistics as the images have them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.models.layers import ConvNorm
from compress.models.refit import CHUNK, PRIOR, Part, Stretch, fit_statistics, fit_weights, refit


def layers(inputs: int, out: int) -> tuple[ConvNorm, ConvNorm]:
    torch.manual_seed(0)
    return ConvNorm(inputs, out, relu=False).eval(), ConvNorm(2 * inputs, out, relu=False).eval()


def part_of(own: ConvNorm, theirs: ConvNorm) -> Part:
    return Part(own, theirs, torch.arange(own.conv.out_channels), torch.arange(own.conv.in_channels))


@torch.no_grad()
def test_weights_are_the_least_squares_solution_pulled_to_the_copied_ones() -> None:
    own, theirs = layers(3, 2)
    y = torch.randn(4, 6, 5, 5)
    x = y[:, :3] + 0.5 * y[:, 3:] + 7.0  # what is left out can be told from what stays; the mean does not matter
    copied = own.conv.weight.flatten(1).double()
    fit_weights(part_of(own, theirs), iter([(x[:2], y[:2]), (x[2:], y[2:])]))
    a = x.transpose(0, 1).flatten(1).double()
    b = theirs.conv(y).transpose(0, 1).flatten(1).double()
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    # the same written out: rows for the pull below the rows of the data
    pull = (PRIOR * (a.square().mean(1).mean()) * a.shape[1]) ** 0.5
    expected = torch.linalg.lstsq(torch.cat([a.T, pull * torch.eye(3)]), torch.cat([b.T, pull * copied.T])).solution.T
    torch.testing.assert_close(own.conv.weight.flatten(1).double(), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_statistics_are_those_of_the_fitted_layer_on_the_images() -> None:
    own, theirs = layers(3, 2)
    x, y = torch.randn(4, 3, 5, 5) + 2, torch.randn(4, 6, 5, 5)
    fit_weights(part_of(own, theirs), iter([(x, y)]))
    out = own.conv(x)
    torch.testing.assert_close(own.norm.running_mean, out.mean((0, 2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(own.norm.running_var, out.var((0, 2, 3), unbiased=False), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_depthwise_layer_keeps_its_weights_and_takes_new_statistics() -> None:
    torch.manual_seed(0)
    own, x = ConvNorm(4, 4, kernel=3, groups=4).eval(), torch.randn(4, 4, 6, 6) * 3
    before = own.conv.weight.clone()
    fit_statistics(Part(own, own, torch.arange(4)), iter([(x[:1], x[:1]), (x[1:], x[1:])]))
    assert torch.equal(own.conv.weight, before)
    torch.testing.assert_close(own.norm.running_var, own.conv(x).var((0, 2, 3), unbiased=False), atol=1e-4, rtol=1e-4)


class Pass(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def pixels(self, image: torch.Tensor) -> torch.Tensor:
        return image.permute(0, 3, 1, 2)[:, : self.channels].float()


@pytest.mark.parametrize("training", [True, False])
@torch.no_grad()
def test_whole_chain_is_fitted_in_chunks_and_the_mode_stays(training: bool) -> None:
    """Two layers of which the second makes up for a channel that the first lacks: the last output is the source's."""
    torch.manual_seed(0)
    first, second = ConvNorm(3, 2, relu=False), ConvNorm(2, 2, relu=False)
    theirs_first, theirs_second = ConvNorm(4, 3, relu=False).eval(), ConvNorm(3, 2, relu=False).eval()
    theirs_first.conv.weight[2] = theirs_first.conv.weight[0] + theirs_first.conv.weight[1]  # the channel that is left out can be told
    theirs_first.conv.weight[:, 3] = 0
    first.conv.weight.copy_(theirs_first.conv.weight[:2, :3])
    second.conv.weight.copy_(theirs_second.conv.weight[:, :2])
    images = torch.rand(CHUNK + 8, 8, 8, 4)
    student, source = Pass(3), Pass(4)
    mean, variance = (f(theirs_first.conv(source.pixels(images)), (0, 2, 3)) for f in (torch.mean, torch.var))
    for layer, kept in ((theirs_first, 3), (first, 2)):  # as a trained norm has it
        layer.norm.running_mean.copy_(mean[:kept])
        layer.norm.running_var.copy_(variance[:kept])
    stretches = [
        Stretch(first.eval(), theirs_first, [Part(first, theirs_first, torch.arange(2), torch.arange(3))], []),
        Stretch(second.eval(), theirs_second, [Part(second, theirs_second, torch.arange(2), torch.arange(2))], []),
    ]
    before = second(first(student.pixels(images)))
    refit(student.train(training), source, stretches, images)
    expected = theirs_second.conv(theirs_first(source.pixels(images)))
    after = second.conv(first(student.pixels(images)))

    def error(y: torch.Tensor) -> float:
        y, target = (x - x.mean((0, 2, 3), keepdim=True) for x in (y, expected))
        return float((y - target).norm() / target.norm())

    assert student.training == training
    assert error(after) < 0.1 < 0.3 < error(before)
