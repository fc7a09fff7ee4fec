"""Views: the variants of the grouping input that are trained on: fixed ones, so that a teacher's answer to each can be stored, or fresh ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compress.modalities.modality import modality
from compress.recipe.recipe import Recipe

FRESH = 1 << 20  # fresh variants are numbered from here on, so that none is one of the stored


@dataclass(frozen=True)
class Views:
    """Each variant is plain data that the modality understands; view 0 is the input itself. `fresh`: (words, seed) of variants without end."""

    modality: str = ""
    variants: tuple[tuple, ...] = ((),)
    fresh: tuple[Any, int] | None = None

    def __len__(self) -> int:
        return len(self.variants)

    def apply(self, values: Tensor, view: np.ndarray, index: np.ndarray) -> Tensor:
        """values: (N, ...) of the inputs `index` (N,), view: (N,) -> the chosen variant of each, same shape."""
        out = values.clone()
        for number in np.unique(view):
            if number:
                where = np.flatnonzero(view == number)
                out[torch.from_numpy(where)] = self.vary(values[torch.from_numpy(where)], int(number), index[where])
        return out

    def vary(self, values: Tensor, view: int, index: np.ndarray) -> Tensor:
        """One stored variant of every input: (N, ...) and their numbers (N,) -> the same shape."""
        return modality(self.modality).vary(values, self.variants[view], index) if view else values

    def refresh(self, values: Tensor, epoch: int, index: np.ndarray) -> Tensor:
        """A variant that no earlier epoch has seen: (N, ...) and their numbers (N,) -> the same shape."""
        assert self.fresh
        room, (words, seed) = modality(self.modality), self.fresh
        return room.vary(values, room.variant(words, seed, FRESH + epoch), index)

    def carry(self, labels: np.ndarray, view: np.ndarray, index: np.ndarray) -> np.ndarray:
        """labels: (r, S, S) of places of the inputs `index` (r,), moved as the stored variants `view` (r,) move the inputs."""
        out = labels.copy()
        for number in np.unique(view):
            if number:
                where = np.flatnonzero(view == number)
                out[where] = self._carry(labels[where], self.variants[number], index[where])
        return out

    def carry_fresh(self, labels: np.ndarray, epoch: int, index: np.ndarray) -> np.ndarray:
        """The same, moved as `refresh` moves the inputs."""
        assert self.fresh
        words, seed = self.fresh
        return self._carry(labels, modality(self.modality).variant(words, seed, FRESH + epoch), index)

    def _carry(self, labels: np.ndarray, variant: tuple, index: np.ndarray) -> np.ndarray:
        return np.asarray(modality(self.modality).carry(torch.from_numpy(labels), variant, index))

    def mixture(self, draw: np.random.Generator) -> tuple:
        """How the inputs of one batch are mixed in pairs; (): they are not."""
        return modality(self.modality).mixture(self.fresh[0], draw) if self.fresh else ()

    def mix(self, values: Tensor, partners: np.ndarray, mixture: tuple) -> tuple[Tensor, float]:
        """values: (N, ...), each mixed with that at its place in `partners` (N,): the same shape, and the share left of each."""
        return modality(self.modality).mix(values, values[torch.from_numpy(partners)], mixture)

    def to_json(self) -> dict:
        """Plain data, as artifacts keep it."""
        return {"modality": self.modality, "variants": [list(variant) for variant in self.variants]}

    @staticmethod
    def from_json(data: dict) -> Views:
        """The inverse of `to_json`."""
        return Views(data["modality"], tuple(map(tuple, data["variants"])))


def mixes(words: Any) -> bool:
    """Whether these words of a room ask for inputs that are mixed in pairs."""
    return bool(getattr(words, "mixup", 0) or getattr(words, "cutmix", 0))


def draw_views(recipe: Recipe) -> Views:
    """`distill.augment.views` different variants of the grouping modality, drawn by data.seed (fewer where there are not so many)."""
    name, augment, seed = recipe.modalities[0], recipe.distill.augment, recipe.data.seed
    words, room = augment.get(name), modality(name)
    if words is None:
        return Views(name)
    most = room.most_variants(words)
    count = augment.views if most is None else min(augment.views, most)
    fresh = (words, seed) if most is None or mixes(words) else None
    return Views(name, tuple(room.variant(words, seed, number) for number in range(count)), fresh)
