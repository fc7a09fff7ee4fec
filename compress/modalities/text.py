"""Texts: strings, tokenized for each model with its own tokenizer.json; a model reads token ids (T,) padded with 0."""

from __future__ import annotations

import html
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import DataError, RecipeError
from compress.io_spec import Port
from compress.modalities.modality import Failures, Inputs, Modality

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import nn

TOKENIZER = "tokenizer.json"


class Text(Modality):
    """A cell is the text itself."""

    words = {
        "input": {
            "length": {"type": "int", "ge": 4, "le": 512, "description": "Tokens a text is cut or padded to."},
            "words": {
                "type": "bool",
                "default": False,
                "description": "Whether a model is told where each word, what stands between spaces, begins: for labels of words (token_labels).",
            },
        },
        "augment": {
            "wordings": {
                "type": "int",
                "default": 0,
                "ge": 0,
                "le": 1000,
                "description": "Other wordings of each text, made with words that are near in the teacher's vocabulary; the teacher alone answers "
                "them. 0: a student learns no words but the data's own.",
            },
            "reworded": {
                "type": "float",
                "default": 0.3,
                "ge": 0,
                "le": 1,
                "description": "Rows that are also asked in other words, as a share of all training rows.",
            },
        },
        "feed": {
            "name": {"type": "str", "default": "input_ids", "description": "The file's input of token ids."},
            "mask": {
                "type": "str",
                "default": None,
                "description": "Its input that is 1 where there is a token, 0 where padding; null: it has none.",
            },
            "types": {"type": "str", "default": None, "description": "Its input of token types, which are 0; null: it has none."},
        },
        "student": {
            "initialise": {
                "type": ["teacher", "random"],
                "default": "teacher",
                "description": "teacher: layers, channels, heads and neurons picked from the teacher's text encoder; of a bag: its word vectors.",
            },
            "vocab": {
                "type": ["task", "full", "own"],
                "default": "task",
                "description": "task: of the teacher's tokens those of the training text, the special ones and the single characters; full: all of them; "
                "own: tokens learnt from the training text, which a teacher without a vocabulary (answers) or with one that cannot be cut needs.",
            },
        },
    }
    student = "distilbert"
    blank = "empty text"
    worded = True
    assets = (TOKENIZER,)

    def column(self, column: pa.ChunkedArray, folder: Path, place: str) -> pa.ChunkedArray:
        """The strings as they are written; of lists of words, these with spaces between them."""
        from compress.modalities.cells import text_column, word_column

        return text_column(word_column(column, place), place)

    def store(self, inputs: Inputs, files: dict[str, Any], *, folder: Path, threads: int) -> Failures:
        """`file`.arrow: (N,) strings, the same for all models, so it is written once."""
        from compress.modalities.tokens import write_texts

        write_texts(folder / f"{self.name}.arrow", inputs.keys)
        return {}

    def keep(self, file: str, kept: np.ndarray, *, folder: Path, out: Path) -> None:
        """Those texts alone."""
        import pyarrow as pa

        from compress.modalities.tokens import read_texts, write_texts

        if file == self.name:
            texts = read_texts(folder / f"{file}.arrow").take(pa.array(kept))
            (out / f"{file}.arrow").unlink(missing_ok=True)  # it may be mapped: writing into it would change what is being read
            write_texts(out / f"{file}.arrow", texts)

    def sizes(self, inputs: Inputs, index: Sequence[int]) -> dict[str, list[float]]:
        """Words between spaces, which a tokenizer may cut further."""
        return {"words": [float(len(str(inputs.value(i)).split())) for i in index]}

    def near(self, stored: Sequence[Any], *, folder: Path) -> np.ndarray:
        """Texts that differ in case, punctuation or a word in ten."""
        from compress.modalities.near_texts import near_texts

        return near_texts(stored)

    def open(self, folder: Path, file: str) -> Any:
        """A pa.Array of strings."""
        from compress.modalities.tokens import read_texts

        return read_texts(folder / f"{self.name}.arrow")

    def port(self, words: Any, model: Path | None) -> Port:
        """(T,) int64; the largest id is known once there is a tokenizer."""
        from compress.modalities.tokens import vocabulary_size

        known = model is not None and (model / TOKENIZER).is_file()
        most = vocabulary_size(model / TOKENIZER) - 1 if known and model else None
        if not words.words:
            return Port(self.name, "int64", (words.length,), 0, most)
        return Port(self.name, "int64", (words.length,), None if most is None else -most, most, reading={"words": True})

    def arrays(self, stored: Any, port: Port, model: Path | None) -> np.ndarray:
        """Token ids (N, T) int64."""
        from compress.modalities.tokens import tokenize

        if model is None or not (model / TOKENIZER).is_file():
            raise ValueError(f"a model that reads text needs its {TOKENIZER}")
        return tokenize(model / TOKENIZER, stored, port.shape[0], words=bool((port.reading or {}).get("words")))

    def feed(self, words: Any, *, padding: int = 0) -> dict[str, list[tuple[str, Any]]]:
        """Token ids as they are, and what a file wants beside them."""
        masked: list[tuple[str, Any]] = [("Sub", np.int64(padding)), ("Cast", "bool")]  # true where a token is not the padding
        found: dict[str, list[tuple[str, Any]]] = {words.name: []}
        found |= {words.mask: masked} if words.mask else {}
        return found | ({words.types: [("Mul", np.int64(0))]} if words.types else {})

    def reword(self, words: Any, split: Any, teacher: nn.Module, *, model: Path, seed: int) -> Any | None:
        """The split's rows in other words, of which the same recipe and teacher give the same."""
        from compress.modalities.tokens import vocabulary
        from compress.modalities.wordings import draw_wordings
        from compress.models.words import nearest_words

        if words is None or not words.wordings:
            return None
        near = partial(nearest_words, teacher, vocabulary(model / TOKENIZER))
        try:
            return draw_wordings(
                split, near, model / TOKENIZER, modality=self.name, per_text=words.wordings, share=words.reworded, seed=seed
            )
        except LookupError as error:
            raise RecipeError(f"distill.augment.text.wordings: the teacher has {error} to find near words in; set it to 0") from error

    def check_start(
        self, section: Any, encoder: Callable[[], Any], teacher: Callable[[], nn.Module | None], folder: Callable[[], Path | None]
    ) -> None:
        """The teacher has layers and sizes that the student's are picked from, and token ids that can be kept."""
        from compress.models.inherit import check_bag, check_inherit
        from compress.models.text import Bag, TextEncoder

        if section.vocab != "own" and (place := folder()) and (place / TOKENIZER).is_file():
            check_padding(place / TOKENIZER) if section.vocab == "full" else check_trims(place / TOKENIZER)
        if starts_from_teacher(section) and isinstance(own := encoder(), TextEncoder | Bag) and (source := teacher()):
            if not is_student(source, section):
                check_bag(own, source) if isinstance(own, Bag) else check_inherit(own, source)

    def write_assets(self, section: Any, teacher: Path, inputs: Callable[[str], Sequence[Any]], *, out: Path) -> dict:
        """The student's tokenizer.json; gives {"kept": the teacher's id of each of its tokens, None: they are its own, "vocabulary": counts}."""
        from compress.modalities.tokens import learn_vocabulary, trim_vocabulary, unknown_rate, vocabulary_size

        source, target = teacher / TOKENIZER, out / TOKENIZER
        if section.vocab == "own" or not source.is_file():
            tokens = learn_vocabulary(inputs("train"), target)
            counts = {"tokens": tokens, "teacher_tokens": tokens, "unknown_rate_validation": unknown_rate(target, inputs("validation"))}
            return {"kept": None, "vocabulary": counts}
        size = vocabulary_size(source)
        if section.vocab == "full":
            check_padding(source)
            shutil.copyfile(source, target)
            kept = list(range(size))
        else:
            kept = trim_vocabulary(source, inputs("train"), target)
        counts = {"tokens": len(kept), "teacher_tokens": size, "unknown_rate_validation": unknown_rate(target, inputs("validation"))}
        return {"kept": kept, "vocabulary": counts}

    def initialise(self, encoder: nn.Module, section: Any, teacher: Path, known: dict, inputs: np.ndarray) -> dict:
        """Layers picked from the teacher's encoder, or its word vectors; gives {"vocabulary", "inherited"}."""
        from compress.models.inherit import inherit_bag, inherit_text
        from compress.models.saved import load_model
        from compress.models.text import Bag, TextEncoder

        counts = known["vocabulary"]
        saved = (counts["teacher_tokens"] - counts["tokens"]) * encoder.get_parameter("words.weight").shape[1]
        report = {"vocabulary": {**counts, "saved_parameters": saved}, "inherited": None}
        if section.initialise == "random" or known["kept"] is None or not isinstance(encoder, TextEncoder | Bag):
            return report
        start: Callable[..., dict] = inherit_bag if isinstance(encoder, Bag) else inherit_text
        source = load_model(teacher)
        return report if is_student(source, section) else {**report, "inherited": start(encoder, source, known["kept"])}

    def as_given(self, stored: Any, index: int, port: Port) -> dict[str, Any]:
        """The text."""
        return {"text": stored[index].as_py()}

    def show(self, stored: Any, index: int) -> str:
        """The text."""
        return html.escape(stored[index].as_py())


def check_trims(tokenizer: Path) -> None:
    """Raises DataError for a tokenizer whose vocabulary cannot be cut to a task."""
    from compress.modalities.tokens import read_wordpiece

    read_wordpiece(tokenizer, needs="student.encoders.text.vocab: task trims", way_out="set vocab: own")


def is_student(teacher: nn.Module, section: Any) -> bool:
    """Whether the teacher is a student itself, from which nothing is picked. Raises RecipeError where the recipe asks for that."""
    from compress.models.text import Bag, TextEncoder

    if not any(isinstance(part, TextEncoder | Bag) for part in teacher.modules()):
        return False
    if "initialise" in section.model_fields_set:
        raise RecipeError(
            "student.encoders.text.initialise: teacher picks from a BERT, and this teacher is a student itself; set it to random, or go on "
            "from that student with student.initialise"
        )
    return True


def starts_from_teacher(section: Any) -> bool:
    """Whether the student's layers are picked from the teacher's: those of tokens of its own would read other words."""
    return section.initialise == "teacher" and section.vocab != "own"


def check_padding(tokenizer: Path) -> None:
    """Raises DataError for a tokenizer whose vocabulary a student cannot keep whole."""
    from compress.modalities.tokens import padding_id

    if found := padding_id(tokenizer):
        raise DataError(
            f"{tokenizer}: its padding token has id {found}, a student needs 0; student.encoders.text.vocab: own or, of WordPiece, task makes it so"
        )
