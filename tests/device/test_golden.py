"""Golden samples: written the same each time, and refused where they cannot prove anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.device.errors import GoldenError
from compress.device.golden import check_golden, read_golden, write_golden

IMAGES = np.arange(16 * 3, dtype=np.uint8).reshape(16, 3)
LOGITS = np.eye(4, dtype=np.float32)[np.arange(16) % 4] * 10


class Answers:
    """A session that gives fixed logits."""

    def __init__(self, logits: np.ndarray) -> None:
        self.inputs, self.logits = ["image"], logits

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert np.array_equal(feeds["image"], IMAGES)
        return {"logits": self.logits}


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return {"image": IMAGES, "logits": LOGITS, "labels": LOGITS.argmax(-1)}


def test_golden_comes_back_as_written(tmp_path: Path, arrays) -> None:
    write_golden(tmp_path / "golden.npz", arrays)
    for name, array in read_golden(tmp_path / "golden.npz").items():
        assert array.dtype == arrays[name].dtype
        np.testing.assert_array_equal(array, arrays[name])


def test_golden_bytes_depend_on_the_arrays_alone(tmp_path: Path, arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    write_golden(tmp_path / "a.npz", arrays)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_golden(tmp_path / "b.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_check_gives_the_difference_as_a_share_of_the_largest_logit(tmp_path: Path, arrays) -> None:
    write_golden(tmp_path / "golden.npz", arrays)
    changed = LOGITS.copy()
    changed[0, 1] += 0.2  # of a largest magnitude of 10: 0.02
    result = check_golden(Answers(changed), tmp_path / "golden.npz", tolerance=0.05)
    assert result == {"max_difference": pytest.approx(0.02), "agreement": 1.0, "samples": 16}


class Telling(Answers):
    """A session that gives fixed shares as well."""

    def __init__(self, logits: np.ndarray, shares: np.ndarray) -> None:
        super().__init__(logits)
        self.shares = shares

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**super().run(feeds), "shares": self.shares}


def test_shares_are_held_to_those_that_were_recorded(tmp_path: Path, arrays) -> None:
    shares = np.full((16, 2), 0.5, np.float32)
    write_golden(tmp_path / "golden.npz", {**arrays, "shares": shares, "logits.small": LOGITS, "shares.small": shares})
    off = shares + np.array([0.03, -0.03], np.float32)
    for logits in ("logits", "logits.small"):
        found = check_golden(Telling(LOGITS, off), tmp_path / "golden.npz", tolerance=0.05, logits=logits)
        assert found["shares"] == pytest.approx(0.03) and found["max_difference"] == 0
        with pytest.raises(GoldenError, match=r"shares of the inputs differ by 0.03 \(at most 0.02\) on 16 samples"):
            check_golden(Telling(LOGITS, off), tmp_path / "golden.npz", tolerance=0.02, logits=logits)
    with pytest.raises(GoldenError, match=r"tells \(16, 2\) shares of its inputs where it was built, and here none"):
        check_golden(Answers(LOGITS), tmp_path / "golden.npz", tolerance=0.05)
    off[0, 0] = np.nan
    with pytest.raises(GoldenError, match="with 1 that are not finite"):
        check_golden(Telling(LOGITS, off), tmp_path / "golden.npz", tolerance=0.05)


def test_each_head_is_held_to_its_own_magnitude(tmp_path: Path, arrays) -> None:
    logits = np.concatenate([LOGITS, np.linspace(-1, 1, 16, dtype=np.float32)[:, None]], 1)
    write_golden(tmp_path / "golden.npz", {**arrays, "logits": logits})
    changed = logits.copy()
    changed[2, 4] += 0.2
    assert check_golden(Answers(changed), tmp_path / "golden.npz", tolerance=0.05)["max_difference"] == pytest.approx(0.02)
    with pytest.raises(GoldenError, match="differ by 0.2 "):
        check_golden(Answers(changed), tmp_path / "golden.npz", tolerance=0.05, heads=[4, 1])


def test_check_refuses_a_difference_above_the_tolerance(tmp_path: Path, arrays) -> None:
    write_golden(tmp_path / "golden.npz", arrays)
    with pytest.raises(GoldenError, match=r"differ by 1 .*at most 0.05.* on 16 samples, 0.0% of the answers are the same"):
        check_golden(Answers(np.roll(LOGITS, 1, axis=-1)), tmp_path / "golden.npz", tolerance=0.05)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_check_refuses_logits_that_are_not_finite(tmp_path: Path, arrays, value: float) -> None:
    write_golden(tmp_path / "golden.npz", arrays)
    changed = LOGITS.copy()
    changed[3, 2] = value
    with pytest.raises(GoldenError, match="1 non-finite"):
        check_golden(Answers(changed), tmp_path / "golden.npz", tolerance=1e9)


def test_check_refuses_a_model_without_recorded_answers(tmp_path: Path, arrays) -> None:
    write_golden(tmp_path / "golden.npz", arrays)
    with pytest.raises(GoldenError, match="holds no array 'logits.int8'"):
        check_golden(Answers(LOGITS), tmp_path / "golden.npz", tolerance=1, logits="logits.int8")


def test_golden_needs_a_sample_and_one_is_enough(tmp_path: Path, arrays) -> None:
    with pytest.raises(GoldenError, match="no golden samples; at least one is needed"):
        write_golden(tmp_path / "golden.npz", {name: array[:0] for name, array in arrays.items()})
    write_golden(tmp_path / "golden.npz", {name: array[:1] for name, array in arrays.items()})
    assert len(read_golden(tmp_path / "golden.npz")["logits"]) == 1


@pytest.mark.parametrize("name", ["logits", "labels"])
def test_golden_needs_answers_and_labels(tmp_path: Path, arrays, name: str) -> None:
    del arrays[name]
    with pytest.raises(GoldenError, match=f"holds no array '{name}'"):
        write_golden(tmp_path / "golden.npz", arrays)


def test_golden_needs_as_many_inputs_as_answers(tmp_path: Path, arrays) -> None:
    with pytest.raises(GoldenError, match=r"'image' has shape \(8, 3\), but there are 16 samples"):
        write_golden(tmp_path / "golden.npz", {**arrays, "image": IMAGES[:8]})


def test_golden_never_unpickles(tmp_path: Path, arrays) -> None:
    np.savez(tmp_path / "golden.npz", **{**arrays, "image": np.array([{}] * 16, dtype=object)})
    with pytest.raises(GoldenError, match="not a file of plain arrays"):
        read_golden(tmp_path / "golden.npz")


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04"])
def test_golden_refuses_a_broken_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "golden.npz").write_bytes(data)
    with pytest.raises(GoldenError, match="not a file of plain arrays"):
        read_golden(tmp_path / "golden.npz")


def test_golden_refuses_a_single_array(tmp_path: Path) -> None:
    with open(tmp_path / "golden.npz", "wb") as file:
        np.save(file, LOGITS)
    with pytest.raises(GoldenError, match="not a file of plain arrays"):
        read_golden(tmp_path / "golden.npz")
