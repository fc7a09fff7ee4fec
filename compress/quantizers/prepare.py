"""From a float student to a frozen int8 one: prepare -> calibrate -> (train, freeze_ranges) -> freeze -> torch.onnx.export.

A prepared model is saved and loaded by its state_dict: `prepare` the float architecture with the same recipe, then load.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from compress.errors import CompressError, DataError, RecipeError
from compress.io_spec import PRESENT
from compress.quantizers.fake_quant import ActivationQuant
from compress.quantizers.modules import QuantLayer, fold_norms, quantized_layer
from compress.recipe.sections import Quantize

Batch = tuple[dict[str, Tensor], dict[str, Tensor] | None]  # inputs by modality, rows by modality


def prepare(model: nn.Module, config: Quantize) -> nn.Module:
    """A copy with norms folded and each ConvNorm, Sum, FrontEnd, Linear and Embedding in fake int8, ranges not yet known.

    Raises RecipeError when an entry of `config.keep_float` names no such layer, CompressError when the model has none.
    """
    model = fold_norms(copy.deepcopy(model))
    _replace_layers(model, config)
    names = list(quantized_modules(model))
    if not names:
        raise CompressError(
            "the model has no ConvNorm, Sum, FrontEnd, Linear or Embedding below its root, so nothing can be int8; use quantize.method: none"
        )
    set_float(model, match_prefixes(names, config.keep_float), True)
    return model


def _replace_layers(model: nn.Module, config: Quantize) -> None:
    """Swaps layers in place; a layer that stands at several places is swapped for one and the same."""
    made: dict[nn.Module, QuantLayer] = {}
    for parent_name, parent in list(model.named_modules()):
        for name, child in list(parent._modules.items()):
            if child is None or isinstance(parent, QuantLayer):
                continue
            if child not in made:
                layer = quantized_layer(child, config, name=f"{parent_name}.{name}".lstrip("."))
                if layer is None:
                    continue
                made[child] = layer
            setattr(parent, name, made[child])


def match_prefixes(names: list[str], prefixes: list[str]) -> list[str]:
    """The names that a dotted prefix covers. Raises RecipeError, with the nearest names, for prefixes that cover none."""
    problems, matched = [], set()
    parents = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)}
    for prefix in prefixes:
        hits = {name for name in names if name == prefix or name.startswith(prefix + ".")}
        matched |= hits
        if not hits:
            near = get_close_matches(prefix, sorted(parents), n=3, cutoff=0.4) or names[:3]
            problems.append(
                f"quantize.keep_float: {prefix!r} covers no layer that can be int8 (did you mean {', '.join(map(repr, near))}?)"
            )
    if problems:
        raise RecipeError(problems)
    return [name for name in names if name in matched]


def quantized_modules(model: nn.Module) -> dict[str, QuantLayer]:
    """Dotted path -> quantized layer, in the model's order; those switched to float are among them."""
    return {name: module for name, module in model.named_modules() if isinstance(module, QuantLayer)}


def activation_quantizers(model: nn.Module, *, floating: bool = False) -> dict[str, ActivationQuant]:
    """Dotted path -> activation quantizer, of layers in int8; with `floating`, of those in float too."""
    return {
        f"{name}.{child_name}": child
        for name, layer in quantized_modules(model).items()
        for child_name, child in layer.named_children()
        if isinstance(child, ActivationQuant) and (floating or not layer.floating.on)
    }


def set_float(model: nn.Module, names: Iterable[str], float_on: bool) -> None:
    """Switches these layers to float (or back to int8). Raises CompressError for a layer whose float weight is gone."""
    layers = quantized_modules(model)
    for name in names:
        layer = layers[name]
        if float_on and "weight_quant" in layer._modules and layer.weight is None:
            raise CompressError(f"{name}: its float weight is gone since freeze(model); switch layers before freezing")
        layer.floating.set(float_on)


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Sets the ranges from some batches of (inputs, rows), seen by the model with float activations and int8 weights.

    Raises DataError when there are no batches, when all inputs of a modality are equal, when every value seen is zero, and,
    naming the module, when a range is NaN or infinite or a layer saw nothing.
    """
    quantizers = activation_quantizers(model, floating=True)
    variety = _Variety()
    with _collecting(model, quantizers):
        for inputs, rows in batches:
            variety.add(inputs)
            model(inputs, rows)
    variety.check()
    in_use = activation_quantizers(model)
    for name, quantizer in quantizers.items():
        if name in in_use or int(quantizer.seen):
            quantizer.check(name)
            quantizer.settle()
    if in_use and not any(float(q.observer.clip(q.levels)) > 0 for q in in_use.values()):
        raise DataError(
            f"calibration: every value seen is zero, first at {next(iter(in_use))}; the calibration set or the weights are constant"
        )


@contextmanager
def _collecting(model: nn.Module, quantizers: dict[str, ActivationQuant]) -> Iterator[None]:
    training = model.training
    model.eval()
    for quantizer in quantizers.values():
        quantizer.collecting = True
    try:
        yield
    finally:
        for quantizer in quantizers.values():
            quantizer.collecting = False
        model.train(training)


class _Variety:
    """Whether a stream of inputs varies at all."""

    def __init__(self) -> None:
        self.count = 0
        self.first: dict[str, Tensor] = {}
        self.differing: set[str] = set()

    def add(self, inputs: dict[str, Tensor]) -> None:
        """Compares each input with the first of its modality."""
        for modality, x in inputs.items():
            if modality == PRESENT:  # most rows have everything
                continue
            if not len(x):
                raise DataError(f"calibration: a batch without inputs of {modality!r}; leave empty batches out")
            first = self.first.setdefault(modality, x[:1].clone())
            if x.shape[1:] != first.shape[1:] or bool((x != first).any()):
                self.differing.add(modality)
        self.count += max(len(x) for x in inputs.values())

    def check(self) -> None:
        """Raises DataError when there was nothing, or nothing but copies of one input."""
        if not self.count:
            raise DataError("calibration: the calibration set is empty; ranges need at least one batch (quantize.calibration_batches)")
        constant = [repr(modality) for modality in self.first if modality not in self.differing]
        if self.count > 1 and constant:
            raise DataError(f"calibration: the calibration set is constant: all inputs of {', '.join(constant)} are equal; take other rows")


def use_unsigned(model: nn.Module, on: bool) -> None:
    """Gives activations that calibration never saw below 0 codes from 0 to 255, as ONNX Runtime's files have them; or takes these back."""
    for quantizer in activation_quantizers(model, floating=True).values():
        quantizer.set_unsigned(on)


def freeze_ranges(model: nn.Module) -> None:
    """Fixes the observed ranges for the rest of training; learned scales go on learning, as in the paper."""
    for quantizer in activation_quantizers(model, floating=True).values():
        quantizer.observing.set(False)


def freeze(model: nn.Module) -> nn.Module:
    """A copy in eval mode with fixed ranges and int8 weights, ready for `torch.onnx.export`.

    Raises DataError, naming the module, for a range that is missing, NaN or infinite, and for weights that are.
    """
    model = copy.deepcopy(model).eval()
    in_use = activation_quantizers(model)
    for name, quantizer in activation_quantizers(model, floating=True).items():
        if name in in_use or int(quantizer.seen):
            quantizer.check(name)
        quantizer.fix()
    for name, layer in quantized_modules(model).items():
        if layer.weight is not None and not torch.isfinite(layer.weight).all():
            raise DataError(f"{name}: its weights hold NaN or infinity, so they have no int8 scale; training diverged before this point")
        layer.bake()
    return model
