"""What asking a teacher costs, before it is asked: arithmetic alone."""

from __future__ import annotations

CHUNK = 64  # labels that share a pass of a generative teacher


def passes(prompts: int, labels: int) -> int:
    """Forward passes of a generative teacher at most: one to read each prompt, and one for each CHUNK labels of several tokens."""
    return prompts * (1 + -(-labels // CHUNK))


def stored_bytes(views: int, rows: int, classes: int, keep: int | None = None) -> int:
    """Bytes of stored logits (V, R, K): float16; of the `keep` largest with their places, and one number for all others."""
    if keep is None or keep >= classes:
        return views * rows * classes * 2
    return views * rows * (keep * (2 + (2 if classes <= 2**16 else 4)) + 2)
