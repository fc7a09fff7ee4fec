"""What all stage tests share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small work is faster, and the same everywhere, on one thread."""
    torch.set_num_threads(1)
