"""FUSIONS: how what the modalities say becomes one vector. In: M tensors (R, H), in the order of the ports; out: (R, W), W being `width`.

The head (compress/models/classifier.py) projects and normalises each modality before, and reads the result with a linear layer behind, so a
fusion is only what happens between. Of all of them linear layers run in int8; products, sums, sigmoid, softmax and normalisation in float.
A function that takes `lengths`, how many tokens an input of each modality has, makes a fusion of M `Tokens` (R, T, H) in place of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.models.text import MASKED, SelfAttention, TransformerLayer
from compress.models.tokens import Tokens


class Fusion(nn.Module):
    """M tensors (R, H) -> (R, `width`). A `neutral` modality, all of whose channels have that value, takes part as if it were not there."""

    neutral = 0.0
    weighs = ""  # what the shares are read from, in words; empty: there are none
    fewest = 2  # modalities, below which the shares say nothing

    def __init__(self, count: int, channels: int, *, width: int | None = None) -> None:
        super().__init__()
        self.count, self.channels = count, channels
        self.width = channels if width is None else width

    def forward(self, parts: list[Tensor]) -> Tensor:
        raise NotImplementedError

    def weighed(self, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What `forward` gives and, from the same pass, (R, M) how much each modality contributed to it, 1 together; of one that `weighs` alone."""
        raise NotImplementedError


class Product(Fusion):
    """Formula: x_1 * x_2 * ... (R, H); each modality chooses among the channels of the others."""

    neutral = 1.0

    def forward(self, parts: list[Tensor]) -> Tensor:
        mixed = parts[0]
        for other in parts[1:]:
            mixed = mixed * other
        return mixed


class Concatenation(Fusion):
    """Formula: [x_1, x_2, ...] (R, M H); what they mean together is left to the layers behind."""

    def __init__(self, count: int, channels: int) -> None:
        super().__init__(count, channels, width=count * channels)

    def forward(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, 1)


class Both(Fusion):
    """Formula: [x_1, x_2, ..., x_1 * x_2 * ...] (R, (M + 1) H); what each says alone beside what they say together."""

    neutral = 1.0

    def __init__(self, count: int, channels: int) -> None:
        super().__init__(count, channels, width=(count + 1) * channels)
        self.product = Product(count, channels)

    def forward(self, parts: list[Tensor]) -> Tensor:
        return torch.cat([*parts, self.product(parts)], 1)


class Total(Fusion):
    """Formula: x_1 + x_2 + ... (R, H)."""

    def forward(self, parts: list[Tensor]) -> Tensor:
        mixed = parts[0]
        for other in parts[1:]:
            mixed = mixed + other
        return mixed


class Weighted(Total):
    """Formula: M sum_m softmax(w)_m x_m (R, H), w (M,) learned; a plain sum at the start, and the same weights for every row."""

    weighs = "weights"

    def __init__(self, count: int, channels: int) -> None:
        super().__init__(count, channels)
        self.weights = nn.Parameter(torch.zeros(count))

    def forward(self, parts: list[Tensor]) -> Tensor:
        shares = (self.weights.softmax(0) * self.count).unbind()
        return super().forward([share * part for share, part in zip(shares, parts, strict=True)])

    def weighed(self, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
        return self(parts), self.weights.softmax(0).expand(parts[0].shape[0], -1)  # its length would be the example's


class Gated(Fusion):
    """Formula: sum_m sigmoid(W [x_1, x_2, ...])_m * x_m (R, H), a gate for each channel of each modality, set by all of them.

    Source: gated multimodal units, arXiv 1702.01992, section 3, for any number of modalities.
    """

    weighs = "gates"

    def __init__(self, count: int, channels: int) -> None:
        super().__init__(count, channels)
        self.gates = nn.Linear(count * channels, count * channels)

    def forward(self, parts: list[Tensor]) -> Tensor:
        every = torch.cat(parts, 1)  # (R, M H)
        return self._let_in(self.gates(every).sigmoid(), every)

    def weighed(self, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
        every = torch.cat(parts, 1)
        gates = self.gates(every).sigmoid()
        opened = gates.view(-1, self.count, self.channels).mean(2)
        return self._let_in(gates, every), opened / opened.sum(1, keepdim=True)

    def _let_in(self, gates: Tensor, every: Tensor) -> Tensor:
        return (gates * every).view(-1, self.count, self.channels).sum(1)


class Bilinear(Fusion):
    """Formula: sum_r prod_m (U_mr x_m + b_mr) (R, H), r = 1 .. rank; the biases keep what a modality says alone.

    Source: low-rank multimodal fusion, arXiv 1806.00064, equation 6.
    """

    def __init__(self, count: int, channels: int, *, rank: int) -> None:
        super().__init__(count, channels)
        self.rank = rank
        self.factors = nn.ModuleList(nn.Linear(channels, rank * channels) for _ in range(count))

    def forward(self, parts: list[Tensor]) -> Tensor:
        mixed = self.factors[0](parts[0])  # (R, rank H)
        for factor, part in zip(list(self.factors)[1:], parts[1:], strict=True):
            mixed = mixed * factor(part)
        return mixed.view(-1, self.rank, self.channels).sum(1)


class Attention(Fusion):
    """The mean (R, H) of M tokens, one a modality, behind transformer layers in which each looks at all of them."""

    weighs = "attention"
    nobody: Tensor

    def __init__(self, count: int, channels: int, *, layers: int, heads: int) -> None:
        super().__init__(count, channels)
        self.layers = nn.ModuleList(TransformerLayer(channels, heads, channels) for _ in range(layers))
        self.register_buffer("nobody", torch.zeros(1, 1, 1, count), persistent=False)  # is masked

    def forward(self, parts: list[Tensor]) -> Tensor:
        x = torch.cat(parts, 1).view(-1, self.channels)  # (R M, H)
        for layer in self.layers:
            x = layer(x, self.nobody)
        return x.view(-1, self.count, self.channels).mean(1)

    def weighed(self, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
        mixed, paid = attention_paid(self, parts)
        return mixed, paid.mean(1)


class TokenFusion(Fusion):
    """The mean over modalities of the mean (R, H) of their tokens, behind transformer layers in which some tokens read others.

    Without `bottlenecks` each reads all tokens of the other modalities; with them, that many learned tokens stand before all others, which
    read everything and which everyone reads beside its own modality, so that whatever passes from one to another passes through them.
    """

    blocked: Tensor

    def __init__(self, lengths: Sequence[int], channels: int, *, layers: int, heads: int, bottlenecks: int = 0) -> None:
        super().__init__(len(lengths), channels)
        self.lengths, self.bottlenecks = tuple(lengths), bottlenecks
        owner = torch.tensor([-1] * bottlenecks + [index for index, length in enumerate(lengths) for _ in range(length)])
        own, shared = owner[:, None] == owner, (owner < 0)[:, None] | (owner < 0)
        self.register_buffer("blocked", MASKED * ~(own | shared if bottlenecks else ~own)[None, None], persistent=False)  # (1, 1, S, S)
        self.places = nn.Parameter(torch.randn(len(owner), channels) * 0.02)  # added to every token; a bottleneck starts as its place
        self.layers = nn.ModuleList(TransformerLayer(channels, heads, channels) for _ in range(layers))

    def forward(self, parts: list[Tokens]) -> Tensor:  # type: ignore[override]
        states = torch.cat([part.states for part in parts], 1)
        x = nn.functional.pad(states, (0, 0, self.bottlenecks, 0)) + self.places  # (R, S, H), S = bottlenecks + T_1 + T_2 + ...
        bias, start, shape = self.blocked, self.bottlenecks, (-1, *self.places.shape)
        for part, length in zip(parts, self.lengths, strict=True):
            if part.there is not None:
                away = nn.functional.pad((1 - part.there) * MASKED, (start, len(self.places) - start - length))  # (R, S)
                bias = bias + away[:, None, None]
            start += length
        x = x.flatten(0, 1)
        for layer in self.layers:
            x = layer(x, bias)
        left = x.view(shape)[:, self.bottlenecks :].split(self.lengths, 1)
        return torch.stack([Tokens(own, part.there).mean() for own, part in zip(left, parts, strict=True)], 1).mean(1)

    def weighed(self, parts: list[Tokens]) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        mixed, paid = attention_paid(self, parts)
        taken = [part.sum(1, keepdim=True) for part in self.read(paid, parts)[:, self.bottlenecks :].split(self.lengths, 1)]
        total = sum_of(taken)
        return mixed, torch.cat([part / total for part in taken], 1)

    def read(self, paid: Tensor, parts: list[Tokens]) -> Tensor:
        """(R, S) how much of each token those read by whom inputs meet, of what each token reads (R, S, S)."""
        raise NotImplementedError


class CrossAttention(TokenFusion):
    """Tokens that read those of other modalities: of two, all of what they read is the one other's, whatever the row."""

    weighs = "attention"
    fewest = 3

    def read(self, paid: Tensor, parts: list[Tokens]) -> Tensor:
        """The mean over modalities of what their tokens read."""
        readers = zip(paid.split(self.lengths, 1), parts, strict=True)
        return sum_of([Tokens(rows, part.there).mean() for rows, part in readers]) / self.count


class Bottleneck(TokenFusion):
    """Tokens that read their own modality, and bottlenecks that read everything."""

    weighs = "attention"

    def read(self, paid: Tensor, parts: list[Tokens]) -> Tensor:
        """The mean over the bottlenecks of what they read."""
        return paid[:, : self.bottlenecks].mean(1)


def attention_paid(fuse: Attention | TokenFusion, parts: list[Any]) -> tuple[Tensor, Tensor]:
    """What a fusion gives, and (R, S, S) how much of each token (last axis) each reads there, the mean over layers and heads."""
    attentions = [part for part in fuse.modules() if isinstance(part, SelfAttention)]
    seen: list[Tensor] = []
    for part in attentions:
        part.seen = seen
    try:
        mixed = fuse(parts)
    finally:
        for part in attentions:
            part.seen = None
    return mixed, sum_of([weights.mean(1) for weights in seen]) / len(seen)


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    """Their sum, one after the other: a graph that stacks them and reduces the first axis looks as if it mixed rows (graphs/split.py)."""
    total = tensors[0]
    for other in tensors[1:]:
        total = total + other
    return total


def product(count: int, channels: int) -> Fusion:
    """The product: each modality chooses among the channels of the others. No weights of its own."""
    return Product(count, channels)


def concatenation(count: int, channels: int) -> Fusion:
    """All channels side by side; the layers behind find out what they mean together. No weights of its own, M times those of the layer behind."""
    return Concatenation(count, channels)


def concatenation_product(count: int, channels: int) -> Fusion:
    """All channels side by side, and their product beside them. No weights of its own, M + 1 times those of the layer behind.

    Few rows are learnt from what each modality says alone, and many from what they say together, which the product alone shows without
    training. Source: element-wise matching of sentences, arXiv 1512.08422, section 3.2, without its difference.
    """
    return Both(count, channels)


def total(count: int, channels: int) -> Fusion:
    """The sum. No weights of its own."""
    return Total(count, channels)


def weighted(count: int, channels: int) -> Weighted:
    """The sum with a learned share for each modality, the same for every row: M weights."""
    return Weighted(count, channels)


def gated(count: int, channels: int) -> Gated:
    """The sum with a gate for each channel, which all modalities set together: M^2 H^2 weights, in int8."""
    return Gated(count, channels)


def bilinear(count: int, channels: int, *, rank: int = 4) -> Fusion:
    """The sum of `rank` products of linear layers (a bilinear form of low rank): M rank H^2 weights, in int8."""
    if rank < 1:
        raise RecipeError(f"student.fusion.options.rank: must be at least 1, found {rank}")
    return Bilinear(count, channels, rank=rank)


def attention(count: int, channels: int, *, layers: int = 1, heads: int = 1) -> Attention:
    """The mean of the modalities once `layers` transformer layers with `heads` heads let each look at all: 6 H^2 weights a layer, in int8."""
    _check_layers(channels, layers, heads)
    return Attention(count, channels, layers=layers, heads=heads)


def cross_attention(count: int, channels: int, *, lengths: Sequence[int], layers: int = 1, heads: int = 1) -> CrossAttention:
    """Each token (of a text, of a sound, a place of an image) reads those of the other modalities, in `layers` layers of `heads` heads.

    6 H^2 weights a layer in int8; the products between tokens stay in float. Source: crossmodal attention, arXiv 1906.00295, section 3.1.
    """
    _check_layers(channels, layers, heads)
    return CrossAttention(lengths, channels, layers=layers, heads=heads)


def bottleneck(count: int, channels: int, *, lengths: Sequence[int], tokens: int = 4, layers: int = 2, heads: int = 1) -> Bottleneck:
    """Tokens read their own modality and a few learned `tokens`, through which all that one modality tells another must pass.

    What they took up in one layer is read in the next, so there are at least 2 `layers`; 6 H^2 weights each in int8, the products between
    tokens in float. Source: attention bottlenecks, arXiv 2107.00135, section 3.2, with the weights of a layer shared by the modalities.
    """
    _check_layers(channels, layers, heads)
    if tokens < 1 or layers < 2:
        raise RecipeError(
            f"student.fusion.options: {tokens} tokens in {layers} layers; at least 1 and 2: what is written in one is read in the next"
        )
    return Bottleneck(lengths, channels, layers=layers, heads=heads, bottlenecks=tokens)


def _check_layers(channels: int, layers: int, heads: int) -> None:
    if layers < 1 or heads < 1 or channels % heads:
        raise RecipeError(
            f"student.fusion.options: {layers} layers of {heads} heads over student.head_width {channels}; "
            "both must be at least 1, and the heads divide the width"
        )
