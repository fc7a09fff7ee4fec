"""What `bundle.examples` puts into a bundle: programs in other languages, with the golden samples in a form that they can read."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
LICENCES = {  # of what an example holds that is not ours
    "cpp": {
        "name": "onnxruntime_c_api.h 1.21.0",
        "use": "examples/cpp",
        "licence": "MIT",
        "source": "https://github.com/microsoft/onnxruntime",
    }
}


def example_files(name: str) -> list[Path]:
    """The sources of an example."""
    return sorted(path for path in (FOLDER / name).iterdir() if path.is_file())


def write_example(bundle: Path, name: str, *, arrays: Mapping[str, np.ndarray], models: Sequence[Mapping[str, Any]]) -> None:
    """Writes `examples/NAME`: its sources, and in `golden` the golden `arrays`, each (N, ...), as little-endian numbers.

    `golden/index.txt` has a line for each array (name, type, shape) and for each of `models` (file, the array of its answers, tolerance), as
    lines of models.json name them. Labels are left out: an answer is compared with an answer.
    """
    folder = bundle / "examples" / name
    (folder / "golden").mkdir(parents=True)
    for path in example_files(name):
        shutil.copyfile(path, folder / path.name)
    lines = []
    for key in sorted(set(arrays) - {"labels"}):
        array = arrays[key]
        lines.append(" ".join(["array", key, array.dtype.name, *map(str, array.shape)]))
        (folder / "golden" / f"{key}.bin").write_bytes(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    lines += [f"model {model['file']} {model['logits']} {model['tolerance']}" for model in models]
    (folder / "golden" / "index.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
