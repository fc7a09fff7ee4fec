"""Small text encoders, DistilBERT-style or a bag of words: token ids (M, T) int64 -> features (M, D) float32; id 0 is padding.

Layout and names of DistilBERT's weights follow BERT (post-norm), so that layers can be taken over from a BERT-like teacher.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.io_spec import Port
from compress.models.tokens import Tokens

MASKED = -1e4  # finite, so that a quantizer that sees it does not lose the range of everything else


class SelfAttention(nn.Module):
    """Multi-head self-attention, written out: exporters and quantizers see plain matrix products.

    Query, key and value are one linear layer, and tokens are rows of a matrix: on a device each node costs microseconds, and
    linear layers of matrices keep their bias in one kernel (Gemm), in float and in int8.
    """

    seen: list[Tensor] | None = None  # where somebody looks on: what each token read, (M, h, T, T) a call

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.inputs = nn.Linear(width, 3 * width)  # query, key and value, each head after head
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x: (M * T, D), bias: (M, 1, 1, T), or of each token for itself (M, 1, T, T) -> (M * T, D)."""
        weights, value = self.look(x, bias)
        return self.output((weights @ value).transpose(1, 2).reshape(x.shape))

    def look(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """How much of each token (last axis) each reads (M, h, T, T), and what there is to read (M, h, T, D/h)."""
        split = self.inputs(x).view(-1, bias.shape[3], 3 * self.heads, self.head_width).transpose(1, 2)  # (M, 3h, T, D/h)
        query, key, value = split.chunk(3, 1)
        scores = query @ key.transpose(2, 3) * self.head_width**-0.5 + bias  # (M, h, T, T)
        weights = scores.softmax(-1)
        if self.seen is not None:
            self.seen.append(weights)
        return weights, value


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each added to its input and normalised after."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.expand, self.project = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.output_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.attention_norm(x + self.attention(x, bias))
        return self.output_norm(x + self.project(nn.functional.gelu(self.expand(x))))


class TextEncoder(nn.Module):
    """Embeddings, transformer layers, mean over the tokens that are not padding."""

    def __init__(self, *, vocabulary: int, length: int, width: int, layers: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        nn.init.normal_(self.words.weight, std=0.02)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(TransformerLayer(width, heads, feedforward) for _ in range(layers))
        self.width = width

    def forward(self, text: Tensor, *, tokens: bool = False) -> Tensor | Tokens:
        states = self.read(text)
        return states if tokens else states.mean()

    def read(self, text: Tensor) -> Tokens:
        """The state of every token."""
        present = text.bool().to(self.positions.dtype)  # (M, T)
        bias = ((present - 1) * -MASKED)[:, None, None, :]  # (M, 1, 1, T)
        x = self.norm(self.words(text) + self.positions).flatten(0, 1)  # (M * T, D)
        for layer in self.layers:
            x = layer(x, bias)
        return Tokens(x.view(-1, text.shape[1], self.width), present)


class WordEncoder(TextEncoder):
    """The same, with the state of each word's first token (M, T, D) in place of the mean; ids (M, T) are negative where a word begins."""

    per_word = True

    def __init__(self, *, length: int, width: int, **sizes: int) -> None:
        super().__init__(length=length, width=width, **sizes)
        self.shape = (length, width)

    def forward(self, text: Tensor) -> Tensor:  # type: ignore[override]
        return first_tokens(self.read(text.abs()).states, text < 0)


def first_tokens(x: Tensor, begins: Tensor) -> Tensor:
    """(M, T, D) states of words, word after word: of those of tokens x (M, T, D) the ones where a word begins (M, T) bool; zeros behind the last."""
    order = begins.to(x.dtype).cumsum(1) - 1  # (M, T): the word of each token
    slots = torch.arange(begins.shape[1], device=x.device, dtype=x.dtype)
    return ((order[:, None, :] == slots[None, :, None]) & begins[:, None, :]).to(x.dtype) @ x  # (M, T, T) @ (M, T, D)


class Bag(nn.Module):
    """The mean of the embeddings of the tokens that are not padding, in whatever order; the linear layer behind is the head's."""

    def __init__(self, *, vocabulary: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width, padding_idx=0)  # whose row is zeros and stays so: padding adds nothing, without a mask
        with torch.no_grad():
            self.words.weight[1:].normal_(std=width**-0.5)
        self.width = width

    def forward(self, text: Tensor, *, tokens: bool = False) -> Tensor | Tokens:
        there = text.bool()
        if tokens:
            return Tokens(self.words(text), there.float())
        return self.words(text).sum(1) / there.sum(1, keepdim=True).clamp(min=1)


def bag(port: Port, *, width: int = 64) -> nn.Module:
    """A bag of words for the smallest boards: the mean of `width` numbers a token, whose order is not heard. No weights but the vocabulary's."""
    if by_word(port):
        raise RecipeError(
            f"student.encoders.{port.name}: a bag has no words of its own, which data.inputs.{port.name}.words asks for; take distilbert"
        )
    return Bag(vocabulary=int(port.high or 0) + 1, width=width)


def distilbert(port: Port, *, layers: int = 2, width: int = 64, heads: int = 2, feedforward: int = 256) -> nn.Module:
    """A small DistilBERT: `layers` of `width` channels with `heads` attention heads (they divide the width) and `feedforward` channels inside."""
    if width % heads:
        raise RecipeError(f"student.encoders.{port.name}.options: width {width} is not a multiple of heads {heads}")
    vocabulary = int(port.high or 0) + 1
    kind = WordEncoder if by_word(port) else TextEncoder
    return kind(vocabulary=vocabulary, length=port.shape[0], width=width, layers=layers, heads=heads, feedforward=feedforward)


def by_word(port: Port) -> bool:
    """Whether words are told apart, so that an encoder gives one state for each."""
    return bool((port.reading or {}).get("words"))
