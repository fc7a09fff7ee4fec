"""Which parts of a fitted teacher are trained further, and how the rest answers as it does in use.

An encoder says with `tunable()` which blocks it has, from input to output; one that does not is a single block.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from compress.errors import RecipeError
from compress.io_spec import Outputs
from compress.models.classifier import Classifier, Inputs


class Steady(nn.Module):
    """A fitted teacher in training, of whose encoders `trained` are trained and all else answers as it does in use.

    Batch norms keep the statistics of their published weights: the head learnt to read what these give, and a batch of 32 knows the mean of
    a channel less well than a million photographs did.
    """

    def __init__(self, model: Classifier, trained: list[nn.Parameter]) -> None:
        super().__init__()
        self.model = model
        for parameter in trained:
            parameter.requires_grad_(True)
        self.still = [module for module in model.encoders.modules() if stays(module)]

    def train(self, mode: bool = True) -> Steady:
        """Training mode for the head and for blocks that are trained, such as dropout's."""
        super().train(mode)
        for module in self.still if mode else ():
            module.eval()
        return self

    def forward(self, inputs: Inputs, rows: Inputs | None = None) -> Outputs:
        """As the teacher."""
        return self.model(inputs, rows)


def stays(module: nn.Module) -> bool:
    """Whether a module of an encoder answers in training as in use: a batch norm, or one whose weights are all frozen."""
    frozen = [not p.requires_grad for p in module.parameters()]
    return isinstance(module, nn.modules.batchnorm._BatchNorm) or (bool(frozen) and all(frozen))


def last_blocks(encoders: nn.Module, count: int | Literal["all"]) -> list[nn.Parameter]:
    """The parameters of the last `count` blocks of each encoder of a fitted teacher, or of all. Raises RecipeError where there are none."""
    found: list[nn.Parameter] = []
    for part in encoders.children():
        encoder: Any = next(part.children())  # behind it stands the standardisation
        blocks = encoder.tunable() if hasattr(encoder, "tunable") and count != "all" else [encoder]
        found += [p for block in blocks[0 if count == "all" else -count :] for p in block.parameters()]
    if not found:
        raise RecipeError("teacher.fine_tune: these encoders have no weights that could be trained; leave it out")
    return found
