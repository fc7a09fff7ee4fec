"""A teacher that answers during training: it sees what the student sees, as it reads it, and its cost is its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from ports import io_spec
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

from compress import placement
from compress.data.prepared import Split
from compress.io_spec import Outputs
from compress.modalities.further import Further
from compress.models.saved import load_model, save_model
from compress.models.student import student
from compress.recipe.grammar import load_recipe
from compress.training import live
from compress.training.batches import Batches, LiveTeacher, Rows
from compress.training.live import open_live, student_seconds, teacher_seconds
from compress.training.views import draw_views

WORDS = ["[PAD]", "[UNK]", "left", "right"]
MIXED = """\
name: mixed
data: {{source: manifest, options: {{train: train.csv, test: test.csv}}, inputs: {{image: {{size: 8}}}}}}
teacher: {{source: fit, encoders: {{image: {{model: efficientnet_lite2}}}}}}
student: {{encoders: {{image: {{}}}}}}
distill: {{teacher: live, augment: {{image: {{{word}: 1.0}}}}}}
"""
OPTIONS = {
    "encoders": {
        "image": {"model": "mobilenet_v4", "options": {"width": 0.25, "out": 8, "stem_stride": 1}},
        "text": {"model": "distilbert", "options": {"layers": 1, "width": 16, "heads": 2, "feedforward": 16}},
    },
    "head_width": 8,
}


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "has_bf16", lambda: False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A teacher of images of 16 pixels and texts of 3 tokens."""
    torch.manual_seed(0)
    io = io_spec(image_size=16, text_length=3, vocabulary=len(WORDS), classes=3)
    save_model(student(io, **OPTIONS), tmp_path, name="student", options=OPTIONS, io=io)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def draw_split() -> Split:
    """6 images, of 8 pixels for the student and of 16 for the teacher, each with two texts."""
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    rows = {"image": np.repeat(np.arange(6), 2), "text": np.tile([0, 1], 6)}
    none = np.full(12, -1)
    inputs = {"image": images[:, ::2, ::2], "text": pa.array(["left", "right left"])}
    return Split("train", inputs, rows, none, none, none, np.zeros(12, bool), {**inputs, "image": images})


def test_live_teacher_answers_as_the_saved_one_on_inputs_as_it_reads_them(folder: Path) -> None:
    teacher, split = open_live(folder, draw_split(), None), draw_split()
    assert np.array_equal(teacher.inputs["image"], split.teacher_inputs["image"])
    assert teacher.inputs["text"].tolist() == [[2, 0, 0], [3, 2, 0]]
    given = {m: torch.from_numpy(x) for m, x in teacher.inputs.items()}
    which = {m: torch.from_numpy(x) for m, x in split.rows.items()}
    with torch.no_grad():
        torch.testing.assert_close(teacher.call(given, which).logits, load_model(folder)(given, which).logits)


def test_live_teacher_reads_other_words_behind_the_splits_own(folder: Path) -> None:
    wordings = Further({"image": np.array([4, 0]), "text": np.array([2, 3])}, "text", pa.array(["left left left", "nowhere"]))
    assert open_live(folder, draw_split(), wordings).inputs["text"].tolist() == [[2, 0, 0], [3, 2, 0], [2, 2, 2], [1, 0, 0]]


def test_live_teacher_sees_the_variant_that_the_student_sees() -> None:
    """Of each batch, which it answers with the corner of the image it saw, mirrored or not, and in new ones in the next pass."""
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "smoke.yaml", ["distill.augment.image.shift=2"]).recipe
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    teacher = LiveTeacher(lambda inputs, rows: Outputs(inputs["image"][rows["image"]].flatten(1).float()), {"image": images})
    rows = Rows({"image": images}, {"image": np.arange(20)}, np.zeros(20, int), views=draw_views(recipe), live=teacher)
    batches, seen = Batches(rows, 5), []
    for epoch in (0, 1):
        for batch in batches.epoch(epoch):
            assert torch.equal(batch.teacher.logits, batch.inputs["image"][batch.rows["image"]].flatten(1).float())
            assert not torch.equal(batch.inputs["image"], torch.from_numpy(images[batch.grouping]))
        seen.append({int(n): x.tolist() for b in batches.epoch(epoch) for n, x in zip(b.grouping, b.inputs["image"], strict=True)})
    assert sum(seen[0][n] != seen[1][n] for n in range(20)) > 10  # of 50 variants two may be alike


@pytest.mark.parametrize("word", ["mixup", "cutmix"])
def test_live_teacher_sees_the_mixture_that_the_student_sees(word: str, tmp_path: Path) -> None:
    """Of images that are one level all over, which is their label too: the mean level is that of the labels in their shares."""
    for name, text in {"mixed.yaml": MIXED.format(word=word), "train.csv": "image,label", "test.csv": "image,label"}.items():
        (tmp_path / name).write_text(text)
    levels = 12 * np.arange(20)
    images = np.broadcast_to(levels[:, None, None, None], (20, 8, 8, 3)).astype(np.uint8)
    teacher = LiveTeacher(lambda inputs, rows: Outputs(inputs["image"][rows["image"]].flatten(1).float()), {"image": images})
    rows = Rows({"image": images}, {"image": np.arange(20)}, levels, live=teacher)
    rows = replace(rows, views=draw_views(load_recipe(tmp_path / "mixed.yaml").recipe))
    batches, shares = Batches(rows, 5), []
    for batch in (batch for epoch in range(3) for batch in batches.epoch(epoch)):
        assert torch.equal(batch.teacher.logits, batch.inputs["image"].flatten(1).float())
        others, share = batch.mixed
        wanted = share * batch.labels + (1 - share) * others
        torch.testing.assert_close(batch.teacher.logits.mean(1), wanted.float(), atol=0.51, rtol=0)  # pixels are whole levels
        shares.append(share)
    assert len(set(shares)) > 6 and all(0 <= share <= 1 for share in shares)
    again = next(batches.epoch(2))
    assert torch.equal(again.inputs["image"], next(batches.epoch(2)).inputs["image"])
    assert all(batch.mixed is None for batch in Batches(rows, 5, shuffle=False).epoch(0))  # what is scored is as it is


class Costly(nn.Module):
    """A model whose every call takes so many seconds of `clock`."""

    def __init__(self, clock: SimpleNamespace, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds
        self.body, self.norm = nn.Linear(12, 3), nn.BatchNorm1d(3)

    def forward(self, inputs: dict, rows: dict) -> Outputs:
        self.clock.now += self.seconds
        return Outputs(self.norm(self.body(inputs["image"].float().flatten(1)))[rows["image"]])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only models move."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(live.time, "perf_counter", lambda: clock.now)
    return clock


def rows_of(call: nn.Module) -> Rows:
    images = np.random.default_rng(0).integers(0, 256, (20, 2, 2, 3), np.uint8)
    return Rows({"image": images}, {"image": np.arange(20)}, np.zeros(20, int), live=LiveTeacher(call, {"image": images}))


def test_costs_are_seconds_a_batch_of_teacher_and_student_alone(clock: SimpleNamespace) -> None:
    rows = rows_of(Costly(clock, 5.0).eval())
    assert teacher_seconds(rows) == 5.0
    assert student_seconds(Costly(clock, 2.0), rows) == 2.0


def test_measuring_a_student_leaves_it_as_it_was(clock: SimpleNamespace) -> None:
    model = Costly(clock, 1.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    student_seconds(model, rows_of(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and all(p.grad is None for p in model.parameters())
