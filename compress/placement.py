"""Where models run and how they calculate there: the one place that knows devices by name. It imports torch only to look for an accelerator."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from compress.device.gpu import probe_gpu
from compress.device.info import has_bf16
from compress.errors import RecipeError
from compress.io_spec import Outputs

CPU, AUTO = "cpu", "auto"
PRECISIONS = ("fp32", "bf16", "fp16")
ROCM = Path("/dev/kfd")
CHANNELS_LAST = (CPU,)  # devices whose convolutions were measured to be quicker where the channels of a place lie side by side


def find_device(asked: str = AUTO) -> str:
    """The device as torch names it: cpu, cuda:0, mps; of `auto` the accelerator, or the processor where torch has none.

    Raises: RecipeError for one that is not there.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", asked):
        raise RecipeError(f"--device {asked}: no such device; give cpu, cuda, cuda:1, mps or auto")
    if asked == CPU or (asked == AUTO and not _may_have_accelerator()):
        return CPU
    there = _accelerators()
    if asked == AUTO:
        return next(iter(there), CPU)
    wanted = "cuda:0" if asked == "cuda" else asked
    if wanted not in there:
        has = f"it has {', '.join(there)}" if there else f"it has none ({probe_gpu().reason})" if wanted != "mps" else "it has none"
        raise RecipeError(f"--device {asked}: torch {_torch().__version__} finds no such accelerator here, {has}; give cpu or auto")
    return wanted


def own_device(asked: str, local: int) -> str:
    """The device of process number `local` of a machine where each has its own: of auto and cuda the accelerator of that number."""
    if asked not in (AUTO, "cuda") or (asked == AUTO and not _may_have_accelerator()):
        return asked
    several = [name for name in _accelerators() if name.startswith("cuda")]
    return several[local] if local < len(several) else asked


def collective_backend() -> str:
    """What processes talk with: gloo between processors, nccl between CUDA devices."""
    torch = _torch()
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and torch.distributed.is_nccl_available() else "gloo"


def arithmetic(device: str) -> str:
    """bfloat16 where the device calculates in it faster than in float32, else float32: what models that only answer may use.

    An ingredient of their answers. The device itself is none, because the same arithmetic elsewhere differs by the order of sums alone.
    """
    if device == CPU:
        return "bfloat16" if has_bf16() else "float32"
    fast = device.startswith("cuda") and _torch().cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if fast else "float32"


def training_precision(asked: str, device: str) -> str:
    """One of PRECISIONS for `train.precision` on that device: `auto` is bf16 on an accelerator that is made for it, else fp32.

    Raises: RecipeError for fp16 where there is no scaling of losses, which is everywhere but on a CUDA device.
    """
    if asked == AUTO:
        return "bf16" if device != CPU and arithmetic(device) == "bfloat16" else "fp32"
    if asked == "fp16" and not device.startswith("cuda"):
        raise RecipeError(f"train.precision: fp16 needs a CUDA device, and this run is on {device}; give bf16, fp32 or auto")
    return asked


def place_to_train(model: Any, device: Any) -> None:
    """Moves a model to the device it is trained on, in place, its filters as that device likes them.

    On a processor a step of MobileNetV2 takes 0.64 to 0.98 of the time so (median 0.85; 96 and 128 pixels, batches of 8 and 32, one thread).
    """
    torch = _torch()
    model.to(memory_format=torch.channels_last if device.type in CHANNELS_LAST else torch.contiguous_format).to(device)


def move(what: Any, device: Any) -> Any:
    """The same on another device: a tensor, `Outputs`, or a dict or tuple of such; anything else as it is."""
    if isinstance(what, Outputs):
        return what.map(lambda x: x.to(device))
    if isinstance(what, dict):
        return {name: move(x, device) for name, x in what.items()}
    if isinstance(what, tuple):
        return tuple(move(x, device) for x in what)
    return what.to(device) if hasattr(what, "to") else what


def device_of(model: Any) -> Any:
    """The device of a model's weights, which is where its inputs belong; the processor for a model without any."""
    return next((p.device for p in model.parameters()), None) or _torch().device(CPU)


def ask(model: Any, *inputs: Any) -> Any:
    """What the model gives for these inputs, on its own device, wherever they lie."""
    return model(*move(inputs, device_of(model)))


def finish(device: Any) -> None:
    """Waits until an accelerator has done what it was asked to do: a clock that is read before tells nothing."""
    if device.type != CPU:
        _torch().get_device_module(device).synchronize()


def random_state(device: Any) -> Any:
    """The state of an accelerator's random numbers, a tensor; None for the processor, whose state torch itself gives."""
    if device.type == CPU:
        return None
    module = _torch().get_device_module(device)
    return module.get_rng_state(device) if device.type == "cuda" else module.get_rng_state()


def set_random_state(device: Any, state: Any) -> None:
    """Puts back what `random_state` gave for this kind of device; nothing for another kind."""
    if device.type != CPU and state is not None:
        module = _torch().get_device_module(device)
        module.set_rng_state(state, device) if device.type == "cuda" else module.set_rng_state(state)


def _may_have_accelerator() -> bool:
    """Whether it is worth the seconds that torch takes to be imported."""
    return sys.platform == "darwin" or ROCM.exists() or probe_gpu().ok


def _accelerators() -> list[str]:
    torch = _torch()
    found = [f"cuda:{n}" for n in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*found, *(["mps"] if torch.backends.mps.is_available() else [])]


def _torch() -> Any:
    return importlib.import_module("torch")
