"""`Modality`: all that the program must know of one kind of input; a room is a subclass that says what differs.

A row of a table has one cell a modality. Equal cells are one distinct input, which is read, stored and encoded once. What a device needs
is a second file, in compress/device/modalities (for a plugin: the file that `device` names), which imports numpy and the runner alone.
"""

from __future__ import annotations

import hashlib
import html
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

import compress.device
from compress.io_spec import PRESENT, Port
from compress.tables import MODALITIES, resolve

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor, nn

Failures = dict[int, tuple[str, str]]  # index of a distinct input -> the reason that its rows are counted under, and what is said of it


class Inputs(Protocol):
    """N distinct inputs of one split, not yet read."""

    @property
    def keys(self) -> pa.Array:
        """(N,) strings as they stand in the cells, or digests of file contents."""

    def __len__(self) -> int: ...
    def value(self, index: int) -> str | bytes:
        """A cell: its text, or the content of a file."""

    def shown(self, index: int) -> str:
        """The input as a message shows it."""


@dataclass(frozen=True)
class Cell:
    """An input as a cell of a table, and where that is a file its content; its name is made of that."""

    name: str
    content: bytes | None = None

    @classmethod
    def file(cls, content: bytes, suffix: str) -> Cell:
        """That of a file."""
        return cls(hashlib.sha256(content).hexdigest() + suffix, content)


class Modality:
    """One kind of input. The literals are read from source by `check`, `schema` and `list`, which run nothing of a plugin."""

    words: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {"input": {}, "augment": {}, "student": {}}
    """What a recipe may say: in data.inputs and teacher.inputs, distill.augment, student.encoders, and of "feed" in teacher.feeds, where an
    ONNX file may read this input. Word -> {"type": "int", "float", "bool",
    "str" or a list of choices, "description", and where there are some: "default", "ge", "gt", "le", "lt"}; no default: the word is needed."""
    student: ClassVar[str] = ""  # the student's encoder where a recipe names none
    blank: ClassVar[str] = "no input"  # the reason that rows with a blank cell are counted under
    worded: ClassVar[bool] = False  # inputs are texts, which may be put in other words
    pixels: ClassVar[bool] = False  # inputs are bytes (N, H, W, 3), a small change of which nobody sees
    reads_files: ClassVar[bool] = False  # cells that are strings are paths
    assets: ClassVar[tuple[str, ...]] = ()  # files beside a model, without which it cannot read this input
    processor_files: ClassVar[tuple[str, ...]] = ()  # beside a transformers model: what says in which form it reads this input
    packages: ClassVar[dict[str, str]] = {}  # module -> package that reads such an input and is an extra of the modality's name
    device: ClassVar[str] = ""  # of a plugin: its file for the device, beside the plugin

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def reader(self) -> Path:
        """The file that reads this input on a device."""
        if self.device:
            return Path(inspect.getfile(type(self))).with_name(self.device)
        return Path(compress.device.__file__).parent / "modalities" / f"{self.name}.py"

    def column(self, column: pa.ChunkedArray, folder: Path, place: str) -> pa.ChunkedArray:
        """The cells of a user's column as strings or file contents, equal where the input is; null or blank: there is none.

        Relative paths start at `folder`; `place` opens every message. Raises: DataError for a column that is something else.
        """
        raise NotImplementedError

    def store(self, inputs: Inputs, files: dict[str, Any], *, folder: Path, threads: int) -> Failures:
        """Writes the inputs to `folder`, once for each of `files` (name without suffix -> the input's words); gives those that cannot be read."""
        raise NotImplementedError

    def keep(self, file: str, kept: np.ndarray, *, folder: Path, out: Path) -> None:
        """Writes the inputs of these indices alone of one file of `store` to the folder `out`, which may be the same."""
        raise NotImplementedError

    def near(self, stored: Sequence[Any], *, folder: Path) -> np.ndarray | None:
        """(P, 2) int64 pairs of inputs that are near duplicates, numbered through all of `stored` (what `open` gives) in turn; None where
        this kind is not looked through. `folder`: for files that are gone when it returns."""
        return None

    def sizes(self, inputs: Inputs, index: Sequence[int]) -> dict[str, list[float]]:
        """How large these inputs are as the user has them, before anything is cut: what is measured, with its unit -> a number for each."""
        return {}

    def open(self, folder: Path, file: str) -> Any:
        """What `store` wrote, (N, ...), memory-mapped."""
        return np.load(folder / f"{file}.npy", mmap_mode="r", allow_pickle=False)

    def port(self, words: Any, model: Path | None) -> Port:
        """The port of a model that reads this input with these words; `model`: the folder with its assets, None where there is none yet."""
        raise NotImplementedError

    def processor_words(self, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
        """The words of the form in which the transformers model in `folder` reads this input; `given`: those that the recipe sets."""
        return {}

    def arrays(self, stored: Any, port: Port, model: Path | None) -> np.ndarray:
        """The stored inputs as a model reads them, (N, *port.shape), in the port's type or a narrower one; `model`: the folder with the
        model's assets."""
        return stored

    def feed(self, words: Any, *, padding: int = 0) -> dict[str, list[tuple[str, Any]]]:
        """The inputs of a foreign ONNX file that are made of this one, by name, and how: see compress/graphs/adapt.py. padding: the tokenizer's."""
        raise NotImplementedError

    def most_variants(self, words: Any) -> int | None:
        """How many different variants of an input there are, the input itself counted; None: without end."""
        return 1

    def variant(self, words: Any, seed: int, number: int) -> tuple:
        """One way to vary an input, plain data; number 0 is the input itself."""
        return ()

    def vary(self, values: Tensor, variant: tuple, index: np.ndarray) -> Tensor:
        """The inputs (N, ...) of these numbers (N,) varied that way, of the same shape: each may be varied in a way of its own."""
        raise NotImplementedError

    def carry(self, labels: Tensor, variant: tuple, index: np.ndarray) -> Tensor:
        """Labels (N, S, S) of the places of the inputs of these numbers (N,), moved as `vary` moves the inputs."""
        raise NotImplementedError

    def mixture(self, words: Any, draw: np.random.Generator) -> tuple:
        """How the inputs of one batch are mixed in pairs, plain data; (): they are not. Asked where the words have `mixup` or `cutmix`."""
        return ()

    def mix(self, values: Tensor, partners: Tensor, mixture: tuple) -> tuple[Tensor, float]:
        """values (N, ...), each mixed with its partner (N, ...) as `mixture` says: the same shape, and the share that is left of the first."""
        raise NotImplementedError

    def reword(self, words: Any, split: Any, teacher: nn.Module, *, model: Path, seed: int) -> Any | None:
        """More inputs, which the teacher alone answers (see compress/modalities/wordings.py); None where the words ask for none."""
        return None

    def write_assets(self, section: Any, teacher: Path, inputs: Callable[[str], Sequence[Any]], *, out: Path) -> dict:
        """Writes the student's assets to `out`; gives what `initialise` must know of them. `inputs(split)`: the distinct inputs."""
        return {}

    def check_start(
        self, section: Any, encoder: Callable[[], Any], teacher: Callable[[], nn.Module | None], folder: Callable[[], Path | None]
    ) -> None:
        """Raises RecipeError or DataError where `initialise` could not do what `section` asks; called before anything is made.

        encoder and teacher give the architectures without weights (teacher: None where it is not known yet); folder: that of
        a teacher from transformers, if it is one.
        """

    def initialise(self, encoder: nn.Module, section: Any, teacher: Path, known: dict, inputs: np.ndarray) -> dict:
        """Gives a fresh student's encoder its first weights as `section` asks; gives what the report tells of assets and weights.

        `known` is what `write_assets` gave; `inputs`: (N, *port.shape), some of the training inputs.
        """
        return {}

    def as_given(self, stored: Any, index: int, port: Port) -> dict[str, Any]:
        """One stored input as users hand it to a device, such as a file's content: form -> value, for timing the reader; {}: not known."""
        return {}

    def show(self, stored: Any, index: int) -> str:
        """One input as HTML for the report, safe to put in."""
        return html.escape(str(stored[index]))

    def show_whole(self, stored: Any, index: int, words: Mapping[str, Any]) -> str:
        """The same where there is room for more, such as a player; `words` are the input's in the recipe, as plain data."""
        return self.show(stored, index)

    def as_cell(self, value: Any) -> Cell:
        """A value that came from elsewhere, as it may be kept: a text as it is, numbers with spaces between them, of a file what is heard or seen
        alone. Raises: DeviceError for a file that cannot be read."""
        return Cell(value if isinstance(value, str) else " ".join(map(repr, value)))

    def starter(self, name: str) -> str:
        """What the starter recipe says of it: a comment."""
        return f"# {name}"


@cache
def modality(name: str) -> Modality:
    """The room of a modality."""
    if name == PRESENT:
        from compress.modalities.present import Present

        return Present(name)
    return resolve(MODALITIES[name])(name)


def pixels_of(names: Iterable[str]) -> str:
    """The one of these modalities whose inputs are pixels; "" where none is."""
    return next((name for name in names if modality(name).pixels), "")
