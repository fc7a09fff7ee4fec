"""What a run costs before it is made: arithmetic alone, one function a formula, which `compress plan` prints and docs/scale.md tells of."""

from __future__ import annotations

import math

CHUNK = 64  # labels that share a pass of a generative teacher
HALF, FLOAT = 2, 4  # bytes of a number
STATES = 4  # of a checkpoint: weights, two moments of AdamW, the best weights so far
FAILURE_HOURS = 54 * 24 * 16_384 / 419  # of one GPU: 419 unexpected interruptions in 54 days of 16,384 (arXiv 2407.21783, section 3.3.4)
DISK_RATE_HZ = 200e6  # bytes a second that a checkpoint is written with, taken to be those of a network disk


def passes(prompts: int, labels: int) -> int:
    """Forward passes of a generative teacher at most: one to read each prompt, and one for each CHUNK labels of several tokens."""
    return prompts * (1 + -(-labels // CHUNK))


def stored_bytes(views: int, rows: int, classes: int, keep: int | None = None) -> int:
    """Bytes of stored logits (V, R, K): float16; of the `keep` largest with their places, and one number for all others."""
    if keep is None or keep >= classes:
        return views * rows * classes * HALF
    return views * rows * (keep * (HALF + (2 if classes <= 2**16 else 4)) + HALF)


def hidden_bytes(views: int, rows: int, width: int) -> int:
    """Bytes of a stored hidden state (V, R, D), float16, for a loss that compares it."""
    return views * rows * width * HALF


def step_bytes(inputs: dict[str, tuple[float, int]], rows: float, answer: float) -> float:
    """Bytes that a training step reads: of each modality (distinct inputs of a batch, bytes of one), and a row's answers as they are stored."""
    return sum(count * each for count, each in inputs.values()) + rows * answer


def expected_distinct(inputs: int, rows: float) -> float:
    """How many different ones of N inputs a batch of so many rows holds, drawn evenly: N (1 - (1 - 1/N)^rows)."""
    return inputs * -math.expm1(rows * math.log1p(-1 / inputs)) if inputs > 1 else min(1.0, rows)


def answers_asked(views: int, rows: int, *, steps: int, batch_rows: float) -> tuple[int, int]:
    """Rows that a teacher answers: to be stored, once each view; live, once each step. What costs less depends on nothing else."""
    return views * rows, round(steps * batch_rows)


def checkpoint_bytes(parameters: int) -> int:
    """Bytes of a checkpoint: float32, see STATES; batch norms' statistics and random states come on top."""
    return parameters * FLOAT * STATES


def failure_seconds(processes: int) -> float:
    """Mean seconds between two failures of so many processes, any of which ends the run."""
    return FAILURE_HOURS * 3600 / processes


def checkpoint_interval(write_seconds: float, between_failures: float) -> float:
    """Seconds between two checkpoints that lose the least: sqrt(2 C M), C to write one, M between failures.

    Source: Young, CACM 17(9), 1974; Daly's correction (FGCS 22, 2006) is sqrt(2 C M) (1 + sqrt(C / 2M) / 3 + C / 18M) - C for C < 2 M.
    """
    share = write_seconds / (2 * between_failures)
    if share >= 1:
        return between_failures
    return math.sqrt(2 * write_seconds * between_failures) * (1 + math.sqrt(share) / 3 + share / 9) - write_seconds


def lost_share(interval: float, write_seconds: float, between_failures: float) -> float:
    """The share of the time that goes to checkpoints and to work done twice: C / T + T / (2 M)."""
    return write_seconds / interval + interval / (2 * between_failures)
