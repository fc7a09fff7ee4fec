"""What a vector is held against: a folder of files, one file, a list with an item a line, or stored vectors, brought into the model's space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .errors import DeviceError
from .predictor import Predictor
from .tasks import answerer


def rank_against(predictor: Predictor, answer: dict[str, Any], path: str | Path, *, top: int) -> list[dict[str, Any]]:
    """[{item, cosine, ...}] of the `top` items that are nearest to the vector of `answer`, as the task ranks.

    Raises: DeviceError where the bundle gives no vectors, or the gallery cannot be read.
    """
    rank = getattr(answerer(predictor.bundle.task), "rank", None)
    if rank is None:
        raise DeviceError(f"answers of the task {predictor.bundle.task!r} are no vectors that rank; leave --against out")
    if "vector" not in answer:
        raise DeviceError(f"--against ranks by one input, and {' and '.join(answer['vectors'])} are given; leave one of them")
    items, vectors = read_gallery(predictor, Path(path), size=len(answer["vector"]))
    return rank(answer, vectors, items, top)  # type: ignore[no-any-return]


def read_gallery(predictor: Predictor, path: Path, *, size: int) -> tuple[list[str], np.ndarray]:
    """Names of the items, and their vectors (N, D).

    .npy: vectors (N, D) as they are, of this model or of its teacher, or cut to as many numbers as the model was trained for; .txt: on each line what would stand behind the option of the model's
    input; a folder: each file in it; any other file: itself. Of a model with a tower for each input the first that can read the first item
    reads all, lines as texts before all else and files as texts only then. Raises: DeviceError, with the item that cannot be read.
    """
    if path.suffix == ".npy":
        return _stored(path, {size, *predictor.bundle.facts.get("dimensions", [])})
    asked = predictor.bundle.asked
    if len(asked) > 1 and not predictor.bundle.towers:
        raise DeviceError(f"--against {path}: a model that reads {' and '.join(asked)} ranks stored vectors alone, a .npy file")
    try:
        if path.is_dir():
            items = sorted(file.name for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
            values: list[Any] = [(path / item).read_bytes() for item in items]
        elif path.suffix != ".txt":
            items, values = [path.name], [path.read_bytes()]
        else:
            items = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            values = list(items)
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(
            f"--against {path}: cannot be read ({error}); give a folder, a file, lines as .txt, or vectors as .npy"
        ) from error
    if not items:
        raise DeviceError(f"--against {path}: there is nothing in it to rank")
    as_lines = path.suffix == ".txt" and not path.is_dir()
    names = sorted(asked, key=lambda name: (name == "text") != as_lines)
    return items, _encode(predictor, next((name for name in names if _reads(predictor, name, values[0])), names[0]), items, values)


def _reads(predictor: Predictor, name: str, value: Any) -> bool:
    try:
        predictor.read({name: value})
    except DeviceError:
        return False
    return True


def _encode(predictor: Predictor, name: str, items: list[str], values: list[Any]) -> np.ndarray:
    feeds, most = [], predictor.bundle.max_batch
    for item, value in zip(items, values):
        try:
            feeds.append(predictor.read({name: value}))
        except DeviceError as error:
            raise DeviceError(f"--against: {item}: {error}") from error
    parts = [
        predictor.run({port: np.concatenate([feed[port] for feed in feeds[start : start + most]]) for port in feeds[0]})["logits"]
        for start in range(0, len(feeds), most)
    ]
    return np.concatenate(parts)


def _stored(path: Path, sizes: set[int]) -> tuple[list[str], np.ndarray]:
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DeviceError(f"--against {path}: holds no array ({error})") from error
    if (
        vectors.ndim != 2
        or vectors.shape[1] not in sizes
        or vectors.dtype.kind != "f"
        or not len(vectors)
        or not np.isfinite(vectors).all()
    ):
        raise DeviceError(
            f"--against {path}: is {vectors.dtype} {vectors.shape}; needed are finite vectors (N, {' or '.join(map(str, sorted(sizes)))}) of floats"
        )
    return [f"row {row}" for row in range(len(vectors))], vectors.astype(np.float32)
