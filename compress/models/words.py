"""Which words are near to each other, as a model's own word vectors have it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 256  # words compared with the whole vocabulary at a time


@torch.no_grad()
def nearest_words(model: nn.Module, vocabulary: dict[str, int], words: Sequence[str], *, count: int = 10) -> dict[str, list[str]]:
    """word -> the `count` whole words of the vocabulary whose vectors have the largest cosine with its own, the nearest first.

    Words are of letters alone; one that is no token of its own, such as a mark or a rare word, has none. Raises LookupError for a model
    that has no table of word vectors.
    """
    vectors = F.normalize(word_vectors(model, len(vocabulary)), dim=1)
    whole = [word for word in vocabulary if word.isalpha() and len(word) > 1]
    table = vectors[torch.tensor([vocabulary[word] for word in whole], dtype=torch.int64)]  # (V', D)
    known = [word for word in words if word.isalpha() and word in vocabulary]
    near = {}
    for start in range(0, len(known), BLOCK):
        block = known[start : start + BLOCK]
        cosines = vectors[torch.tensor([vocabulary[word] for word in block])] @ table.T  # (block, V')
        for word, best in zip(block, cosines.topk(min(count + 1, len(whole))).indices.tolist(), strict=True):
            near[word] = [whole[i] for i in best if whole[i] != word][:count]
    return near


def word_vectors(model: nn.Module, tokens: int) -> Tensor:
    """(V, D) input vectors of a model's tokens: its first table with at least `tokens` lines."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings >= tokens:
            return module.weight.detach()
    raise LookupError(f"no table of vectors for {tokens:,} tokens")
