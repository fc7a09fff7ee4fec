"""How long a training runs, and in batches of what size: arithmetic alone, shared by a teacher's head, the student, the student alone and int8.

A recipe says passes and a batch, which fit large sets. A small one would end after a handful of steps with nothing learnt, so there the
batches get smaller and the passes more.
"""

from __future__ import annotations

from compress.recipe.sections import Train

PASS_STEPS = 10  # fewer steps in a pass than this, and the batch gets smaller
SMALLEST_BATCH = 8  # unless the recipe asks for less: batch norm has to see several inputs
VALIDATIONS = 40  # of a training at most: passes of a small set are short, and each of them needs no validation of its own


def fit_schedule(config: Train, inputs: int, *, of: int | None = None) -> Train:
    """`config` with the batch, the steps and the validations that a training on `inputs` distinct inputs has.

    `of` is the number of all inputs where only the labelled ones are trained on: then the steps are those of a training on all of them.
    """
    batch = fit_batch(config.batch_size, inputs)
    every = pass_steps(of or inputs, fit_batch(config.batch_size, of or inputs))
    steps = total_steps(config, every)
    between = max(config.validate_every * every, steps / VALIDATIONS)
    return config.model_copy(
        update={"batch_size": batch, "min_steps": steps, "max_steps": steps, "validate_every": between / pass_steps(inputs, batch)}
    )


def fit_batch(asked: int, inputs: int) -> int:
    """The batch asked for, or the largest power of two below it that leaves PASS_STEPS steps a pass, if SMALLEST_BATCH does not forbid it."""
    if inputs >= asked * PASS_STEPS:
        return asked
    fitting = 2 ** max(0, (inputs // PASS_STEPS).bit_length() - 1)  # the largest power of two up to inputs / PASS_STEPS
    return min(asked, max(fitting, SMALLEST_BATCH))


def pass_steps(inputs: int, batch: int) -> int:
    """Steps of one pass; the incomplete last batch is left out, unless it is the only one."""
    return max(1, inputs // batch)


def total_steps(config: Train, every: int) -> int:
    """Steps of a training whose passes have `every` steps: `epochs` of them, at least min_steps, at most max_steps."""
    steps = max(1, round(config.epochs * every), config.min_steps)
    return min(steps, config.max_steps or steps)


def schedule_line(asked: Train, fitted: Train, inputs: int) -> str | None:
    """What differs from the recipe's own words, such as "83 inputs: batch 8 in place of 128, 10 steps a pass, 600 steps"; None: nothing."""
    plain = max(1, round(asked.epochs * pass_steps(inputs, asked.batch_size)))
    if fitted.batch_size == asked.batch_size and fitted.max_steps in (plain, asked.max_steps):
        return None
    batch = f"batch {fitted.batch_size}" + (f" in place of {asked.batch_size}" if fitted.batch_size != asked.batch_size else "")
    return f"{inputs:,} inputs: {batch}, {pass_steps(inputs, fitted.batch_size):,} steps a pass, {fitted.max_steps:,} steps"
