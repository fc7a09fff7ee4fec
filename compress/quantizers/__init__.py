"""QUANTIZERS: the ways to make a student int8. The path of a model is prepare, calibrate, train, freeze (prepare.py).

int8_qat and int8_ptq are one path, with training and without. int8_dynamic quantizes the ONNX file, so torch sees a float
model, as with none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from compress.quantizers.fake_quant import qdq_opset
from compress.quantizers.modules import fold_norms
from compress.quantizers.prepare import calibrate, freeze, freeze_ranges, prepare, quantized_modules, set_float, use_unsigned
from compress.quantizers.sensitivity import LayerSensitivity, Restoration, layer_sensitivity, restore_layers
from compress.recipe.sections import Quantize


@dataclass(frozen=True)
class Quantizer:
    """One way: `prepare` before calibration and training, `freeze` before export."""

    prepare: Callable[[nn.Module, Quantize], nn.Module]
    freeze: Callable[[nn.Module], nn.Module]
    calibrated: bool  # ranges come from batches
    trained: bool  # fake-quantized training follows


def leave_float(model: nn.Module, config: Quantize) -> nn.Module:
    """The model itself."""
    return model


QUANTIZERS: dict[str, Quantizer] = {
    "int8_qat": Quantizer(prepare, freeze, calibrated=True, trained=True),
    "int8_ptq": Quantizer(prepare, freeze, calibrated=True, trained=False),
    "int8_dynamic": Quantizer(leave_float, nn.Module.eval, calibrated=False, trained=False),
    "none": Quantizer(leave_float, nn.Module.eval, calibrated=False, trained=False),
}

__all__ = [
    "QUANTIZERS",
    "LayerSensitivity",
    "Quantizer",
    "Restoration",
    "calibrate",
    "fold_norms",
    "freeze",
    "freeze_ranges",
    "layer_sensitivity",
    "prepare",
    "qdq_opset",
    "quantized_modules",
    "restore_layers",
    "set_float",
    "use_unsigned",
]
