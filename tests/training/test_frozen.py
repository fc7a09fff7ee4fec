"""Frozen parts keep their weights and their norms' statistics while all else is trained, and can be trained again behind it."""

from __future__ import annotations

import pytest
import torch

from compress.errors import RecipeError
from compress.io_spec import Port
from compress.models.inherit_image import first_parts
from compress.models.inverted_residual import Group, InvertedResidualNet
from compress.models.vision import mobilenet_v4
from compress.training.frozen import frozen


@pytest.fixture
def net() -> InvertedResidualNet:
    torch.manual_seed(0)
    return InvertedResidualNet((Group(8, 1, 1, 1), Group(12, 2, 2, 2)), stem=8, width=1.0, expand=1.0, depth=1.0, stride=4, out=16)


def step(net: InvertedResidualNet) -> None:
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1.0)
    net.train()
    net(torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)).square().sum().backward()
    optimizer.step()


def changed(net: InvertedResidualNet, before: dict[str, torch.Tensor]) -> set[str]:
    return {
        ".".join(key.split(".")[: 3 if key.startswith("groups") else 1])
        for key, now in net.state_dict().items()
        if not now.equal(before[key])
    }


def test_frozen_parts_keep_weights_and_statistics_and_the_others_do_not(net: InvertedResidualNet) -> None:
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with frozen(first_parts(net, 2)):
        step(net)
    assert changed(net, before) == {"groups.1.1", "last"}
    assert all(p.requires_grad for p in net.parameters())


def test_they_can_be_trained_again(net: InvertedResidualNet) -> None:
    with frozen(first_parts(net, 1)):
        step(net)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    step(net)
    assert changed(net, before) == {"stem", "groups.0.0", "groups.1.0", "groups.1.1", "last"}


def test_at_least_one_block_is_left(net: InvertedResidualNet) -> None:
    assert len(first_parts(net, 2)) == 3
    with pytest.raises(RecipeError, match="freeze: 3 of a InvertedResidualNet: at most 2 of its blocks can be frozen"):
        first_parts(net, 3)


def test_an_encoder_without_such_blocks_says_so() -> None:
    encoder = mobilenet_v4(Port("image", "uint8", (32, 32, 3), 0, 255))
    with pytest.raises(RecipeError, match="it has no blocks that can be frozen; set it to 0"):
        first_parts(encoder, 1)
