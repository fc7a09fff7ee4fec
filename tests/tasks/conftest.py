"""One tiny set for each task, of rows of numbers or of words, and the recipe that runs the whole chain on it in seconds."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compress.modalities.tokens import learn_vocabulary

RECIPE = """\
name: {name}
data:
  source: manifest
  task: {task}
  options: {{train: train.csv, test: test.csv, columns: {{numbers: sensor, label: answer}}}}
  inputs: {{numbers: {{size: 6}}}}
teacher:
  source: fit
  encoders: {{numbers: {{model: raw}}}}
  head_width: 32
  train: {{epochs: 20, batch_size: 16, learning_rate: 5.0e-3}}
student: {{encoders: {{numbers: {{options: {{width: 16}}}}}}}}
distill: {{train: {{epochs: 40, batch_size: 16, learning_rate: 1.0e-2}}, compare_alone: true}}
quantize: {{calibration_batches: 4, max_drop_points: 1.0, train: {{epochs: 1, batch_size: 16}}}}
export: {{targets: [onnxruntime_x86], parity: {{samples: 64}}}}
benchmark: {{batches: [1], rounds: 10, warmup: 1}}
"""


WORDS = {"ann": "B-PER", "bob": "B-PER", "new": "B-LOC", "york": "I-LOC", "oslo": "B-LOC", "saw": "O", "and": "O", "in": "O", "went": "O"}
READS_WORDS = """\
name: {name}
plugins: [words.py]
data:
  source: manifest
  task: {task}
  task_options: {{words: 8}}
  options: {{train: train.csv, test: test.csv, columns: {{text: sentence, label: answer}}}}
  inputs: {{text: {{length: 12, words: true}}}}
teacher:
  source: fit
  encoders: {{text: {{model: drawn_{name}}}}}
  head_width: 32
  train: {{epochs: 20, batch_size: 16, learning_rate: 5.0e-3}}
student: {{encoders: {{text: {{options: {{layers: 1, width: 16, heads: 2, feedforward: 32}}, initialise: random}}}}}}
distill: {{train: {{epochs: 30, batch_size: 16, learning_rate: 1.0e-2}}, compare_alone: true}}
quantize: {{calibration_batches: 4, max_drop_points: 1.0, train: {{epochs: 1, batch_size: 16}}}}
export: {{targets: [onnxruntime_x86], parity: {{samples: 64}}}}
benchmark: {{batches: [1], rounds: 10, warmup: 1}}
"""
PAIRS = """\
name: {name}
plugins: [words.py]
data:
  source: manifest
  task: {task}
  task_options: {{size: 8, dimensions: [4]}}
  options: {{train: train.csv, validation: validation.csv, test: test.csv, columns: {{numbers: sensor, text: words, label: answer}}}}
  inputs: {{numbers: {{size: 6}}, text: {{length: 10}}}}
teacher:
  source: fit
  encoders: {{numbers: {{model: raw}}, text: {{model: drawn_{name}}}}}
  head_width: 32
  train: {{epochs: 12, batch_size: 32, learning_rate: 5.0e-3}}
student:
  encoders:
    numbers: {{options: {{width: 16}}}}
    text: {{options: {{layers: 1, width: 16, heads: 2, feedforward: 32}}, initialise: random}}
distill: {{train: {{epochs: 16, batch_size: 32, learning_rate: 1.0e-2}}, compare_alone: true}}
quantize: {{calibration_batches: 4, max_drop_points: 1.0, train: {{epochs: 1, batch_size: 16}}}}
export: {{targets: [onnxruntime_x86], parity: {{samples: 64}}}}
benchmark: {{batches: [1], rounds: 10, warmup: 1}}
"""
SEVERAL = RECIPE.replace(
    "label: answer}}}}\n",
    """}}}}
  heads:
    state: {{}}
    price: {{task: regression, column: cost, weight: 0.5}}
    tags: {{task: multi_label, task_options: {{separator: "+"}}}}
""",
).replace("sensor, }}", "sensor}}")
MASKS = """\
name: {name}
plugins: [maps.py]
data:
  source: manifest
  task: {task}
  task_options: {{stride: 4}}
  names: [ground, disc, square]
  options: {{train: train.csv, test: test.csv, columns: {{image: picture, mask: answer}}}}
  inputs: {{image: {{size: 32}}}}
teacher:
  source: fit
  encoders: {{image: {{model: drawn_{name}}}}}
  head_width: 32
  train: {{epochs: 12, batch_size: 32, learning_rate: 5.0e-3}}
student:
  encoders: {{image: {{model: drawn_{name}}}}}
  head_width: 24
distill:
  augment: {{views: 2, image: {{flip: true, crop: 0.8}}}}
  teacher: stored
  train: {{epochs: 8, batch_size: 16, learning_rate: 1.0e-2, validate_every: 4}}
  compare_alone: true
quantize: {{calibration_batches: 4, max_drop_points: 1.0, train: {{epochs: 1, batch_size: 16}}}}
export: {{targets: [onnxruntime_x86, tensorrt], parity: {{samples: 32}}}}
benchmark: {{batches: [1], rounds: 10, warmup: 1}}
"""
MAPS = """\
import torch

from compress.models.layers import ConvNorm, Pixels
from compress.models.maps import map_by_map
from compress.models.vision import CENTRE, SPREAD


class Drawn(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.pixels, self.width = Pixels(CENTRE, SPREAD), 32
        sizes = ((3, 16, 2), (16, 24, 2), (24, 32, 2), (32, 32, 1))
        self.body = torch.nn.Sequential(*(ConvNorm(c, out, kernel=3, stride=stride) for c, out, stride in sizes))

    def forward(self, image, *, maps=False):
        stem, *layers = self.body
        found = map_by_map(stem(self.pixels(image)), layers)
        return found if maps else found[-1].mean((2, 3))

    def load_pretrained(self):
        torch.manual_seed(0)
        for parameter in self.parameters():
            if parameter.ndim == 4:
                torch.nn.init.kaiming_normal_(parameter)


def drawn(port):
    return Drawn()


IMAGE_ENCODERS = {{"drawn_{name}": drawn}}
"""
DRAWN = """\
from pathlib import Path

import torch

from compress.models.text import WordEncoder


class Drawn(WordEncoder):
    assets = {{"tokenizer.json": Path({folder!r}) / "tokenizer.json"}}

    def load_pretrained(self):
        torch.manual_seed(0)
        torch.nn.init.normal_(self.words.weight)


def drawn(port):
    return Drawn(vocabulary=60, length=port.shape[0], width=16, layers=0, heads=1, feedforward=1)


TEXT_ENCODERS = {{"drawn_{name}": drawn}}
"""


def single(values: np.ndarray) -> str:
    return "up" if values[0] > 0 else "down"


def tags(values: np.ndarray) -> str:
    """Each of the first three numbers has its tag; one row in eight has none."""
    return "|".join(name for name, value in zip(("hot", "wet", "loud"), values) if value > 0) or " "


def number(values: np.ndarray) -> str:
    return f"{100 + 20 * values[0] - 10 * values[1]:.3f}"


ANSWERS: dict[str, Callable[[np.ndarray], str]] = {
    "single_label": single,
    "multi_label": tags,
    "regression": number,
    "embedding": single,
    "verification": single,
}
OPTIONS = {"multi_label": "{blank_is_none: true}", "embedding": "{size: 4, dimensions: [2]}", "verification": "{size: 4}"}


def write_pairs(folder: Path, *, train: int = 320, test: int = 80) -> None:
    """A file a split with the columns sensor, words, which say of the first four numbers whether they are above 0 among words that say
    nothing, and answer, what they say; and an encoder of drawn word vectors with its tokenizer.json."""
    draw = np.random.default_rng(0)
    known = [("hot", "cold"), ("wet", "dry"), ("loud", "still"), ("high", "low")]
    idle = [f"s{place}" for place in range(30)]
    for split, count in (("train", train), ("validation", test), ("test", test)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["sensor", "words", "answer"])
            for _ in range(count):
                values = draw.normal(size=6)
                said = [yes if value > 0 else no for value, (yes, no) in zip(values, known, strict=False)]
                sensor = " ".join(f"{v:.4f}" for v in values)
                rows.writerow([sensor, " ".join([*said, *draw.choice(idle, size=2)]), " ".join(said)])
    learn_vocabulary([*(word for pair in known for word in pair), *idle], folder / "tokenizer.json")
    (folder / "words.py").write_text(
        DRAWN.replace("WordEncoder", "TextEncoder").replace("=60", "=200").format(folder=str(folder), name=folder.name.rstrip("0123456789"))
    )


def write_masks(folder: Path, *, train: int = 200, test: int = 80) -> None:
    """train.csv and test.csv with the columns picture and mask: a disc and a square of two colours on noise, their masks grey and palette PNGs."""
    from PIL import Image, ImageDraw

    draw = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        rows = ["picture,answer"]
        for number in range(count):
            picture = Image.fromarray(draw.integers(60, 100, size=(40, 40, 3), dtype=np.uint8))
            mask = Image.new("P" if number % 2 else "L", (40, 40))
            if number % 2:
                mask.putpalette(bytes(range(256)) * 3)
            for place, (colour, shape) in enumerate((((220, 40, 40), "ellipse"), ((40, 60, 220), "rectangle"))):
                x, y, side = int(draw.integers(0, 20)), int(draw.integers(0, 20)), int(draw.integers(14, 20))
                for image, fill in ((picture, colour), (mask, 1 + place)):
                    getattr(ImageDraw.Draw(image), shape)((x, y, x + side, y + side), fill=fill)
            ImageDraw.Draw(mask).line((0, 0, 39, 0), fill=255)  # the upper edge is not labelled
            for image, what in ((picture, "picture"), (mask, "mask")):
                image.save(folder / f"{split}-{number}-{what}.png")
            rows.append(f"{split}-{number}-picture.png,{split}-{number}-mask.png")
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")
    (folder / "maps.py").write_text(MAPS.format(name=folder.name.rstrip("0123456789")))


def write_words(folder: Path, *, train: int = 300, test: int = 80) -> None:
    """train.csv and test.csv with the columns sentence and answer, an encoder of drawn word vectors and its tokenizer.json."""
    draw, known = np.random.default_rng(0), list(WORDS)
    for split, count in (("train", train), ("test", test)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["sentence", "answer"])
            for _ in range(count):
                words = [known[place] for place in draw.integers(len(known), size=draw.integers(3, 8))]
                rows.writerow([" ".join(words), " ".join(WORDS[word] for word in words)])
    learn_vocabulary(known, folder / "tokenizer.json")
    (folder / "words.py").write_text(DRAWN.format(folder=str(folder), name=folder.name.rstrip("0123456789")))


def write_rows(folder: Path, answer: Callable[[np.ndarray], str], *, train: int = 400, test: int = 80) -> None:
    """train.csv and test.csv with the columns sensor and answer."""
    draw = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["sensor", "answer"])
            for _ in range(count):
                values = draw.normal(size=6)
                rows.writerow([" ".join(f"{v:.4f}" for v in values), answer(values)])


def write_heads(folder: Path, *, train: int = 480, test: int = 80) -> None:
    """train.csv and test.csv with the columns sensor, state, cost and tags; every fourth training row lacks one or another of these, and
    every fifth test row the cost."""
    draw = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["sensor", "state", "cost", "tags"])
            for row in range(count):
                values = draw.normal(size=6)
                answers = [single(values), number(values), tags(values).strip().replace("|", "+") or "calm"]
                if split == "train" and row % 4 == 0:
                    answers[row // 4 % 3] = ""
                if split == "test" and row % 5 == 0:
                    answers[1] = ""
                rows.writerow([" ".join(f"{v:.4f}" for v in values), *answers])


OTHERS = {
    "several": (write_heads, SEVERAL),
    "token_labels": (write_words, READS_WORDS),
    "retrieval": (write_pairs, PAIRS),
    "segmentation": (write_masks, MASKS),
}  # how to write their rows, and the recipe


@pytest.fixture(scope="session")
def task_recipe(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The recipe of a task by its name, beside its rows."""
    made: dict[str, Path] = {}

    def write(task: str) -> Path:
        if task not in made:
            folder = tmp_path_factory.mktemp(task)
            if task in ANSWERS:
                write_rows(folder, ANSWERS[task])
            else:
                OTHERS[task][0](folder)
            text = (RECIPE if task in ANSWERS else OTHERS[task][1]).format(name=task, task=task)
            if task in OPTIONS:
                text = text.replace("  inputs:", f"  task_options: {OPTIONS[task]}\n  inputs:", 1)
            (folder / "recipe.yaml").write_text(text)
            made[task] = folder / "recipe.yaml"
        return made[task]

    return write
