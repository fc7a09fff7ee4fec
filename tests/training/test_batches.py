"""Batches: each distinct input once, every row of the chosen groups once, the same numbers as row by row, and the same batch again."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compress.context import Context
from compress.io_spec import PRESENT
from compress.models.classifier import Classifier, Head, LinearHead
from compress.recipe.sections import Train
from compress.training.batches import Batches, Rows, hide, pair_labels, scheduled_batches, take
from compress.training.views import Views

CLASSES = 3


def draw_rows(*, images: int = 7, texts: int = 5, rows: int = 40, views: int = 1, seed: int = 0) -> Rows:
    """Rows in no order, over images of 4x4 pixels and texts of 3 tokens; targets[v, r, k] is 100 v + r + k / 10."""
    rng = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(images), rng.integers(images, size=rows - images)])  # no image without rows
    targets = 100 * np.arange(views)[:, None, None] + np.arange(rows)[:, None] + np.arange(CLASSES) / 10
    return Rows(
        {"image": rng.integers(0, 256, (images, 4, 4, 3)).astype(np.uint8), "text": rng.integers(1, 9, (texts, 3))},
        {"image": rng.permutation(owner).astype(np.int32), "text": rng.integers(texts, size=rows).astype(np.int32)},
        rng.integers(-1, CLASSES, rows).astype(np.int32),
        targets.astype(np.float16),
        Views("image", ((), (0, 1, True, 0, 1.0, 0.0, 0.0, 0.0), (0, 2, False, 1, 1.0, 0.0, 0.0, 0.0))[:views]),
    )


class Flat(nn.Module):
    """(N, ...) numbers to (N, 6) features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.linear(x.float().flatten(1) / 64))


def build_classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier({"image": Flat(48), "text": Flat(3)}, Head({"image": 6, "text": 6}, hidden=5, classes=CLASSES))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_batch_holds_each_distinct_input_once(size: int) -> None:
    data = draw_rows()
    for batch in Batches(data, size).epoch(0):
        for m in ("image", "text"):
            distinct = np.unique(data.rows[m][batch.index])
            assert len(batch.inputs[m]) == len(distinct)
            # what a row points at inside the batch is what it points at in the data
            assert np.array_equal(batch.inputs[m].numpy()[batch.rows[m].numpy()], data.inputs[m][data.rows[m][batch.index]])


def test_batch_brings_every_row_of_its_groups_once() -> None:
    data = draw_rows()
    for batch in Batches(data, 2).epoch(0):
        images = np.unique(data.rows["image"][batch.index])
        assert len(images) == 2
        assert sorted(batch.index) == list(np.flatnonzero(np.isin(data.rows["image"], images)))
        assert np.array_equal(batch.labels.numpy(), data.labels[batch.index])


def test_batch_gives_loss_and_gradient_of_row_by_row() -> None:
    data, model = draw_rows(), build_classifier()
    batch = Batches(data, 4, seed=3).collect(np.arange(4))
    loss = F.cross_entropy(model(batch.inputs, batch.rows).logits, batch.labels, ignore_index=-1)
    loss.backward()
    fast = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    total, count = torch.zeros(()), 0
    for r in range(len(data.labels)):  # the definition: mean over the labelled rows of these four images
        if data.rows["image"][r] in Batches(data, 4).groups[:4] and data.labels[r] >= 0:
            inputs = {m: torch.from_numpy(data.inputs[m][data.rows[m][r] : data.rows[m][r] + 1]) for m in ("image", "text")}
            total, count = total + F.cross_entropy(model(inputs).logits, torch.tensor([int(data.labels[r])])), count + 1
    (total / count).backward()
    assert loss.item() == pytest.approx((total / count).item(), rel=1e-5)
    for name, p in model.named_parameters():
        torch.testing.assert_close(fast[name], p.grad, rtol=1e-4, atol=1e-6)


def test_epoch_without_shuffling_covers_every_row_once() -> None:
    data = draw_rows()
    batches = Batches(data, 3, shuffle=False)
    index = np.concatenate([batch.index for batch in batches.epoch(0)])
    assert batches.steps == 3  # 7 images, 3 a batch
    assert sorted(index) == list(range(40))


def test_shuffled_epoch_covers_whole_batches_and_drops_the_rest() -> None:
    data = draw_rows()
    batches = Batches(data, 3)
    seen = [np.unique(data.rows["image"][batch.index]) for batch in batches.epoch(0)]
    assert [len(images) for images in seen] == [3, 3]  # of 7
    assert len(np.unique(np.concatenate(seen))) == 6


def test_shuffled_epochs_reach_every_group() -> None:
    data = draw_rows()
    batches = Batches(data, 3)
    assert len(set(np.concatenate([data.rows["image"][b.index] for epoch in range(5) for b in batches.epoch(epoch)]))) == 7


def test_batch_larger_than_the_data_takes_all() -> None:
    batches = Batches(draw_rows(), 100)
    assert batches.steps == 1
    assert sorted(next(batches.epoch(0)).index) == list(range(40))


def test_batch_depends_on_seed_epoch_and_step_alone() -> None:
    data = draw_rows(views=3)
    whole = list(Batches(data, 2, seed=5).epoch(4))
    resumed = list(Batches(data, 2, seed=5).epoch(4, first_step=2))
    assert len(resumed) == len(whole) - 2
    for a, b in zip(whole[2:], resumed):
        assert np.array_equal(a.index, b.index)
        assert torch.equal(a.inputs["image"], b.inputs["image"])
        assert a.teacher is not None
        assert torch.equal(a.teacher.logits, b.teacher.logits)
    for other in (Batches(data, 2, seed=6).epoch(4), Batches(data, 2, seed=5).epoch(3)):
        assert any(not np.array_equal(a.index, b.index) for a, b in zip(whole, other))


def test_keep_leaves_out_rows_and_groups_without_rows() -> None:
    data = draw_rows()
    keep = (data.labels >= 0) & (data.rows["image"] != 2)
    batches = Batches(data, 2, keep=keep, shuffle=False)
    index = np.concatenate([batch.index for batch in batches.epoch(0)])
    assert sorted(index) == list(np.flatnonzero(keep))
    assert 2 not in batches.groups


def test_teacher_logits_are_of_the_row_and_the_view() -> None:
    data = draw_rows(views=3)
    drawn = set()
    for batch in (b for epoch in range(3) for b in Batches(data, 3, seed=1).epoch(epoch)):
        assert batch.teacher is not None
        view = ((batch.teacher.logits[:, 0].numpy() - batch.index) / 100).round().astype(int)  # targets are 100 v + r + k / 10
        drawn |= set(view.tolist())
        expected = 100 * view[:, None] + batch.index[:, None] + np.arange(CLASSES) / 10
        np.testing.assert_allclose(batch.teacher.logits.numpy(), expected, atol=0.2)  # float16 near 240
        for row, v in enumerate(view):
            owner = data.rows["image"][batch.index[row : row + 1]]
            image = torch.from_numpy(data.inputs["image"][owner])
            assert torch.equal(batch.inputs["image"][batch.rows["image"][row]], data.views.vary(image, int(v), owner)[0])
    assert drawn == {0, 1, 2}


def test_hidden_states_are_of_the_row_and_the_view() -> None:
    data = draw_rows(views=3)
    data = replace(data, hidden={"embedding": -data.targets[:, :, :2]})
    for batch in Batches(data, 3, seed=1).epoch(0):
        assert torch.equal(batch.teacher.embedding, -batch.teacher.logits[:, :2])


def test_unshuffled_batches_see_the_images_themselves() -> None:
    data = draw_rows(views=3)
    for batch in Batches(data, 3, shuffle=False).epoch(0):
        assert batch.teacher is not None
        np.testing.assert_allclose(batch.teacher.logits[:, 0].numpy(), batch.index, atol=0.1)
        assert torch.equal(
            batch.inputs["image"][batch.rows["image"]], torch.from_numpy(data.inputs["image"][data.rows["image"][batch.index]])
        )


def test_text_alone_groups_by_text() -> None:
    both = draw_rows()
    data = Rows({"text": both.inputs["text"]}, {"text": both.rows["text"]}, both.labels)
    batch = Batches(data, 2, shuffle=False).collect(np.array([1, 3]))
    assert data.group == "text"
    assert batch.teacher is None
    assert sorted(batch.index) == list(np.flatnonzero(np.isin(data.rows["text"], [1, 3])))
    torch.manual_seed(0)
    model = Classifier({"text": Flat(3)}, LinearHead("text", 6, CLASSES))
    assert model(batch.inputs, batch.rows).logits.shape == (len(batch.index), CLASSES)


def test_take_keeps_the_asked_order_of_a_mapped_file(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.arange(20).reshape(10, 2))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    got = take(mapped, np.array([7, 0, 7, 3]))
    assert got.tolist() == [[14, 15], [0, 1], [14, 15], [6, 7]]
    assert got.flags.writeable


def half_labelled() -> Rows:
    """64 images, 8 of them labelled."""
    labels = np.full(64, -1)
    labels[:8] = np.arange(8) % 2
    return Rows({"image": np.zeros((64, 2, 2, 3), np.uint8)}, {"image": np.arange(64)}, labels)


def test_labelled_rows_alone_are_dealt_out_for_as_many_steps_and_validations(tmp_path) -> None:
    config = Train(epochs=20, batch_size=8, validate_every=0.5)
    batches, schedule = scheduled_batches(
        half_labelled(), config, label="alone", ctx=Context(tmp_path, say=lambda line: None), labelled=True
    )
    assert (batches.steps, schedule.max_steps) == (1, 20 * 8)  # one labelled batch a pass; 8 batches a pass over all rows
    assert schedule.validate_every * batches.steps == config.validate_every * 8
    assert all((batch.labels >= 0).all() for batch in batches.epoch(0))


def test_a_schedule_that_differs_from_the_recipe_is_told_in_one_line(tmp_path) -> None:
    said: list[str] = []
    ctx = Context(tmp_path, say=said.append)
    batches, _ = scheduled_batches(half_labelled(), Train(epochs=2, batch_size=32), label="distill", ctx=ctx)
    assert batches.batch_size == 8
    assert said == ["distill: 64 inputs: batch 8 in place of 32, 8 steps a pass, 16 steps"]


def with_gaps(rows: int = 40) -> Rows:
    """Rows of which every third has no text."""
    data = draw_rows(rows=rows)
    lacking = (np.arange(rows) % 3 == 0).astype(np.int32)
    return replace(
        data,
        inputs={**data.inputs, PRESENT: np.array([[1, 1], [1, 0]], np.float32)},
        rows={**data.rows, PRESENT: lacking},
    )


def test_hidden_inputs_are_drawn_by_pass_and_row_and_one_always_stays() -> None:
    index, present = np.arange(3000), np.ones((3000, 2), np.float32)
    hidden = hide(present, 0.3, seed=0, epoch=1, index=index)
    assert hidden.any(1).all() and hidden.dtype == np.float32
    # both are drawn with 0.09 and then stay; one alone is hidden with 0.3 - 0.09 = 0.21, deviation 0.0074
    assert np.abs((1 - hidden).mean(0) - 0.21).max() < 0.03
    assert np.array_equal(hide(present[50:60], 0.3, seed=0, epoch=1, index=index[50:60]), hidden[50:60])
    assert not np.array_equal(hide(present, 0.3, seed=0, epoch=2, index=index), hidden)
    lone = np.tile(np.array([[1, 0]], np.float32), (100, 1))
    assert np.array_equal(hide(lone, 0.9, seed=0, epoch=0, index=index[:100]), lone)  # what is missing stays so


def test_training_batches_hide_inputs_and_others_do_not() -> None:
    data = with_gaps()
    own = np.asarray(data.inputs[PRESENT])[data.rows[PRESENT]]

    def shown(batches: Batches) -> np.ndarray:
        found = np.empty_like(own)
        for batch in batches.epoch(0):
            found[batch.index] = batch.inputs[PRESENT][batch.rows[PRESENT]].numpy()
        return found

    hidden = shown(Batches(data, 7, hide=0.5))
    assert (hidden <= own).all() and (hidden < own).any() and hidden.any(1).all()
    assert np.array_equal(shown(Batches(data, 3, shuffle=False, hide=0.5)), own) and np.array_equal(shown(Batches(data, 7)), own)
    one, other = (next(Batches(data, 7, hide=chance).epoch(0)) for chance in (0.5, 0.0))
    assert torch.equal(one.teacher.logits, other.teacher.logits) and torch.equal(one.inputs["text"], other.inputs["text"])


def test_schedule_hands_on_how_often_inputs_are_hidden(tmp_path) -> None:
    ctx = Context(tmp_path, seed=0, threads=1, say=lambda line: None)
    batches, _ = scheduled_batches(with_gaps(), Train(modality_dropout=0.25), label="student", ctx=ctx)
    assert batches.hide == 0.25


def test_mixed_rows_have_their_partners_label_and_both_count_or_none() -> None:
    # inputs with 2, 1 and 1 rows, of labels (0, 4), 1 and none; each mixed with the next, the last with the first
    own, others = pair_labels(np.array([0, 4, 1, -1]), np.array([1, 2, 0]), np.array([2, 1, 1]))
    assert own.tolist() == [0, 4, -1, -1]
    assert others.tolist() == [1, 1, -1, -1]


@pytest.mark.parametrize("fresh", [False, True])
def test_labels_of_places_are_those_of_the_view_that_is_seen(fresh: bool) -> None:
    """Pictures whose pixels are their labels, in stored views and in fresh ones: they agree in every batch, and not all are as they were."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 200, size=(6, 4, 4)).astype(np.int16)
    images = np.repeat(labels[..., None], 3, 3).astype(np.uint8)
    words = SimpleNamespace(flip=True, shift=0, crop=1.0, rotate=0.0, colour=0.0, sketch=0.0, mixup=0, cutmix=0)
    views = Views("image", ((), (0, 1, True, 0, 1.0, 0.0, 0.0, 0.0)), (words, 0) if fresh else None)
    targets = None if fresh else np.zeros((2, 6, 1), np.float16)
    data, seen = Rows({"image": images}, {"image": np.array([5, 0, 1, 2, 3, 4])}, labels[[5, 0, 1, 2, 3, 4]], targets, views), []
    for epoch in range(4):
        for batch in Batches(data, 3).epoch(epoch):
            shown = batch.inputs["image"][batch.rows["image"]][..., 0].long()
            assert torch.equal(shown, batch.labels)
            seen += [bool((row == labels[i]).all()) for row, i in zip(batch.labels.numpy(), data.rows["image"][batch.index], strict=True)]
    assert any(seen) and not all(seen)
