"""A class for each place of a picture: what masks become, which are refused and why, what counts as right, and the same on a device."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from compress.device import tasks as on_device
from compress.device.errors import DeviceError
from compress.errors import DataError
from compress.tasks.task import Task, task

NAMES = ["ground", "disc", "square"]
FACTS = {"names": NAMES, "of": "image", "grid": 2, "size": 4, "resize": "stretch", "edge": None}
ROOM = task("segmentation", options={"stride": 2})
TASK = ROOM.with_facts(FACTS)
LABELS = np.array([[[0, 1], [1, 3]], [[2, 2], [0, 0]]], np.int16)  # 3: ignored


def png(numbers: Any, *, mode: str = "L", kind: str = "PNG") -> bytes:
    file, image = io.BytesIO(), Image.fromarray(np.asarray(numbers, np.uint8))
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    else:
        image = image.convert(mode)
    image.save(file, kind)
    return file.getvalue()


def column(*cells: Any) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(cells, pa.binary() if any(isinstance(cell, bytes) for cell in cells) else pa.string())])


def logits_of(labels: np.ndarray) -> np.ndarray:
    """(R, P K): 1 for the class of each place and -1 for the others."""
    return (2.0 * (labels[..., None] == np.arange(3)) - 1).reshape(len(labels), -1).astype(np.float32)


def test_cells_are_files() -> None:
    assert ROOM.cells(column("a.png", " ", None), "here").to_pylist() == ["a.png", None, None]
    with pytest.raises(DataError, match="here is double, but masks are files"):
        ROOM.cells(pa.chunked_array([pa.array([1.0])]), "here")


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_place_has_the_class_at_its_middle(mode: str) -> None:
    mask = np.array([[0, 0, 1, 1], [0, 2, 1, 255], [2, 2, 0, 0], [1, 1, 0, 0]])
    labels, blank = TASK.encode(column(png(mask, mode=mode), None), NAMES)
    assert labels[0].tolist() == [[2, 3], [1, 0]]  # pixels (1, 1), (1, 3), (3, 1) and (3, 3); 255 is ignored
    assert labels[1].tolist() == [[-1, -1]] * 2 and blank.tolist() == [False, True]


def test_masks_follow_their_picture_into_the_square() -> None:
    wide = np.array([[1] * 4 + [2] * 4 + [1] * 4] * 4)  # 4 high, 12 wide: the middle is what crop keeps
    crop, _ = ROOM.with_facts({**FACTS, "resize": "crop"}).encode(column(png(wide)), NAMES)
    assert crop[0].tolist() == [[2, 2], [2, 2]]
    pad, _ = ROOM.with_facts({**FACTS, "grid": 4, "size": 8, "resize": "pad"}).encode(column(png(np.array([[1] * 8] * 4))), NAMES)
    assert pad[0].tolist() == [[3] * 4, [1] * 4, [1] * 4, [3] * 4]  # what is around the picture is ignored


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (png([[0, 7], [9, 255]]), "pixels of 7, 9, and there are 3 classes from 0 on, and 255 for none"),
        (png([[255, 255]] * 2), "every place is 255, which is ignored"),
        (png([[0, 1]] * 2, mode="RGB"), "a mask has one number a pixel, and this is RGB; save it as PNG, grey or palette"),
        (png([[0, 1]] * 2, kind="JPEG"), "JPEG changes the numbers of a mask; save it as PNG"),
        (b"no picture", "bytes>"),
    ],
)
def test_masks_that_cannot_be_used_are_told(cell: bytes, said: str) -> None:
    labels, blank = TASK.encode(column(cell), NAMES)
    assert (labels == -1).all() and not blank.any() and said in TASK.fault(cell, NAMES)


def test_a_mask_of_another_size_than_its_picture_is_told() -> None:
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    Image.new("RGB", (5, 4)).save(turned, "JPEG", exif=exif)
    pictures = [png(np.zeros((4, 5))), png(np.zeros((4, 5))), turned.getvalue(), b"broken", None]
    masks = [png(np.zeros((4, 5))), png(np.zeros((5, 4))), png(np.zeros((5, 4))), png(np.zeros((5, 4))), png(np.zeros((5, 4)))]
    wrong, why = TASK.misfits(pa.table({"image": column(*pictures), "mask": column(*masks)}))
    assert wrong.tolist() == [False, True, False, False, False]
    assert why(1) == "4 x 5 pixels, the picture 5 x 4; resize the mask by repeating pixels (nearest)"


def test_classes_are_named_or_numbered() -> None:
    assert ROOM.names(column(png([[0, 2], [1, 255]]), None, b"broken")) == ["0", "1", "2"]
    assert ROOM.learn(column(), NAMES) == {"names": NAMES}
    with pytest.raises(DataError, match=r"1 classes \(0\); a mask tells 2 to 255 apart"):
        ROOM.learn(column(), ["0"])


def test_a_class_that_train_has_not_is_refused() -> None:
    with pytest.raises(DataError, match="test has classes that no mask of train has: square; add such pictures to train, or write 255"):
        TASK.check(NAMES, {"train": LABELS[:1], "test": LABELS})
    with pytest.raises(DataError, match="masks of the training split have 1 classes"):
        TASK.check(NAMES, {"train": np.zeros((2, 2, 2), np.int16)})
    TASK.check(NAMES, {"train": LABELS, "test": LABELS[:1]})


def test_answers_are_the_largest_and_none_where_a_logit_is_no_number() -> None:
    logits = logits_of(LABELS)
    assert TASK.answers(logits)[1].tolist() == LABELS[1].tolist()
    logits[0, 3] = np.nan
    assert TASK.answers(logits)[0].tolist() == [[-1, -1]] * 2
    assert TASK.port(NAMES).shape == (12,) and (TASK.port(NAMES).grid, TASK.port(NAMES).each) == (2, 4)


def test_gain_is_the_mean_iou_of_a_picture_and_the_whole_stands_beside() -> None:
    answers = np.array([[[0, 1], [0, 0]], [[2, 2], [0, 0]]])
    assert TASK.gains(answers, LABELS).tolist() == [0.5, 1]  # ground 1 of 2, disc 1 of 2
    metrics = {name: metric.compute(logits_of(answers), LABELS) for name, metric in TASK.metrics.items()}
    assert metrics == {"picture_iou": 0.75, "mean_iou": pytest.approx((3 / 4 + 1 / 2 + 1) / 3), "pixel_accuracy": pytest.approx(6 / 7)}
    assert {name: gains.tolist() for name, gains in TASK.parts(answers, LABELS, NAMES).items()} == {
        "ground": [0.5, 1],
        "disc": [0.5],
        "square": [1],
    }


def test_strata_account_and_guess_leave_ignored_places_out() -> None:
    assert TASK.strata(np.concatenate([LABELS, np.full((1, 2, 2), -1)])).tolist() == [1, 2, -1]
    assert TASK.account(LABELS, NAMES) == {"label_counts": {"ground": 3, "disc": 2, "square": 2}, "ignored_share": 1 / 8}
    assert TASK.answers(TASK.guess(LABELS[:1], np.zeros(1, int), 1)).tolist() == [[[0, 1], [1, 0]]]


def test_a_mask_is_told_and_drawn() -> None:
    assert TASK.show(LABELS[0], NAMES) == "disc 67 %, ground 33 %" and TASK.show(np.full((2, 2), -1), NAMES) == "not a number"
    named: Task = ROOM.with_facts({**FACTS, "names": ['<"a">', "b", "c"]})
    html = named.draw(np.zeros((2, 2), int), ['<"a">', "b", "c"])
    assert html.startswith('<img alt="mask: &lt;&quot;a&quot;&gt; 100 %" src="data:image/png;base64,')
    assert task("single_label").draw(np.zeros(1), NAMES) == ""


def test_device_gives_a_mask_of_the_pictures_own_size(tmp_path: Path) -> None:
    module = on_device.answerer("segmentation")
    answer = module.answer({"logits": logits_of(LABELS)[1:]}, NAMES, facts=FACTS)
    assert answer["mask"] == [[2, 2], [0, 0]]
    assert answer["shares"] == [{"label": "ground", "share": 0.5}, {"label": "square", "share": 0.5}]
    Image.new("RGB", (6, 8)).save(tmp_path / "a.jpg")
    told = module.beside(answer, {"image": tmp_path / "a.jpg"})
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(told["png"]))))
    assert mask.shape == (8, 6) and (mask[:4] == 2).all() and (mask[4:] == 0).all()
    saved = module.save(told, {"image": tmp_path / "a.jpg"}, None)
    assert saved["file"] == str(tmp_path / "a.mask.png") and "png" not in saved and (tmp_path / "a.mask.png").is_file()
    assert module.lines(saved) == [" 50.0 %  ground", " 50.0 %  square", f"mask: {saved['file']}"]
    with pytest.raises(DeviceError, match="the mask cannot be written .* give --out FILE"):
        module.save(told, {"image": tmp_path / "a.jpg"}, str(tmp_path / "none" / "a.png"))


@pytest.mark.parametrize(("resize", "seen"), [("crop", (slice(0, 4), slice(4, 8))), ("pad", (slice(0, 4), slice(0, 12)))])
def test_device_ignores_what_the_model_has_not_seen(resize: str, seen: tuple[slice, slice]) -> None:
    module = on_device.answerer("segmentation")
    mask = module.enlarge(np.ones((2, 2), np.uint8), (12, 4), size=4, resize=resize, edge=None)
    assert mask.shape == (4, 12) and (mask[seen] == 1).all()
    mask[seen] = 255
    assert (mask == 255).all()


def test_decisions_are_of_places_and_stay_within_their_margin() -> None:
    margins, decided = TASK.decisions(logits_of(LABELS % 3))
    assert margins.tolist() == [1] * 8 and decided.tolist() == (LABELS % 3).ravel().tolist()
