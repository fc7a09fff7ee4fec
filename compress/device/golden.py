"""Golden samples: real inputs with the answers that each model of a bundle gave where it was built (`golden.npz`).

Arrays: one (N, ...) array for each input port, `logits` (N, K) float32 of the shipped model, `logits.<model>` of the others,
`labels` (N, ...); of models that tell them `shares` (N, M) and `shares.<model>`. N is at least 1. Plain arrays only: nothing is ever unpickled.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .contents import SHARES
from .errors import GoldenError

Decisions = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # logits (N, K) -> margins and decisions, each (M,)
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first date: a real one would make every bundle different


def write_golden(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes the arrays as a compressed .npz whose bytes depend on nothing but them; raises GoldenError for too few or unusable samples."""
    _check_arrays(arrays, place=str(path))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, also where it is written elsewhere
            file.writestr(info, buffer.getvalue())


def read_golden(path: Path) -> dict[str, np.ndarray]:
    """The arrays of golden.npz; raises GoldenError if it is absent, broken, holds objects or no samples."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise GoldenError(f"{path}: no such file; copy the bundle again") from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        # ValueError: pickled objects, which are refused; AttributeError, TypeError: a single array instead of an archive
        raise GoldenError(f"{path}: not a file of plain arrays ({error}); copy the bundle again") from error
    _check_arrays(arrays, place=str(path))
    return arrays


def check_golden(
    session: Any,
    path: Path,
    *,
    tolerance: float,
    logits: str = "logits",
    decisions: Decisions | None = None,
    part: tuple[int, int] = (0, 1),
    heads: Sequence[int] = (),
) -> dict[str, Any]:
    """How close `session` comes to the recorded answers: {max_difference, agreement, samples}, and `shares`, the largest difference of a share of
    an input, where they are recorded.

    `max_difference` is the largest difference of a logit as a share of the largest recorded magnitude, `agreement` the share of the
    task's decisions that are the same (None: there are none; without `decisions` those of one of K labels). `part`: which of so many equal parts
    of the recorded logits the session gives. `heads`: how many logits each of several heads has, which is then held to a magnitude of its own. Raises GoldenError above `tolerance`, which holds for shares too, or for a value that is not finite.
    """
    arrays = read_golden(path)
    missing = [name for name in (*session.inputs, logits) if name not in arrays]
    if missing:
        raise GoldenError(f"{path}: holds no array {missing[0]!r}; it holds {', '.join(sorted(arrays))}")
    expected = np.split(arrays[logits], part[1], axis=1)[part[0]]  # (N, K)
    outputs = session.run({name: arrays[name] for name in session.inputs})
    actual = outputs["logits"]
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        raise GoldenError(
            f"{path}: the model answers {actual.shape} with {np.sum(~np.isfinite(actual))} non-finite logits, not {expected.shape}"
        )
    ends = np.cumsum(heads)[:-1].astype(int)
    pairs = zip(np.split(actual, ends, axis=1), np.split(expected, ends, axis=1))
    difference = max(float(np.abs(own - told).max() / max(float(np.abs(told).max()), 1e-12)) for own, told in pairs)
    decide = decisions or _largest
    same = decide(actual)[1] == decide(expected)[1]
    agreement = float(same.mean()) if same.size else None
    if difference > tolerance:
        raise GoldenError(
            f"{path}: logits differ by {difference:.2g} of their largest magnitude (at most {tolerance:.2g}) on {len(expected)} samples, "
            f"{'' if agreement is None else f'{agreement:.1%} of the answers are the same; '}this runtime does not compute the model as it was built"
        )
    told = shares_of(logits)
    shares = {SHARES: _check_shares(path, outputs.get(SHARES), arrays[told], tolerance)} if told in arrays else {}
    return {"max_difference": difference, "agreement": agreement, "samples": len(expected), **shares}


def shares_of(logits: str) -> str:
    """The name of the array that holds a model's shares, by that of its logits."""
    return SHARES + logits.removeprefix("logits")


def _check_shares(path: Path, actual: np.ndarray | None, expected: np.ndarray, tolerance: float) -> float:
    """The largest difference of a share; raises GoldenError above `tolerance`."""
    if actual is None or actual.shape != expected.shape or not np.isfinite(actual).all():
        found = "none" if actual is None else f"{actual.shape} with {np.sum(~np.isfinite(actual))} that are not finite"
        raise GoldenError(f"{path}: the model tells {expected.shape} shares of its inputs where it was built, and here {found}")
    difference = float(np.abs(actual - expected).max())
    if difference > tolerance:
        raise GoldenError(
            f"{path}: shares of the inputs differ by {difference:.2g} (at most {tolerance:.2g}) on {len(expected)} samples; this runtime does "
            "not compute the model as it was built"
        )
    return difference


def _largest(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from .tasks import single_label

    return single_label.decisions(logits, {})


def _check_arrays(arrays: dict[str, np.ndarray], *, place: str) -> None:
    for name in ("logits", "labels"):
        if name not in arrays:
            raise GoldenError(f"{place}: holds no array {name!r}; it holds {', '.join(sorted(arrays))}")
    samples = len(arrays["logits"])
    if not samples:
        raise GoldenError(f"{place}: no golden samples; at least one is needed")
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) != samples:
            raise GoldenError(f"{place}: {name!r} has shape {array.shape}, but there are {samples} samples")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise GoldenError(f"{place}: {name!r} holds values that are not finite")
