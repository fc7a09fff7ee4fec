"""How a stage is made: the threads that it has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from compress.making import threads_for


def keys(threads: int, lent: int) -> SimpleNamespace:
    """What `threads_for` asks of a run."""
    return SimpleNamespace(threads=threads, lent=lambda: lent)


def test_stage_that_goes_on_has_the_threads_that_it_began_with(tmp_path: Path) -> None:
    assert threads_for(keys(5, lent=2), tmp_path) == 3
    assert threads_for(keys(5, lent=0), tmp_path) == 3  # the training beside is over
    assert threads_for(keys(8, lent=0), tmp_path) == 8  # the run was asked for others
    (tmp_path / "other").mkdir()
    assert threads_for(keys(4, lent=0), tmp_path / "other") == 4
    assert not list((tmp_path / "other").iterdir())  # a folder that holds a checkpoint is one to go on from
    assert threads_for(keys(1, lent=1), tmp_path / "other") == 1
