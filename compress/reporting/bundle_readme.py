"""README.md of a bundle: what it reads, its commands, and how a program of one's own asks it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from compress.io_spec import PRESENT, IOSpec, Port
from compress.modalities.modality import modality
from compress.recipe.declarations import literal

TEXT = """\
# {name}

Reads {reads}. How good, how large and how fast it is, and under which licences it may be used: `model_card.md`.

    pip install -r requirements.txt
    python run.py verify     # every file against its hash, then the golden answers
    python run.py predict {options}
    python run.py bench      # times every model here; `python run.py choose` then takes the fastest that is right
    python run.py --help

From a program (Python 3.9 or newer), with the bundle opened once:

```python
import sys

sys.dont_write_bytecode = True  # a cache would be files that manifest.json does not list
sys.path.insert(0, ".")  # the folder of this file
from device.predictor import Predictor

with Predictor(".") as predictor:  # files checked, model open; several threads may share it
    predictor.warm_up()
    print(predictor.predict({values}))
    samples = predictor.samples()  # the golden inputs by name, as arrays
    print(predictor.predict_batch([dict(zip(samples, row)) for row in zip(*samples.values())]))
```

A value is a path, a file's content or an array; a string where a text is read. An array in the form of the model's own port
({ports}) goes to the model as it is, and needs numpy and the runtime alone.
"""


EXAMPLES = {
    "cpp": """
From C++17, with ONNX Runtime's C API (`examples/cpp`, which compares the answers of every model with the golden ones). Build it outside this folder,
whose manifest lists every file; the library is that of a release of ONNX Runtime, or of its Python package:

    library=$(python -c "import glob, onnxruntime; print(*glob.glob(onnxruntime.__path__[0] + '/capi/libonnxruntime.so.*'))")
    cmake -S examples/cpp -B ../golden -DONNXRUNTIME_LIBRARY="$library"
    cmake --build ../golden && ../golden/golden .
"""
}
TOWERS = """
Each input has a vector of its own, and those that belong together lie near each other. Give one of them, and what it is held against: a folder
of files, lines in a .txt file, or stored vectors in a .npy file (N, {size}).

    python run.py predict {option} ... --against PATH

`towers/MODEL-INPUT.onnx` makes the vectors of one input alone.
"""
PLACES = """
The model answers for each of {side} x {side} places of a picture, row after row: its output {name} (N, {size}) holds {classes} numbers for each,
and the largest says which class of labels.json, counted from 0. `predict` also writes a mask of the picture's own size, a PNG whose pixel values
are these numbers, and 255 where the model saw nothing of the picture:

    python run.py predict {option} ... --out mask.png
"""
SHARES_TOLD = """
The models also say how much they let in of each input, by the weights, gates or attention that join them: the second output, `{name}` (N, {count}),
has {inputs} in that order, 1 together, and `predict` prints it as `contributed`. That is what was let in and not what it was worth; `explain` says
what an answer would lose without an input.
"""
GAPS = "; any but one may be left out, and the answer says which were missing"


def readme(name: str, io_spec: IOSpec, *, examples: Collection[str] = ()) -> str:
    """The text of README.md for a bundle that reads these ports and holds these `examples`; each reader's EXAMPLE stands for a value."""
    asked = [port for port in io_spec.inputs if port.name != PRESENT]
    readers = [modality(port.name).reader for port in asked]
    read = list(zip(asked, readers, strict=True))
    text = TEXT.format(
        name=name or "A model",
        reads=" and ".join(f"{port.name} ({literal(reader, 'HELP')})" for port, reader in read) + GAPS * (len(asked) < len(io_spec.inputs)),
        options=" ".join(f"{literal(reader, 'OPTION')} ..." for reader in readers),
        values=", ".join(f"{port.name}={_example(reader, port)}" for port, reader in read),
        ports=", ".join(f"{port.name}: {port.dtype} of shape {port.shape}" for port in io_spec.inputs),
    )
    output = io_spec.outputs[0]
    if output.unit and output.each > 1:
        text += TOWERS.format(size=output.shape[0] // output.each, option=literal(readers[0], "OPTION"))
    if output.grid:
        sizes = {"side": output.grid, "size": output.shape[0], "classes": output.shape[0] // output.grid**2}
        text += PLACES.format(name=output.name, option=literal(readers[0], "OPTION"), **sizes)
    for told in io_spec.outputs[1:]:
        text += SHARES_TOLD.format(name=told.name, count=told.shape[0], inputs=", ".join(port.name for port in asked))
    return text + "".join(EXAMPLES[example] for example in examples)


def _example(reader: Path, port: Port) -> str:
    try:
        return str(literal(reader, "EXAMPLE")).format(size=port.shape[0])
    except LookupError:  # a plugin's reader may leave it out
        return '"..."'
