"""The student's text encoder: padding, empty texts, and each position that a text can take."""

from __future__ import annotations

import pytest
import torch

from compress.models.text import SelfAttention, TextEncoder, TransformerLayer


def encoder(length: int = 8) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(vocabulary=20, length=length, width=16, layers=2, heads=2, feedforward=32).eval()


def test_padding_does_not_change_the_features() -> None:
    long, short = encoder(8), encoder(3)
    state = long.state_dict()
    short.load_state_dict({**state, "positions": state["positions"][:3]})
    text = torch.tensor([[2, 5, 3], [2, 9, 0]])
    torch.testing.assert_close(long(torch.nn.functional.pad(text, (0, 5))), short(text), atol=1e-6, rtol=0)


def test_what_stands_at_padding_is_not_read() -> None:
    model, text = encoder(), torch.tensor([[2, 5, 3, 0, 0, 0, 0, 0]])
    before = model(text)
    with torch.no_grad():
        model.words.weight[0] += 100
        model.positions[3:] -= 100
    torch.testing.assert_close(model(text), before)


def test_a_text_of_padding_alone_gives_zeros_and_leaves_its_neighbours_alone() -> None:
    model, text = encoder(), torch.tensor([[0] * 8, [2, 5, 3, 0, 0, 0, 0, 0]])
    features = model(text)
    assert features[0].tolist() == [0.0] * 16
    torch.testing.assert_close(features[1:], model(text[1:]))


def test_order_of_words_matters() -> None:
    model = encoder()
    there, back = model(torch.tensor([[2, 5, 6, 3, 0, 0, 0, 0]])), model(torch.tensor([[2, 6, 5, 3, 0, 0, 0, 0]]))
    assert (there - back).abs().max() > 1e-4


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_agrees_with_torch(heads: int) -> None:
    torch.manual_seed(0)
    attention, x = SelfAttention(16, heads), torch.randn(3, 5, 16)
    bias = torch.zeros(3, 1, 1, 5)
    bias[1, ..., 3:] = -1e4

    def split(y: torch.Tensor) -> torch.Tensor:
        return y.view(3, 5, heads, -1).transpose(1, 2)

    parts = (split(part) for part in attention.inputs(x).chunk(3, 2))  # query, key, value
    mixed = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=bias.expand(3, heads, 5, 5))
    expected = attention.output(mixed.transpose(1, 2).flatten(2)).flatten(0, 1)
    torch.testing.assert_close(attention(x.flatten(0, 1), bias), expected, atol=1e-6, rtol=1e-5)


def test_layer_gives_normalised_tokens() -> None:
    torch.manual_seed(0)
    y = TransformerLayer(16, 2, 32)(torch.randn(10, 16) * 7, torch.zeros(2, 1, 1, 5))
    torch.testing.assert_close(y.mean(-1), torch.zeros(10), atol=1e-6, rtol=0)
    torch.testing.assert_close(y.var(-1, unbiased=False), torch.ones(10), atol=1e-5, rtol=0)
