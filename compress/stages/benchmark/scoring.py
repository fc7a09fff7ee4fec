"""The logits of a file to many rows: rows with the same inputs are computed once, and so is what one input needs alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from compress.device.sessions import Session, open_session
from compress.graphs.split import Parts, split_by_input
from compress.stages.benchmark.candidate import Candidate, gather_feeds, open_candidate

if TYPE_CHECKING:
    from compress.data.prepared import Split

SCORE_BATCH = 64  # rows a call
WORTH = 1.5  # rows over inputs, from which on inputs are computed apart
CLOSE = 1e-5  # of the largest logit: how near the parts must come to the whole file
LARGEST_FILE = 1 << 30  # bytes: above, a file is not read to be cut
LARGEST_STATES = 1 << 29  # bytes: above, what the inputs alone gave is not kept


def score(model: Candidate, test: Split, rows: np.ndarray, *, threads: int) -> np.ndarray:
    """(R, K) logits of the rows, in their order.

    Where inputs repeat, the file is cut into what each input needs alone and what joins them, and each distinct input is computed once.
    Some rows go through the whole file too: where the parts do not come to its logits, the whole file answers all rows."""
    session = open_candidate(model, threads)
    keys = np.stack([np.asarray(test.rows[name])[rows] for name in sorted(test.rows)], axis=1)  # (R, modalities)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    distinct = rows[first]
    logits = _by_parts(model, test, distinct, threads=threads)
    some = slice(None, None, -(-len(distinct) // SCORE_BATCH))  # one batch, from all over the rows
    if logits is None or not _same(_whole(session, model, test, distinct[some]), logits[some]):
        logits = _whole(session, model, test, distinct)
    return logits[inverse.reshape(-1)]


def _whole(session: Session, model: Candidate, test: Split, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([session.run(gather_feeds(model, test, part, names=session.inputs))["logits"] for part in _batches(rows)])


def _by_parts(model: Candidate, test: Split, rows: np.ndarray, *, threads: int) -> np.ndarray | None:
    """(R, K) logits, or None where the inputs repeat too little, or the file is not one that can be cut."""
    used = {name: np.unique(np.asarray(test.rows[name])[rows], return_inverse=True) for name in model.inputs}
    if max(len(rows) / len(distinct) for distinct, _ in used.values()) < WORTH:
        return None
    if model.runtime != "onnxruntime_cpu" or model.path.suffix != ".onnx" or model.path.stat().st_size > LARGEST_FILE:
        return None
    if not (parts := _cut(model.path)):
        return None
    with tempfile.TemporaryDirectory() as folder:
        joint = _open(parts.joint, Path(folder) / "joint.onnx", threads=threads)
        states: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # what the joint part reads: (N, ...), and each row's place in it (R,)
        for name, (distinct, places) in used.items():
            if name not in parts.alone:
                states[name] = model.inputs[name], distinct[places]
                continue
            session = _open(parts.alone[name], Path(folder) / f"{name}.onnx", threads=threads)
            found = [session.run({name: np.ascontiguousarray(model.inputs[name][part])}) for part in _batches(distinct)]
            if any(len(state) != min(SCORE_BATCH, len(distinct)) for state in found[0].values()):
                return None  # something else than one state an input
            if len(distinct) * sum(state[0].nbytes for state in found[0].values()) > LARGEST_STATES:
                return None
            states |= {port: (np.concatenate([part[port] for part in found]), places) for port in session.outputs}
        logits = []
        for part in _batches(np.arange(len(rows))):
            feeds = {port: np.ascontiguousarray(states[port][0][states[port][1][part]]) for port in joint.inputs}
            logits.append(joint.run(feeds)["logits"])
    return np.concatenate(logits)


def _cut(path: Path) -> Parts | None:
    try:
        return split_by_input(onnx.load(path))
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
        return None


def _open(part: onnx.ModelProto, path: Path, *, threads: int) -> Session:
    onnx.save(part, path)
    return open_session(path, threads=threads)


def _same(whole: np.ndarray, parts: np.ndarray) -> bool:
    finite = np.abs(whole[np.isfinite(whole)])
    limit = CLOSE * float(finite.max()) if finite.size else 0.0
    return whole.shape == parts.shape and np.allclose(whole, parts, rtol=0, atol=limit, equal_nan=True)


def _batches(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + SCORE_BATCH] for start in range(0, len(rows), SCORE_BATCH))
