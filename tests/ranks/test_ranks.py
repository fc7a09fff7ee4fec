"""Students trained by one, two and three processes end alike to the order of sums; a process that is gone ends the others, and the next run goes on."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_ranks import train_toy

PROGRAM = str(Path(__file__).parents[1] / "support" / "toy_ranks.py")
Start = Callable[..., list[subprocess.Popen[str]]]
TOYS = ["plain", "few", "live", "rows", "attacked", "quantized"]


def finish(processes: list[subprocess.Popen[str]], within: float = 120) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each."""
    ends = [process.communicate(timeout=within) for process in processes]
    return [(process.returncode, *end) for process, end in zip(processes, ends, strict=True)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, start: Start) -> dict[int, dict[str, Any]]:
    """What each toy's training ended with, by the number of processes."""
    found = {1: {toy: train_toy(toy, tmp_path_factory.mktemp(toy)) for toy in TOYS}}
    for count in (2, 3):
        ended = finish(start(count, PROGRAM, ",".join(TOYS), str(tmp_path_factory.mktemp(f"ranks{count}"))))
        assert [code for code, _, _ in ended] == [0] * count, ended
        assert [output for _, output, _ in ended[1:]] == [""] * (count - 1)  # only the first one speaks
        found[count] = json.loads(ended[0][1])
    return found


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("toy", TOYS)
def test_several_processes_train_as_one_does(trained, toy: str, count: int) -> None:
    one, several = trained[1][toy], trained[count][toy]
    assert len(one["curve"]) == 6
    assert several["curve"] == pytest.approx(one["curve"], rel=2e-4)
    for mine, theirs in zip(several["terms"], one["terms"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    assert several["accuracy"] == one["accuracy"]
    for name, values in one["weights"].items():
        assert several["weights"][name] == pytest.approx(values, rel=1e-2, abs=2e-4), name


def test_the_loss_does_change(trained) -> None:
    assert all(len({round(loss, 4) for loss in one["curve"]}) == 6 for one in trained[1].values())


@pytest.mark.parametrize("killed", [0, 1])
def test_one_that_is_killed_ends_the_others_and_the_next_run_goes_on(start: Start, tmp_path: Path, killed: int) -> None:
    begun = time.monotonic()
    ended = finish(start(3, PROGRAM, "killed", str(tmp_path), KILLED=str(killed)), within=60)
    assert time.monotonic() - begun < 60
    assert [code for code, _, _ in ended] == [-9 if rank == killed else 1 for rank in range(3)]
    messages = [line for _, _, errors in ended for line in errors.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1 and ("process 2 of 3 is gone" if killed else "the first of 3 processes is gone") in messages[0]
    assert not list(tmp_path.rglob("*.partial"))
    assert train_toy("killed", tmp_path / "killed")["resumed_at"] == 4


def test_an_error_in_one_ends_all_and_is_told_once(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "fails.py"
    program.write_text(
        "import sys, time\n"
        "from compress.errors import DataError\n"
        "from compress.ranks import group as ranks\n"
        "ranks.BEAT_S, ranks.SILENT_S, ranks.GRACE_S = 0.1, 5.0, 0.3\n"
        "group = ranks.join()\n"
        "with group.session():\n"
        "    if group.rank == 2:\n"
        "        raise DataError('row 7 is torn')\n"
        "    time.sleep(50)\n"
    )
    ended = finish(start(3, str(program)), within=40)
    assert [code for code, _, _ in ended][:2] == [4, 4]
    assert [errors for _, _, errors in ended] == ["error: process 3 of 3: row 7 is torn\n", "", ""]
