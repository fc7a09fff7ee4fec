"""What a TensorRT-RTX plan says about int8: its text lists constants with types and, for each kernel, the ONNX layers.

Read with no GPU; the vendor does not promise the format, so a plan whose text is not recognised gives None, never 0.
"""

from __future__ import annotations

import re
from typing import Any

_CONSTANT = re.compile(r'\btensor=\{ [^\n]*?const_payload_size=(\d+) dims=\{([ \d]*)\}[^\n]*? name="([^"\n]+)"[^\n]* type=(\w+) \}')
_VIEW = re.compile(r'\bsub_tensor=\{ base="([^"\n]+)"[^\n]*? name="([^"\n]+)"')
_KERNEL = re.compile(r'\n\s*(\w+)=\{ name="?([^"\s]+)"? [^\n]*?\binput(?:_args)?=\{([^}\n]*)\}(.*?)(?=\n\s*\w+=\{|\n\s*\})', re.DOTALL)
_LAYER = re.compile(r"\[ONNX Layer: ([^\]\n]+)\]")
_QUOTED = re.compile(r'"([^"]+)"')


def read_int8(plan: bytes) -> dict[str, Any] | None:
    """The int8 constants and the ONNX layers whose kernels read them; None where the plan lists no constants.

    {"weights": [{"dims": [O, I, H, W], "size_bytes"}], "layers": [ONNX node name]}; channels may be padded, a layout
    may be transposed, and sibling products may share one constant, so count layers, not constants.
    """
    text = plan.decode("latin-1")
    constants = {name: (kind, dims, int(size)) for size, dims, name, kind in _CONSTANT.findall(text)}
    if not constants:
        return None
    int8 = {name: (dims, size) for name, (kind, dims, size) in constants.items() if kind == "int8"}
    weights = [{"dims": [int(d) for d in dims.split()], "size_bytes": size} for dims, size in int8.values()]
    return {"weights": weights, "layers": sorted(_layers_reading(text, set(int8)))}


def _layers_reading(text: str, constants: set[str]) -> set[str]:
    base = {view: origin for origin, view in _VIEW.findall(text)}
    layers: set[str] = set()
    for _, _, inputs, rest in _KERNEL.findall(text):
        if any(base.get(name, name) in constants for name in _QUOTED.findall(inputs)):
            layers.update(_LAYER.findall(rest))
    return layers
