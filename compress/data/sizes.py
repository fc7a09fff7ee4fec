"""How large a split's inputs are as the user has them: pixels of pictures, seconds of sounds, words of texts, as figures for report.json."""

from __future__ import annotations

import numpy as np

from compress.data.rows import Distinct
from compress.modalities.modality import modality

MOST = 2000  # inputs of a split that are measured, evenly spread


def describe_sizes(name: str, inputs: Distinct) -> dict[str, dict[str, float]]:
    """What is measured -> {"low", "median", "p95", "high", "measured": how many distinct inputs}, of one modality; no input is decoded."""
    index = np.unique(np.linspace(0, len(inputs) - 1, min(len(inputs), MOST)).round().astype(int)).tolist()
    found = modality(name).sizes(inputs, index) if index else {}
    return {what: _spread(values) for what, values in found.items()}


def _spread(values: list[float]) -> dict[str, float]:
    low, median, p95, high = np.percentile(values, [0, 50, 95, 100]).tolist()
    return {"low": low, "median": median, "p95": p95, "high": high, "measured": len(values)}
