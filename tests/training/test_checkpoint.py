"""Checkpoints: written whole or not at all, with torch's random state, and read without unpickling code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from compress.training.checkpoint import load_checkpoint, save_checkpoint, seed_everything


class Payload:
    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.place),)

    def __init__(self, place: Path) -> None:
        self.place = place


def test_checkpoint_gives_back_state_and_random_numbers(tmp_path: Path) -> None:
    seed_everything(3)
    save_checkpoint(tmp_path / "deep" / "a.pt", {"weights": torch.arange(4.0), "step": 7})
    expected = torch.rand(3)
    torch.manual_seed(99)
    state = load_checkpoint(tmp_path / "deep" / "a.pt")
    assert state is not None
    assert state["step"] == 7
    assert torch.equal(state["weights"], torch.arange(4.0))
    assert torch.equal(torch.rand(3), expected)


def test_checkpoint_gives_back_the_random_numbers_of_an_accelerator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its generator stands in for that of a device that is not here."""
    generator = torch.Generator().manual_seed(5)
    module = SimpleNamespace(get_rng_state=generator.get_state, set_rng_state=generator.set_state)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    save_checkpoint(tmp_path / "a.pt", {"step": 1}, torch.device("mps"))
    expected = torch.rand(3, generator=generator)
    assert load_checkpoint(tmp_path / "a.pt", torch.device("mps")) == {"step": 1}
    assert torch.equal(torch.rand(3, generator=generator), expected)
    assert load_checkpoint(tmp_path / "a.pt") == {"step": 1}  # and goes on elsewhere with numbers of its own


def test_checkpoint_is_none_where_there_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "a.pt") is None


def test_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"step": 1})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(tmp_path / "a.pt", {"step": 2, "function": lambda: None})
    state = load_checkpoint(tmp_path / "a.pt")
    assert state == {"step": 1}


def test_half_written_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a.partial").write_bytes(b"half")
    assert load_checkpoint(tmp_path / "a.pt") is None


def test_loading_runs_no_code(tmp_path: Path) -> None:
    torch.save({"torch_random": Payload(tmp_path / "made")}, tmp_path / "a.pt")
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "made").exists()
