"""`Seen`: what a look at the user's own files found, which a recipe is chosen from and whose numbers stand in its comments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Pictures:
    """Sizes of the pictures whose headers were read, in pixels."""

    looked: int
    sides: tuple[int, int, int]  # the shorter side: of the smallest, of the one in the middle, of the largest
    longest: int  # the longer side of the largest
    alike: bool  # all have one size


@dataclass(frozen=True)
class Sounds:
    """Lengths and rates of the sounds whose headers were read."""

    looked: int
    seconds: tuple[float, float, float]  # of the one in the middle, of the 95th of a hundred, of the longest
    rate_hz: int  # samples a second of most of them


@dataclass(frozen=True)
class Texts:
    """Lengths of the training texts, in tokens of the teacher's tokenizer or, where it is not there, guessed from their words."""

    different: int
    tokens: tuple[int, int, int]  # of the one in the middle, of the 95th of a hundred, of the longest; with the two marks at the ends
    guessed: bool


@dataclass(frozen=True)
class SeenHead:
    """One of several columns of answers, and the head that is to learn it."""

    column: str
    task: str
    options: dict[str, Any]  # task_options
    told: str  # what was seen of its answers


@dataclass(frozen=True)
class Seen:
    """What the files hold. Rows are counted as they are; `broken` counts those that a run cannot use, of the rows that were looked at."""

    files: dict[str, str]  # split -> path, as a recipe names it
    columns: dict[str, str]  # image, audio, text, label, group -> the file's own name
    rows: dict[str, int]  # by split
    inputs: int  # different pictures (sounds, texts where there are none) of the training rows
    labels: dict[str, int]  # label -> training rows, the commonest first
    unlabelled: int  # training rows without a label
    pictures: Pictures | None = None
    texts: Texts | None = None
    sounds: Sounds | None = None
    groups: tuple[int, int] | None = None  # different groups of the training rows, and how many of them the test file has too
    broken: dict[str, int] = field(default_factory=dict)  # reason -> rows
    decoded: int = 0  # pictures and sounds that were read to the end to find broken ones
    task: str = "single_label"
    task_options: dict[str, Any] = field(default_factory=dict)
    answers: tuple[str, ...] = ()  # what is told of answers that are not one of K labels
    heads: dict[str, SeenHead] = field(default_factory=dict)  # of the task several, by name
    ceiling: float = 1.0  # share of the training rows that can be right at best, since equal inputs have different labels
    ignored: dict[str, str] = field(default_factory=dict)  # column -> why it is not read
    source: str = "manifest"  # the data set, of DATASETS, that reads such files
