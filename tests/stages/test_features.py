"""Frozen encoders of a `fit` teacher: what is stored of them, how a killed run goes on, and the head that is fitted on top."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from sections import RECIPE
from tokenizers import Tokenizer, models, pre_tokenizers

from compress.context import Context
from compress.data.manifest import manifest
from compress.data.prepare import prepare
from compress.data.prepared import PreparedData, open_data
from compress.errors import RecipeError
from compress.models.saved import load_model
from compress.recipe.recipe import Recipe
from compress.stages.features import encode_features
from compress.stages.teacher import load_teacher
from compress.store.artifacts import Features, FileRecord
from compress.tables import IMAGE_ENCODERS, TEXT_ENCODERS, load_plugins

WORDS = ["[PAD]", "[UNK]", "left", "right"]
PLUGIN = '''
from pathlib import Path

import torch
from torch import nn


class Halves(nn.Module):
    """Mean of the left and of the right half of an image."""

    width = 2

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def load_pretrained(self):
        self.gain.data.fill_(1.0)

    def forward(self, image):
        x = image.float().mean((1, 3)) / 255
        half = x.shape[1] // 2
        return torch.stack([x[:, :half].mean(1), x[:, half:].mean(1)], 1) * self.gain


class Bag(nn.Module):
    """Whether a text holds token 2, and token 3."""

    width = 2
    assets = {"tokenizer.json": Path(__file__).parent / "tokenizer.json"}

    def load_pretrained(self):
        pass

    def forward(self, text):
        return torch.stack([(text == 2).any(1), (text == 3).any(1)], 1).float()


def halves(port):
    """An image encoder."""
    return Halves()


def bag(port):
    """A text encoder."""
    return Bag()


IMAGE_ENCODERS = {"test_halves": halves}
TEXT_ENCODERS = {"test_bag": bag}
'''


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe's folder: two encoders as a plugin, and images that are bright on the left or on the right, each with both questions."""
    for table, name in ((IMAGE_ENCODERS, "test_halves"), (TEXT_ENCODERS, "test_bag")):
        monkeypatch.setitem(table, name, "")
        monkeypatch.delitem(table, name)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "plugin.py").write_text(PLUGIN)
    load_plugins([tmp_path / "plugin.py"])
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 6)):
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "text", "label"])
            for index in range(count):
                pixels = rng.integers(0, 60, (8, 8, 3), np.uint8)
                pixels[:, 4 * (index % 2) : 4 * (index % 2) + 4] += 150
                Image.fromarray(pixels).save(tmp_path / f"{split}{index}.png")
                writer.writerow([f"{split}{index}.png", "is it left ?", "no" if index % 2 else "yes"])
                writer.writerow([f"{split}{index}.png", "is it right ?", "yes" if index % 2 else "no"])
    return tmp_path


def recipe_of(*, flip: bool = True, **teacher: Any) -> Recipe:
    return RECIPE.model_validate(
        {
            "name": "tiny",
            "data": {
                "source": "manifest",
                "options": {"train": "train.csv", "test": "test.csv"},
                "inputs": {"image": {"size": 8}, "text": {"length": 4}},
                "validation_fraction": 0.2,
            },
            "teacher": {
                "source": "fit",
                "encoders": {"image": {"model": "test_halves"}, "text": {"model": "test_bag"}},
                "head_width": 16,
                "train": {"epochs": 20, "batch_size": 8, "learning_rate": 0.01, "trackers": []},
                **teacher,
            },
            "student": {"encoders": {"image": {}, "text": {"options": {"layers": 1, "width": 16}}}},
            "distill": {"augment": {"views": 2, "image": {"flip": True}} if flip else {}},
        }
    )


@pytest.fixture
def data(base: Path) -> PreparedData:
    recipe = recipe_of()
    source = manifest(base=base, **recipe.data.options)
    prepare(source, recipe.data, base / "data", seed=0, say=lambda line: None)
    return open_data(base / "data")


@pytest.fixture
def encode(base: Path, data: PreparedData) -> Callable[..., Features]:
    """Runs the stage and hands its artifact on as published."""

    def encoded(name: str = "features", **teacher: Any) -> Features:
        out = base / name
        out.mkdir(exist_ok=True)
        made = encode_features(recipe_of(**teacher), data, ctx=Context(out, say=lambda line: None))
        files = {str(p.relative_to(out)): FileRecord("", p.stat().st_size) for p in out.rglob("*") if p.is_file()}
        return Features(path=out, details=made.details, files=files)

    return encoded


def test_features_hold_each_input_in_each_view_it_has(encode: Callable, data: PreparedData) -> None:
    features = encode()
    shapes = {f"{s}-{m}": np.load(features.file(f"{s}-{m}.npy")).shape for s in ("train", "validation") for m in ("image", "text")}
    # 40 images less a fifth; flipped ones for training images alone; two questions
    assert shapes == {"train-image": (2, 32, 2), "validation-image": (1, 8, 2), "train-text": (1, 2, 2), "validation-text": (1, 2, 2)}
    images = np.load(features.file("train-image.npy"))
    np.testing.assert_allclose(images[1], images[0][:, ::-1], atol=1e-3)  # the second view is mirrored
    assert np.load(features.file("train-text.npy")).dtype == np.float16
    pixels = np.asarray(data.split("train").inputs["image"], np.float32) / 255
    np.testing.assert_allclose(images[0][:, 0], pixels[:, :, :4].mean((1, 2, 3)), atol=1e-3)  # load_pretrained was called


def test_killed_encoding_goes_on_behind_the_last_whole_view(encode: Callable) -> None:
    whole = np.load(encode().file("train-image.npy"))
    again = encode("killed")
    stored = np.load(again.file("train-image.npy"), mmap_mode="r+")
    stored[0], stored[1] = 7, 0  # the first view, whole and recognisable; the second cut off
    stored.flush()
    progress = again.path / "checkpoint" / "train-image"
    assert progress.read_text() == "2"
    progress.write_text("1")
    resumed = np.load(encode("killed").file("train-image.npy"))
    assert (resumed[0] == 7).all() and np.array_equal(resumed[1], whole[1])


def test_an_encoder_without_published_weights_is_refused(encode: Callable) -> None:
    encoders = {"image": {"model": "mobilenet_v4"}, "text": {"model": "test_bag"}}
    with pytest.raises(RecipeError, match="teacher.encoders.image.model: 'mobilenet_v4' has no pretrained weights"):
        encode(encoders=encoders)


def test_a_modality_without_an_encoder_is_refused() -> None:
    with pytest.raises(ValidationError, match="data.inputs.text is set, but teacher.encoders.text is not"):
        recipe_of(encoders={"image": {"model": "test_halves"}})


def fit(base: Path, features: Features, data: PreparedData, name: str, *, teacher: dict | None = None, **changes: Any) -> Any:
    (base / name).mkdir()
    return load_teacher(recipe_of(**(teacher or {})), features, data, ctx=Context(base / name, say=lambda line: None, **changes))


def test_fitted_teacher_answers_raw_inputs(encode: Callable, base: Path, data: PreparedData) -> None:
    made = fit(base, encode(flip=False), data, "teacher")  # mirrored, left is right
    assert made.metrics["validation_accuracy"] == {"value": 100.0, "unit": "%", "samples": 16}
    assert made.details["source"] == "fit" and made.io_spec.input("text").high == len(WORDS) - 1
    model, test = load_model(base / "teacher"), data.split("test")
    text = torch.tensor([[1, 1, 2, 1], [1, 1, 3, 1]])  # is it left ?, is it right ?
    assert test.inputs["text"].to_pylist() == ["is it left ?", "is it right ?"]
    rows = {m: torch.from_numpy(np.array(r)).long() for m, r in test.rows.items()}
    with torch.no_grad():
        logits = model({"image": torch.from_numpy(np.array(test.inputs["image"])), "text": text}, rows).logits
    assert (logits.argmax(1).numpy() == test.labels).all()
    assert (base / "teacher" / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


def test_frozen_encoders_stay_as_they_came(encode: Callable, base: Path, data: PreparedData) -> None:
    fit(base, encode(), data, "teacher")
    assert load_model(base / "teacher").encoders["image"][0].gain.item() == 1.0


def test_same_seed_gives_the_same_teacher_and_another_seed_another(encode: Callable, base: Path, data: PreparedData) -> None:
    features = encode()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(base, features, data, name, seed=seed)
    a, b, c = ((base / name / "model.safetensors").read_bytes() for name in ("a", "b", "c"))
    assert a == b != c


def test_fine_tuned_encoders_move_at_their_own_rate_and_the_saved_teacher_has_them(
    encode: Callable, base: Path, data: PreparedData
) -> None:
    tuning = {"blocks": 1, "epochs": 4, "batch_size": 8, "learning_rate": 0.01, "encoder_rate": 0.5, "trackers": []}
    made = fit(base, encode(flip=False), data, "tuned", teacher={"fine_tune": tuning})
    gain = load_model(base / "tuned").state_dict()["encoders.image.0.gain"].item()
    assert 0 < abs(gain - 1) < 4 * 8 * 0.5 * 0.01  # AdamW moves a number by at most about its rate a step
    told = made.details["fine_tune"]
    assert (told["trained_parameters"], told["blocks"], told["before"], told["best"]) == (1, 1, 1.0, 1.0)
    assert made.metrics["validation_accuracy"]["value"] == 100.0


def test_smoothed_labels_leave_a_fitted_head_less_sure(encode: Callable, base: Path, data: PreparedData) -> None:
    features = encode(flip=False)
    plain, smoothed = (fit(base, features, data, name, teacher={"smoothing": share}) for name, share in (("plain", 0.0), ("smoothed", 0.4)))
    # a label of two spread by 0.4 is (0.8, 0.2); 80 steps at a high rate come near it
    assert smoothed.details["softness"]["largest_p"] < 0.9 < plain.details["softness"]["largest_p"]
    assert smoothed.metrics == plain.metrics
