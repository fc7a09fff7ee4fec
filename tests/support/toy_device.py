"""A device for tests, "toy:0": to torch an accelerator of its own, whose tensors are computed on the processor, so results can be compared.

As on a real one, an operation on tensors of two devices is an error, and what looks at a value waits: `waits` counts those looks. It shows
that everything is where it belongs, and nothing of an accelerator's kernels or speed.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "toy:0"
aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
WAITING = (aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default)
waits: Counter[str] = Counter()


class Backend(_DummyBackendModule):
    """What torch asks of an accelerator's module."""

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    def get_rng_state(self) -> torch.Tensor:
        """Random numbers are the processor's."""
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor) -> None:
        """Puts it back."""
        torch.set_rng_state(state)


class Toy(torch.Tensor):
    """A tensor of that device over one of the processor, `raw`."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor, requires_grad: bool = False) -> Toy:
        form: dict[str, Any] = {"strides": raw.stride(), "storage_offset": raw.storage_offset(), "dtype": raw.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, raw.shape, **form, device=torch.device(NAME), requires_grad=requires_grad)
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _compute(func, args, kwargs or {})


class OnToy(TorchDispatchMode):
    """Inside, tensors can be made on the device and moved to it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _compute(func, args, kwargs or {})


def register() -> None:
    """Makes the device known to this process; there is no way back, so it is a process of its own."""
    _setup_privateuseone_for_python_backend("toy", backend_module=Backend())


def _compute(func: Any, args: tuple, kwargs: dict) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    toys = [x for x in tensors if isinstance(x, Toy)]
    if toys and func not in COPIES and any(x.ndim for x in tensors if not isinstance(x, Toy)):
        raise RuntimeError(f"{func}: tensors of two devices")
    if toys and (func in WAITING or _is_masked(func, args)):
        waits[str(func)] += 1
    asked = kwargs.get("device")
    to_toy = bool(toys) if asked is None else torch.device(asked).type == "toy"
    if asked is not None and to_toy:
        kwargs = {**kwargs, "device": "cpu"}
    raw_args, raw_kwargs = tree_map(lambda x: x.raw if isinstance(x, Toy) else x, (args, kwargs))
    found = func(*raw_args, **raw_kwargs)
    if func._schema.name.endswith("_") and (func is COPIES[1] or isinstance(args[0], Toy)):
        return args[0]  # changed in place
    known = {id(x.raw): x for x in toys}
    return tree_map(lambda x: (known.get(id(x)) or Toy(x)) if to_toy and isinstance(x, torch.Tensor) else x, found)


def _is_masked(func: Any, args: tuple) -> bool:
    """Whether it is `x[mask]`, whose size is known only when the mask is."""
    return func is aten.index.Tensor and any(x is not None and x.dtype == torch.bool for x in args[1])
