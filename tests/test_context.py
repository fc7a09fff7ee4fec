"""What a stage is told through its context: progress, and that the run has ended elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.context import Context
from compress.errors import ParityError


def test_each_step_of_progress_asks_whether_the_run_goes_on(tmp_path: Path) -> None:
    steps = []

    def watch() -> None:
        if len(steps) == 2:
            raise ParityError("export_teacher: far apart")

    with (
        pytest.raises(ParityError, match="export_teacher"),
        Context(tmp_path, watch=watch).progress("student", 5, unit="steps") as progress,
    ):
        for step in range(5):
            progress(1)
            steps.append(step)
    assert steps == [0, 1]
