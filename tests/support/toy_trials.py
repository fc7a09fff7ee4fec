"""Trials for a test of what runs them: each takes half a second wherever it is run, and is told of by files."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from typing import Any

from compress.sweeping.trials import Trials


class Toy(Trials):
    """Runs whose accuracy is ten times their seed. Files say which were begun, with the node in them, and which came to their end."""

    def events(self, name: str, values: Sequence[str]) -> Generator[dict[str, Any]]:
        """Five validations and the end."""
        import ray  # an extra

        seed = int(values[0].partition("=")[2])
        node = ray.get_runtime_context().get_node_id()
        (self.folder / f"{name}.{time.monotonic_ns()}.begun").write_text(f"{node} {os.getpid()}")
        yield {"student": {"parameters": 10, "multiply_adds": 10}}
        for step in range(1, 6):
            time.sleep(0.1)
            yield {"validation": {"training": "student", "step": step, "of": 5, "accuracy": 10.0 * seed}}
        (self.folder / f"{name}.ended").touch()
        yield {"objectives": [10.0 * seed]}
