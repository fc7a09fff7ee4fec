"""`choose`: sizes, lengths, passes and augmentation that suit what was seen, and end in minutes; an estimate of the seconds of each stage.

Arithmetic alone: the writer of the recipe (starter.py) puts the reasons beside the numbers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace

from compress.recipe.declarations import stated
from compress.recipe.schedule import fit_batch
from compress.recipe.seen import Seen
from compress.tables import TASKS

BOUNDED_ROWS, LIMIT_S = 3_000, 280.0  # up to so many rows have six minutes on two cores, of which a fifth is kept for slower machines
CORES = 1.5  # of two: how much faster two threads are than the one that the costs below were measured on
BESIDE = 1.2  # times longer takes a training that has one core where another has the other
# Milliseconds of one core (AMD EPYC with AVX512 and bfloat16), measured with batches of 32, gradients included where something is trained
TEACHER_PICTURE_MS = 7.0  # EfficientNet-Lite2 at 128 pixels
TEACHER_TOKEN_MS = 0.2  # MiniLM, one token of one text
FLOAT = 2.2  # times dearer is a teacher in float32, as its file is scored
STUDENT_PICTURE_MS = 0.8  # of a MobileNetV2 whose stem and first FROZEN blocks stay, whatever the picture's size
STUDENT_PLACE_MS = 0.7  # and for each pixel of its last map, 16 of pictures of 128: 0.56, the rest for a neighbour at the memory
TEACHER_SECOND_MS = 25.0  # the encoder of Whisper tiny.en, a second of sound
STUDENT_SECOND_MS = 7.0  # of a DS-CNN of 32 channels, a second of sound, whatever its rate
HEAD_STEP_MS = 20.0  # of the teacher's head, a step
FAKE_QUANT = 1.2  # times dearer is a step in fake int8
FIXED_S = 60.0  # export, engine files, timing and report, which do not grow with the rows

PRETRAINED_STEPS, PRETRAINED_PASSES = 280, 5  # of a student that starts from published weights, whichever are more
FROZEN = 4  # of MobileNetV2's blocks keep their weights; they read the most pixels, so a step takes as long as that of half a network
PICTURE_RATE = 3.5e-4  # with batches of 32; whole published weights know more than few rows teach, and a high rate would spoil them
QUANTIZE_STEPS = 100
PASSES = (60, 40, 30, 20, 15, 10, 8, 6, 5, 4, 3)  # of the student, the longest that fits
PAIRINGS = (4, 2, 1)  # other texts beside each picture or sound, the most that fit
SMALL = 40  # pixels: pictures up to this size are drawings or thumbnails, read as they are
SIDES = (64, 96, 128, 160, 224)
LENGTHS = (32, 48, 64, 96, 128)
TEACHER_SIDE = 128
TEACHER_RATE = 16_000  # samples a second that Whisper hears
SECONDS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0)  # that a sound may be cut to
SIDED = re.compile(r"\b(left|right|links|rechts|gauche|droite|izquierda|derecha|east|west|mirror(ed)?)\b", re.I)


@dataclass(frozen=True)
class TextStudent:
    """A student of texts: two of MiniLM's layers, `width` of its 384 channels; `token_ms` as above, `steps` at least, `rate` and that in fake int8."""

    width: int
    heads: int
    feedforward: int
    token_ms: float
    steps: int
    rate: str
    int8_rate: str


# Published weights want fewer steps and a gentler rate the more of them there are. Of the narrow student 1,200 to 1,500 steps were no better: sets of
# 166, 444 and 724 rows, one run each, told by 41 to 181 test rows.
WIDE, MIDDLE, NARROW = (
    TextStudent(384, 12, 384, 0.16, 500, "5.0e-4", "1.0e-4"),
    TextStudent(192, 6, 768, 0.085, 600, "1.0e-3", "1.0e-4"),
    TextStudent(64, 2, 256, 0.018, 600, "3.0e-3", "3.0e-4"),
)


@dataclass(frozen=True)
class Choice:
    """What the recipe says where the data decide; `seconds` is an estimate, stage by stage, for two cores."""

    image_size: int | None
    text_length: int | None
    views: int
    flip: bool
    batch: int
    passes: int
    validation_fraction: float
    texts: TextStudent = NARROW
    sound_seconds: float | None = None
    sound_rate: int | None = None
    pairings: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """Estimated seconds of the whole run."""
        return sum(self.seconds.values())


def choose(seen: Seen) -> Choice:
    """The longest texts and largest pictures, then the most passes, and then the most pairings, with which the run is estimated to end within LIMIT_S.

    A set of more than BOUNDED_ROWS rows may take longer, in proportion; where nothing fits, the smallest is taken.
    """
    several = bool(seen.texts and (seen.pictures or seen.sounds))
    tried = [
        _choice(seen, side, length, passes, texts, pairings)
        for side, length in _sizes(seen)
        for texts in ((WIDE, MIDDLE, NARROW) if seen.texts and not several else (NARROW,))
        for passes in _passes(seen, texts)
        for pairings in (PAIRINGS if several and not stated(TASKS[seen.task], "towers") else (0,))
    ]
    limit = LIMIT_S * max(1, seen.rows["train"] / BOUNDED_ROWS)
    return next((one for one in tried if one.total_s <= limit), tried[-1])


def wanted_side(seen: Seen) -> int | None:
    """Pixels a side of the student's pictures if time did not matter: of the middle one's shorter side the next step below, 64 to 224."""
    if seen.pictures is None:
        return None
    if seen.pictures.longest <= SMALL:
        return max(16, 8 * math.ceil(seen.pictures.longest / 8))
    return max((side for side in SIDES if side <= seen.pictures.sides[1]), default=SIDES[0])


def wanted_length(seen: Seen) -> int | None:
    """Tokens that 95 of 100 texts do not pass, rounded up to 8, at most 128."""
    return None if seen.texts is None else min(128, max(8, 8 * math.ceil(seen.texts.tokens[1] / 8)))


def wanted_seconds(seen: Seen) -> float | None:
    """Seconds that 95 of 100 sounds do not pass, rounded up, at most 10."""
    return None if seen.sounds is None else next((one for one in SECONDS if one >= seen.sounds.seconds[1]), SECONDS[-1])


def stride(side: int) -> int:
    """The student's stride for pictures of that size: small ones keep more pixels in the last map."""
    return 32 if side >= SIDES[0] else 16


def teacher_side(side: int, *, dense: bool) -> int:
    """Pixels a side that the teacher's encoder sees; where its maps must fit the student's places, as many as the student, or twice as many."""
    if not dense:
        return TEACHER_SIDE
    return 2 * side if side < TEACHER_SIDE else side


def quantize_passes(pictures: bool) -> int:
    """Passes in fake int8: a larger student, with pictures, needs one."""
    return 1 if pictures else 2


def student_rate(seen: Seen, choice: Choice) -> str:
    """The student's learning rate as YAML; that of pictures goes down as the root of a smaller batch."""
    if choice.image_size is None:
        return choice.texts.rate
    held_out = 0.0 if "validation" in seen.files else choice.validation_fraction
    batch = fit_batch(choice.batch, round((1 - held_out) * seen.inputs))
    return f"{PICTURE_RATE * min(1.0, (batch / 32) ** 0.5):.1e}"


def student_steps(choice: Choice) -> int:
    """Steps of a student at least: fewer where it starts from whole published weights."""
    return choice.texts.steps if choice.image_size is None else PRETRAINED_STEPS


def keeps_sides(seen: Seen) -> str | None:
    """Why pictures must not be mirrored, as far as the labels tell; None: nothing speaks against it."""
    if any(SIDED.search(label) for label in seen.labels):
        return "labels name left or right"
    if seen.labels and all(len(label.strip()) == 1 for label in seen.labels):
        return "labels are single characters, as of pictures of letters or digits"
    return None


def _sizes(seen: Seen) -> list[tuple[int | None, int | None]]:
    """Pairs of side and length to try, the wanted ones first; pictures shrink before texts."""
    side, length = wanted_side(seen), wanted_length(seen)
    sides = [side] if side is None or side <= SIDES[0] else [one for one in reversed(SIDES) if one <= side]
    lengths = [length] if length is None else [length, *(one for one in reversed(LENGTHS) if one < length)]
    return [(side, length) for length in lengths for side in sides]


def _passes(seen: Seen, texts: TextStudent) -> list[int]:
    """Passes to try, the most first: those with enough steps for the student, and not many more."""
    steps = max(10, seen.inputs / _batch(seen))  # a pass; smaller sets get smaller batches
    least = texts.steps if seen.pictures is None else max(PRETRAINED_STEPS, PRETRAINED_PASSES * steps)
    return [passes for passes in PASSES if least <= passes * steps <= max(2.5 * least, 10 * steps)] or [PASSES[0]]


def _batch(seen: Seen) -> int:
    return 32 if seen.inputs < 6_000 else 64 if seen.inputs < 30_000 else 128


def _choice(seen: Seen, side: int | None, length: int | None, passes: int, texts: TextStudent, pairings: int) -> Choice:
    sounds = seen.sounds
    views = 1 if (side is None and sounds is None) or seen.inputs > 2_000 else 4 if seen.inputs <= 1_000 else 2
    fraction = 0.1 if "validation" in seen.files else round(min(0.2, max(0.1, 100 / seen.inputs)), 2)
    choice = Choice(side, length, views, keeps_sides(seen) is None, _batch(seen), passes, fraction, texts, pairings=pairings)
    if sounds is not None:
        choice = replace(choice, sound_seconds=wanted_seconds(seen), sound_rate=8_000 if sounds.rate_hz < TEACHER_RATE else TEACHER_RATE)
    return Choice(**{**vars(choice), "seconds": _seconds(seen, choice)})


def _seconds(seen: Seen, choice: Choice) -> dict[str, float]:
    """Stage -> seconds on two cores."""
    texts = seen.texts.different if seen.texts else 0
    length, side = choice.text_length or 0, choice.image_size or 0
    sound = choice.sound_seconds or 0
    teacher_files = (TEACHER_PICTURE_MS if side else 0) + TEACHER_SECOND_MS * sound
    teacher_input = teacher_files + TEACHER_TOKEN_MS * length
    student_input = STUDENT_SECOND_MS * sound + choice.texts.token_ms * length * (1 + choice.pairings)
    if side:
        student_input += STUDENT_PICTURE_MS + STUDENT_PLACE_MS * (side / stride(side)) ** 2
    steps = max(student_steps(choice), choice.passes * max(10, seen.inputs // choice.batch))
    batch = min(choice.batch, max(8, seen.inputs // 10))
    quantize = max(QUANTIZE_STEPS, quantize_passes(bool(side)) * seen.inputs // choice.batch)
    milliseconds = {
        "features": seen.inputs * choice.views * teacher_files + texts * length * TEACHER_TOKEN_MS,
        "teacher": min(400, 10 * max(10, seen.inputs * choice.views // 64)) * HEAD_STEP_MS,
        "targets": 0.3 * max(texts, seen.inputs) * length * TEACHER_TOKEN_MS,  # texts in other words
        "distill": BESIDE * CORES * steps * batch * student_input,  # with the teacher and, beside it, alone
        "quantize": FAKE_QUANT * quantize * batch * student_input,
        "benchmark": seen.rows["test"] * teacher_input * FLOAT * CORES,  # on one thread
    }
    seconds = {stage: ms / 1000 / CORES for stage, ms in milliseconds.items()}
    return {**seconds, "export and timing": FIXED_S}
