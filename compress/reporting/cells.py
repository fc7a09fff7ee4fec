"""Numbers as the report, its Markdown and the terminal show them."""

from __future__ import annotations

from typing import Any

import numpy as np


def percent(share: float | None, digits: int = 2) -> str:
    """A share in percent; a dash for what was not measured."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits without an exponent; a dash for what was not measured."""
    if value is None:
        return "–"
    rounded = float(f"{value:.{digits}g}")
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(rounded))))) if rounded else 0
    return f"{rounded:,.{decimals}f}"


def show_bytes(value: float | None) -> str:
    """A size in MB or kB, of 10^6 and 10^3 bytes."""
    if value is None:
        return "–"
    unit, factor = ("MB", 1e6) if value >= 1e6 else ("kB", 1e3)
    return f"{significant(value / factor)} {unit}"


def count(value: float | None) -> str:
    """A whole number, millions in short; a dash for what is not known."""
    if value is None:
        return "–"
    return f"{significant(value / 1e6)} M" if value >= 1e6 else f"{value:,}"


def cell(value: Any) -> str:
    """A value of a table as it comes."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
