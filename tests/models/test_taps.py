"""Taps: what layers inside a model give, row by row, and layers that are not there or give something else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.models.classifier import Classifier, LinearHead
from compress.models.layers import ConvNorm
from compress.models.taps import attach_taps, row_of


class Encoder(nn.Module):
    """Images (N, 3, 4, 4) to features (N, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 5, 1)
        self.tokens = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        self.tokens(x.flatten(2).transpose(1, 2))  # (N, 16, 3)
        return self.body(x).mean((2, 3))


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier({"image": Encoder()}, LinearHead("image", 5, 2)).eval()


INPUTS = {"image": torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))}
ROWS = {"image": torch.tensor([2, 0, 0, 1])}


def test_tap_of_an_encoder_is_the_mean_of_its_map_for_the_input_of_each_row(model: Classifier) -> None:
    plain = model(INPUTS, ROWS)
    attach_taps(model, {"mid": ("encoders.image.body", "vector")}, side="student")
    outputs = model(INPUTS, ROWS)
    expected = model.encoders["image"].body(INPUTS["image"]).mean((2, 3))[ROWS["image"]]
    torch.testing.assert_close(outputs.at("mid"), expected)
    assert torch.equal(outputs.logits, plain.logits) and torch.equal(outputs.at("embedding"), plain.embedding)
    assert model(INPUTS).at("mid").shape == (3, 5)  # row i uses input i


def test_tap_of_the_head_is_by_row_already_and_tokens_are_read_at_the_first(model: Classifier) -> None:
    attach_taps(model, {"end": ("head.output", "vector"), "first": ("encoders.image.tokens", "vector")}, side="student")
    outputs = model(INPUTS, ROWS)
    assert torch.equal(outputs.at("end"), outputs.logits)
    assert torch.equal(outputs.at("first"), INPUTS["image"][:, :, 0, 0][ROWS["image"]])


def test_gradient_goes_through_a_tap(model: Classifier) -> None:
    attach_taps(model, {"mid": ("encoders.image.body", "vector")}, side="student")
    model(INPUTS, ROWS).at("mid").sum().backward()
    assert model.encoders["image"].body.weight.grad.abs().sum() > 0 and model.head.output.weight.grad is None


def test_attention_golden_number() -> None:
    # two channels 3 and 4 everywhere but in one of 16 x 16 places, where they are 0: 25, and in one of 8 x 8 places 3/4 of it
    found = torch.tensor([3.0, 4.0])[None, :, None, None].expand(1, 2, 16, 16).clone()
    found[:, :, 0, 1] = 0
    row = row_of(found, "attention", 1, "here")
    assert row.shape == (1, 64)
    assert row[0, 0].item() == pytest.approx(18.75) and row[0, 1:].tolist() == pytest.approx([25.0] * 63)


def test_model_is_as_it_was_when_taps_are_taken_off_and_its_state_never_knew(model: Classifier) -> None:
    names = list(model.state_dict())
    detach = attach_taps(model, {"mid": ("encoders.image.body", "vector")}, side="student")
    assert list(model.state_dict()) == names
    detach()
    assert model(INPUTS, ROWS).taps is None
    assert copy.deepcopy(model)(INPUTS, ROWS).taps is None


def test_layer_that_is_not_there_is_refused_with_those_near_it(model: Classifier) -> None:
    with pytest.raises(
        RecipeError, match=r"distill.taps.mid.teacher: there is no layer 'encoders.image.bdy'; near it are encoders.image.body"
    ):
        attach_taps(model, {"mid": ("encoders.image.bdy", "vector")}, side="teacher")


def test_part_of_a_layer_that_quantizing_makes_one_is_refused() -> None:
    model = nn.Sequential(ConvNorm(3, 4))
    with pytest.raises(RecipeError, match="'0.norm' lies inside '0', which is one layer in int8; tap that one"):
        attach_taps(model, {"mid": ("0.norm", "vector")}, side="student")
    attach_taps(model, {"mid": ("0", "vector")}, side="student")


@pytest.mark.parametrize(
    ("found", "reads", "words"),
    [
        (torch.zeros(12, 5), "vector", r"gives \(12, 5\) for 4 inputs, but a map \(N, C, H, W\), tokens .* of N = 4 is needed"),
        (torch.zeros(4, 6, 5), "attention", r"gives \(4, 6, 5\) for 4 inputs, but a map \(N, C, H, W\) of N = 4 is needed to read 'atten"),
        ({"a": 1}, "vector", "gives dict for 4 inputs"),
    ],
)
def test_output_that_is_no_row_of_numbers_is_refused_with_its_shape(found: object, reads: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        row_of(found, reads, 4, "here")
