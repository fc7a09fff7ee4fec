"""A head that answers for each word: states of words (R, T, D), word after word and zeros behind the last -> logits (R, W K)."""

from __future__ import annotations

from torch import Tensor, nn

from compress.errors import RecipeError
from compress.io_spec import IOSpec, Outputs


class WordHead(nn.Module):
    """The same one or, with `hidden`, two layers at each of the first W words; where there is no word all of its K logits are 0."""

    def __init__(self, io: IOSpec, modality: str, width: int, *, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.modality, self.words = modality, io.outputs[0].each
        self.labels = io.outputs[0].shape[0] // self.words
        self.mix = nn.Sequential(nn.Linear(width, hidden), nn.ReLU()) if hidden else nn.Identity()
        self.dropout, self.output = nn.Dropout(dropout), nn.Linear(hidden or width, self.labels)

    def forward(self, features: dict[str, Tensor]) -> Outputs:
        x = first_words(features[self.modality].float(), self.words)  # (R, W, D)
        there = (x.abs().amax(2, keepdim=True) > 0).to(x.dtype)  # (R, W, 1)
        logits = self.output(self.dropout(self.mix(x.flatten(0, 1)))).view(-1, self.words, self.labels)
        return Outputs((logits * there).flatten(1), x.sum(1) / there.sum(1).clamp(min=1))


def per_word(io: IOSpec, encoders: dict[str, nn.Module]) -> str | None:
    """The modality whose words each have an answer; None where a row has one. Raises: RecipeError where encoders and task do not agree."""
    telling = [m for m, encoder in encoders.items() if getattr(encoder, "per_word", False)]
    if io.outputs[0].each == 1 or io.outputs[0].unit or io.outputs[0].grid:  # a vector for each input, or an answer for each place
        if telling:
            raise RecipeError(
                f"data.inputs.{telling[0]}.words: only a task that has an answer for each word reads them, token_labels; leave it out"
            )
        return None
    if len(encoders) > 1 or not telling:
        raise RecipeError(
            f"data.inputs: an answer for each word needs an encoder that tells words apart, and no other input; found {', '.join(encoders)}"
        )
    return telling[0]


def gather_words(logits: Tensor, words: int) -> Tensor:
    """(R, W K) of logits of words (R, T, K), word after word, zeros where there is none."""
    return first_words(logits, words).flatten(1)


def first_words(x: Tensor, words: int) -> Tensor:
    """(R, W, D) of states of words (R, T, D): the first W, or all and zeros behind them."""
    return x[:, :words] if x.shape[1] >= words else nn.functional.pad(x, (0, 0, 0, words - x.shape[1]))
