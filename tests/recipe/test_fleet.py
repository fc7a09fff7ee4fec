"""The fleet file: an address stands for a device, and what cannot be meant is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.recipe.fleet import Fleet
from compress.recipe.grammar import load_section


def load(folder: Path, text: str) -> Fleet:
    (folder / "fleet.yaml").write_text(text)
    return load_section(folder / "fleet.yaml", Fleet, like="a fleet")


def test_an_address_alone_is_a_device(tmp_path: Path) -> None:
    fleet = load(tmp_path, "devices:\n  here: local\n  board: {at: ssh://pi@board, price: 60}\nbudget: {max_latency_ms: 5}\n")
    assert (fleet.devices["here"].at, fleet.devices["board"].price, fleet.budget.batch) == ("local", 60, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devices: {}", "devices"),
        ("devices: {../up: local}", "letters, digits"),
        ("devices: {here: local}\nbudget: {batch: 4}", r"budget.batch 4 is not among batches \[1, 8\]"),
        ("devices: {here: {at: local, prize: 3}}", "prize"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load(tmp_path, text)
