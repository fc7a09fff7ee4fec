"""What a look at files of pictures, sounds and texts would have found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compress.recipe.seen import Pictures, Seen, Sounds, Texts


@pytest.fixture
def make_seen() -> Callable[..., Seen]:
    """`Seen` of so many training rows, a quarter as many test rows, four labels; other values as given."""

    def make(
        rows: int = 400, *, side: int | None = 120, tokens: int | None = 20, sound: float | None = None, validation: int = 0, **changes: Any
    ) -> Seen:
        columns = {"image": "file name"} if side else {}
        columns |= {"audio": "clip"} if sound else {}
        columns |= {"text": "question"} if tokens else {}
        known: dict[str, Any] = {
            "files": {"train": "train.csv", "test": "test.csv"},
            "columns": {**columns, "label": "class"},
            "rows": {"train": rows, "test": rows // 4} | ({"validation": validation} if validation else {}),
            "inputs": rows,
            "labels": {f"k{i}": rows // 4 for i in range(4)},
            "unlabelled": 0,
            "pictures": Pictures(looked=rows, sides=(side // 2, side, 2 * side), longest=3 * side, alike=False) if side else None,
            "texts": Texts(different=rows, tokens=(tokens // 2, tokens, 3 * tokens), guessed=False) if tokens else None,
            "sounds": Sounds(looked=rows, seconds=(sound / 2, sound, 3 * sound), rate_hz=16000) if sound else None,
            "decoded": min(rows, 200) if side else 0,
        }
        return Seen(**{**known, **changes})

    return make
