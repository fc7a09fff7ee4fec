"""A recipe's text from what was seen in the user's files and what was chosen for them; a comment gives the reason for each choice."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml

from compress.recipe.choices import (
    FROZEN,
    QUANTIZE_STEPS,
    SMALL,
    TEACHER_RATE,
    Choice,
    keeps_sides,
    quantize_passes,
    stride,
    student_rate,
    student_steps,
    teacher_side,
)
from compress.recipe.declarations import class_literal, stated
from compress.recipe.heads import objective_of
from compress.recipe.seen import Seen
from compress.tables import TABLES, TASKS

MARGIN, WIDTH = 34, 120  # columns: where comments beside a value start, and where lines end
LOSSES: tuple[dict[str, Any], ...] = ({"name": "cross_entropy"}, {"name": "kd", "options": {"temperature": 4.0}})
FEW = 10  # rows of a label below which it is hardly learnt
SKEWED = 10  # times more rows of the commonest label than of the rarest
WELL = 0.95  # share of the rows that can be right, below which it is said
VALIDATION = 200  # rows below which validation hardly tells two models apart


def recipe_text(name: str, file: str, seen: Seen, choice: Choice) -> str:
    """The recipe as YAML: it passes `compress check` in the folder that the paths of `seen` start from."""
    parts = (
        _head(name, file, seen, choice),
        _data(seen, choice),
        _teacher(seen, choice),
        _student(choice),
        _distill(seen, choice),
        _rest(choice),
    )
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def told(seen: Seen, choice: Choice, *, file: str) -> Iterator[str]:
    """What the command says when it is done, a line each."""
    read = [f"{quoted(own)} as {role}" for role, own in seen.columns.items()]
    read += [f"{quoted(head.column)} as head {name}" for name, head in seen.heads.items()]
    yield f"reads {', '.join(read)}"
    yield from (f"does not read {quoted(own)}: {why}" for own, why in seen.ignored.items())
    yield from (f"{count:,} rows that cannot be used ({reason}) will be left out" for reason, count in seen.broken.items())
    yield f"{file} written; `compress run {file}` is estimated to take {_minutes(choice.total_s)} on two cores"


def quoted(value: str) -> str:
    """A string as a YAML value, in quotes unless it is a plain word."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", value) and isinstance(yaml.safe_load(value), str):
        return value
    return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**6).strip()


def image_student(choice: Choice) -> tuple[str, str]:
    """The student's image encoder as YAML, and why."""
    assert choice.image_size
    step = stride(choice.image_size)
    why = f"MobileNetV2 with its ImageNet weights, of which the first {FROZEN} blocks are not trained; expand: 0.5 is half as large"
    why += "" if step == 32 else "; stride 16 for small pictures"
    return f"{{model: mobilenet_v2, initialise: pretrained, freeze: {FROZEN}, options: {{stride: {step}}}}}", why


def _head(name: str, file: str, seen: Seen, choice: Choice) -> Iterator[str]:
    inputs = " and ".join(
        part
        for part, there in (("a picture", choice.image_size), ("a sound", choice.sound_seconds), ("a text", choice.text_length))
        if there
    )
    stages = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in choice.seconds.items() if seconds >= 1)
    yield "# Written by `compress init` from what it saw in your files. Each choice says why; change what you know better."
    yield f"#   compress check {file}     says what is wrong with it, all at once"
    yield f"#   compress run {file}       runs it; every word that may stand here: compress schema"
    yield from _comment(f"Estimated, not measured: {_minutes(choice.total_s)} on two cores (seconds: {stages}).", indent=0)
    yield f"name: {quoted(name)}"
    what = {
        "multi_label": f"Gives {len(seen.labels):,} tags",
        "regression": "Tells a number",
        "embedding": "Makes vectors that rank",
        "verification": "Says whether two are the same",
        "retrieval": "Finds what belongs together",
        "segmentation": f"Tells which of {len(seen.labels):,} classes each place shows",
        "token_labels": f"Gives each word one of {len(seen.labels):,} labels",
        "several": f"Answers {' and '.join(seen.heads)}",
    }.get(seen.task, f"Tells {len(seen.labels):,} labels apart")
    yield f"description: {quoted(f'{what} by {inputs}.')}"
    yield "seed: 0"


def _data(seen: Seen, choice: Choice) -> Iterator[str]:
    yield "data:"
    yield _beside(f"  source: {seen.source}", "your own files; paths start from this file's folder")
    yield "  options:"
    what = "pictures" if seen.pictures else "sounds" if seen.sounds else "texts"
    yield _beside(f"    train: {quoted(seen.files['train'])}", f"{seen.rows['train']:,} rows, {seen.inputs:,} different {what}")
    if "validation" in seen.files:
        yield _beside(
            f"    validation: {quoted(seen.files['validation'])}", f"{seen.rows['validation']:,} rows, which choose between models"
        )
    yield _beside(
        f"    test: {quoted(seen.files['test'])}", f"{seen.rows['test']:,} rows, never trained on; the report's figures come from them"
    )
    names = {"label": stated(TASKS[seen.task], "column") or "label"}
    yield f"    columns: {{{', '.join(f'{names.get(role, role)}: {quoted(own)}' for role, own in seen.columns.items())}}}"
    for own, why in seen.ignored.items():
        yield from _comment(f"{quoted(own)} is not read: {why}.", indent=4)
    if seen.groups:
        yield from _groups(seen.groups)
    yield "  inputs:"
    yield from _inputs(seen, choice)
    yield from _task(seen) if seen.answers else _labels(seen.labels)
    if seen.ceiling < WELL:
        yield from _comment(
            f"Equal inputs have different labels: at best {100 * seen.ceiling:.0f} % of the training rows can be right, whatever the model."
        )
    yield from _validation(seen, choice)
    yield from _bad_rows(seen)


def _groups(groups: tuple[int, int]) -> Iterator[str]:
    count, shared = groups
    yield from _comment(f"{count:,} groups: rows of one group are never parted between training and validation.", indent=4)
    if shared:
        yield from _comment(f"The test file has {shared:,} of them too, so its figures say little about new groups.", indent=4)


def _needed(seen: Seen) -> str:
    """What the task needs its only input to say, behind what stands there."""
    (words,) = (stated(TASKS[seen.task], "reads") or {}).values() or ({},)
    return "".join(f", {word}: {str(value).lower()}" for word, value in words.items())


def _inputs(seen: Seen, choice: Choice) -> Iterator[str]:
    if (pictures := seen.pictures) is not None:
        least, middle, most = pictures.sides
        sizes = (
            f"all {pictures.looked:,} are alike"
            if pictures.alike
            else f"{least:,} to {most:,}, half of {pictures.looked:,} above {middle:,}"
        )
        yield _beside(f"    image: {{size: {choice.image_size}}}", f"pixels a side; the pictures' shorter sides: {sizes}")
    if (sounds := seen.sounds) is not None:
        middle_s, near_all_s, longest_s = sounds.seconds
        yield _beside(
            f"    audio: {{seconds: {choice.sound_seconds:g}, rate: {choice.sound_rate}}}",
            f"half of {sounds.looked:,} sounds have up to {middle_s:.2g} s, 95 of 100 up to {near_all_s:.2g} s, the longest {longest_s:.3g} s; "
            f"more is cut off. Most have {sounds.rate_hz:,} samples a second",
        )
    if (texts := seen.texts) is not None:
        middle, near_all, longest = texts.tokens
        counted = "tokens, guessed from words" if texts.guessed else "tokens"
        yield _beside(
            f"    text: {{length: {choice.text_length}{_needed(seen)}}}",
            f"{counted}; half of the texts have up to {middle:,}, 95 of 100 up to {near_all:,}, the longest {longest:,}; more is cut off",
        )


def _task(seen: Seen) -> Iterator[str]:
    """The task, and what was seen of its answers."""
    yield f"  task: {seen.task}"
    if seen.task_options:
        yield f"  task_options: {{{', '.join(f'{key}: {_written(value)}' for key, value in seen.task_options.items())}}}"
    if seen.heads:
        yield "  heads:"
    for name, head in seen.heads.items():
        words = [f"task: {head.task}"] + ([] if head.column == name else [f"column: {quoted(head.column)}"])
        options = ", ".join(f"{key}: {_written(value)}" for key, value in head.options.items())
        words += [f"task_options: {{{options}}}"] if options else []
        yield _beside(f"    {name}: {{{', '.join(words)}}}", head.told)
    for line in seen.answers:
        yield from _comment(f"{line}.")
    few = [label for label, count in seen.labels.items() if count < FEW]
    if few:
        yield from _comment(
            f"{'Tags' if seen.task == 'multi_label' else 'Labels'} with fewer than {FEW} rows, which teach little: {len(few):,}."
        )


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | int) else quoted(str(value))


def _labels(labels: dict[str, int]) -> Iterator[str]:
    """How many rows the labels have, and which have few."""
    rows, counts = sum(labels.values()), list(labels.values())
    commonest = next(iter(labels))
    few = [label for label, count in labels.items() if count < FEW]
    yield from _comment(
        f"{len(labels):,} labels, {counts[-1]:,} to {counts[0]:,} rows each; always {quoted(commonest)} would be right in "
        f"{100 * counts[0] / rows:.1f} % of the training rows."
    )
    if counts[0] >= SKEWED * counts[-1]:
        yield from _comment(f"They are skewed, {counts[0] / counts[-1]:.0f} to 1: look at the report's figures label by label.")
    if few:
        some = ", ".join(quoted(label) for label in few[-5:]) + (" and others" if len(few) > 5 else "")
        yield from _comment(f"Labels with fewer than {FEW} rows, which teach little: {len(few):,} ({some}).")


def _validation(seen: Seen, choice: Choice) -> Iterator[str]:
    held_out = "validation" not in seen.files
    rows = seen.rows.get("validation") or round(choice.validation_fraction * (seen.rows["train"] - seen.unlabelled))
    if held_out:
        yield _beside(
            f"  validation_fraction: {choice.validation_fraction:g}", f"there is no validation file: about {rows:,} rows are held out"
        )
    if rows < VALIDATION:
        noise = 196 * (0.25 / max(rows, 1)) ** 0.5
        yield from _comment(
            f"{rows:,} validation rows tell little: a share of them is known to about {noise:.0f} points either way. More than "
            f"{VALIDATION} would choose better."
        )


def _bad_rows(seen: Seen) -> Iterator[str]:
    looked = (
        f"{seen.decoded:,} {'pictures' if seen.pictures else 'sounds'} were read to the end"
        if seen.pictures or seen.sounds
        else "all rows were looked at"
    )
    if seen.broken:
        found = ", ".join(f"{reason} {count:,}" for reason, count in seen.broken.items())
        yield _beside("  on_bad_row: skip", f"rows that cannot be used: {found} ({looked}); they are counted, reported and left out")
    else:
        yield _beside("  on_bad_row: error", f"no broken row was seen ({looked}); skip: left out, counted and reported")
    if seen.unlabelled:
        yield _beside("  allow_unlabelled: true", f"{seen.unlabelled:,} training rows without a label train on the teacher alone")


def _teacher(seen: Seen, choice: Choice) -> Iterator[str]:
    dense = bool(stated(TASKS[seen.task], "dense"))
    side = teacher_side(choice.image_size or 0, dense=dense) if choice.image_size else 0
    yield "teacher:"
    yield _beside("  source: fit", "pretrained encoders, frozen, and a head fitted on your rows; or folder, hub, weights")
    yield "  encoders:"
    if choice.image_size:
        yield f"    image: {{model: efficientnet_lite2, options: {{size: {side}}}}}"
    if choice.sound_seconds:
        yield _beside("    audio: {model: whisper_tiny}", "the encoder of Whisper tiny.en, which was trained on English speech")
    if choice.text_length:
        yield "    text: {model: minilm_l6}"
    if choice.image_size and SMALL < choice.image_size < side:
        yield _beside(f"  inputs: {{image: {{size: {side}}}}}", "it sees more of a picture than the student")
    if choice.sound_seconds and choice.sound_rate != TEACHER_RATE:
        yield _beside(
            f"  inputs: {{audio: {{seconds: {choice.sound_seconds:g}, rate: {TEACHER_RATE}}}}}", "samples a second that it was trained with"
        )
    rate = "5.0e-4" if choice.image_size else "2.0e-3"  # the features of a picture are many, and few rows are learnt by heart at once
    yield _beside(f"  train: {{epochs: 10, min_steps: 100, max_steps: 400, batch_size: 64, learning_rate: {rate}}}", "the head alone")


def _student(choice: Choice) -> Iterator[str]:
    yield "student:"
    yield "  encoders:"
    if choice.image_size:
        encoder, why = image_student(choice)
        yield _beside(f"    image: {encoder}", why)
    if choice.sound_seconds:
        yield _beside("    audio: {model: ds_cnn, options: {width: 32}}", "small convolutions over a spectrogram, 27 k parameters")
    if choice.text_length:
        size = f"layers: 2, width: {choice.texts.width}, heads: {choice.texts.heads}, feedforward: {choice.texts.feedforward}"
        yield _beside(f"    text: {{options: {{{size}}}}}", "started from the teacher's layers and words")


def _distill(seen: Seen, choice: Choice) -> Iterator[str]:
    yield "distill:"
    yield _beside("  losses:", "`compress list losses` shows formulas and options")
    own = objective_of({name: {"task": head.task} for name, head in seen.heads.items()}, TABLES)
    for loss in own or (LOSSES if not seen.answers else class_literal(TASKS[seen.task], "objective")):
        head = f", head: {loss['head']}" if "head" in loss else ""
        options = ", ".join(f"{key}: {value}" for key, value in loss.get("options", {}).items())
        yield f"    - {{name: {loss['name']}{head}{f', options: {{{options}}}' if options else ''}}}"
    yield _beside("  compare_alone: true", "also train without the teacher, and see which is better on validation")
    yield "  augment:"
    if choice.image_size:
        sides = keeps_sides(seen)
        large = choice.image_size > SMALL or stated(TASKS[seen.task], "dense")
        varied = "crop: 0.5, colour: 0.2" if large else f"shift: {max(1, choice.image_size // 16)}"
        yield _beside(f"    views: {choice.views}", "variants of each picture, the picture itself among them")
        assumed = f"not mirrored: {sides}; set flip: true if mirrored pictures keep their label"
        flip = "assumed: a mirrored picture keeps its label; set flip: false where left and right, letters or digits matter"
        yield _beside(f"    image: {{flip: {str(choice.flip).lower()}, {varied}}}", flip if choice.flip else assumed)
    if choice.sound_seconds and not choice.image_size:  # only what groups the rows is varied
        yield _beside(f"    views: {choice.views}", "variants of each sound, the sound itself among them")
        varied = "speed: 0.1, shift: 0.1, gain: 6, noise: 0.05"
        yield _beside(
            f"    audio: {{{varied}}}", "assumed: labels stay where a sound is faster, later, louder or in noise; speed moves pitch too"
        )
    if choice.text_length:
        yield _beside("    text: {wordings: 16}", "texts also in other words, which the teacher alone answers")
    if choice.pairings:
        yield _beside(
            f"    pairings: {choice.pairings}", "other texts beside each input, which the teacher alone answers; 0: each belongs to its own"
        )
    steps = student_steps(choice)
    yield from _comment(f"Small sets are passed over more often and in smaller batches, until the student has {steps} steps.")
    yield f"  train: {{epochs: {choice.passes}, min_steps: {steps}, batch_size: {choice.batch}, learning_rate: {student_rate(seen, choice)}}}"


def _rest(choice: Choice) -> Iterator[str]:
    yield "quantize:"
    yield _beside("  method: int8_qat", "it ships only if it was measured to be better here")
    rate = "3.0e-5" if choice.image_size else choice.texts.int8_rate  # with norms that stand still, a gentler one yet
    yield f"  train: {{epochs: {quantize_passes(bool(choice.image_size))}, min_steps: {QUANTIZE_STEPS}, batch_size: {choice.batch}, learning_rate: {rate}}}"
    yield ""
    yield _beside("export: {targets: [onnxruntime_x86, onnxruntime_arm]}", "tensorrt: a file for NVIDIA's GPUs")
    yield _beside("benchmark: {rounds: 100}", "timed calls of each model and batch")
    yield ""
    yield from _comment(
        "A run that misses a line of its budget ends with exit code 3, after the report. None is set; for example:", indent=0
    )
    yield "# budget: {max_drop_points: 2.0, max_size_mb: 5.0}"


def _beside(value: str, comment: str) -> str:
    """`value  # comment` on one line, or the comment above where the line would be too long."""
    line = f"{value:<{MARGIN}}# {comment}" if len(value) < MARGIN else f"{value}  # {comment}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([*_comment(comment, indent=len(value) - len(value.lstrip())), value])


def _comment(text: str, *, indent: int = 2) -> list[str]:
    """Comment lines of at most WIDTH characters."""
    start = " " * indent + "# "
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
