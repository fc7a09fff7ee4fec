"""Stage `quantize`: the student in fake int8, trained with the same loop, losses and stored teacher answers as before.

`qat/` is the result; `ptq/` is the same student with calibrated ranges and no training, to show what training bought. The calibrated weights count
among those that training chooses from (training/choice.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice

import numpy as np
from torch import Tensor, nn

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.graphs.retarget import TARGETS
from compress.losses.objective import Objective, at_the_end
from compress.modalities.modality import pixels_of
from compress.models.saved import load_model
from compress.models.taps import attach_taps
from compress.placement import CPU, move
from compress.quantizers import QUANTIZERS, calibrate, freeze_ranges, layer_sensitivity, quantized_modules, restore_layers, use_unsigned
from compress.quantizers.saved import save_quantized
from compress.recipe.recipe import Recipe
from compress.recipe.sections import Loss, Quantize
from compress.store.artifacts import CHECKPOINT, Targets, TorchModel
from compress.tasks.labels import known
from compress.training.adversarial import against
from compress.training.answers import second_teacher
from compress.training.batches import Batches, Rows, scheduled_batches
from compress.training.frozen import frozen, parts_that_stay
from compress.training.imbalance import against_imbalance
from compress.training.loop import predict, train
from compress.training.rows import open_rows, training_rows
from compress.training.teaching import load_projections, objective_for


def quantize(recipe: Recipe, student: TorchModel, targets: Targets, data: PreparedData, *, ctx: Context) -> TorchModel:
    """States of the fake-quantized student, with validation accuracy of each form and the sensitivity of each layer."""
    assert recipe.quantize and student.path and student.io_spec
    config, quantizer = recipe.quantize, QUANTIZERS[recipe.quantize.method]
    rows = against_imbalance(training_rows(data.split("train"), student.io_spec, targets, student.path), data)
    check = Batches(open_rows(data.split("validation"), student.io_spec, student.path), 512, shuffle=False)

    task = data.task.with_facts(student.details.get("facts", {}))
    labels = np.asarray(check.data.labels)

    def score(model: nn.Module) -> float:
        return task.score(predict(model, check), labels)

    model, taps = load_model(student.path).to(ctx.device), recipe.distill.student_taps
    details: dict = {"method": config.method, "validation": {"fp32": score(model)}, "student": str(student.fingerprint)}
    if not quantizer.calibrated:
        return TorchModel(io_spec=student.io_spec, details=details)
    teaches = who_teaches(config, student)
    detach = attach_taps(model, taps, side="student")
    if quantizer.trained and teaches != "teacher":
        rows = second_teacher(model, rows, ctx.out / CHECKPOINT / "answers", alone=teaches == "student")
    if quantizer.trained and teaches != config.teacher:
        ctx.say(f"quantize: the student trained alone ships, so it teaches its int8 form in place of {config.teacher!r}")
    objective = taught_objective(recipe, student, model, rows) if quantizer.trained else None
    detach()  # its layers are about to be replaced
    model = quantizer.prepare(model.cpu(), config).to(ctx.device)
    attach_taps(model, taps, side="student")
    batches = Batches(rows, config.train.batch_size, seed=ctx.seed)
    calibrate(model, calibration_batches(batches, config.calibration_batches, device=ctx.device))
    use_unsigned(model, any(TARGETS[target].unsigned for target in recipe.export.targets[:1]))  # the first target's arithmetic
    model.eval()
    calibrated = task.marks(predict(model, check), labels)
    details["validation"]["int8_ptq"] = float(calibrated.mean())
    save_quantized(model, ctx.out / "ptq")
    if objective:
        batches, schedule = scheduled_batches(rows, config.train, label="quantize", ctx=ctx)
        with frozen(parts_that_stay(recipe, model)):
            history = train(
                model,
                batches,
                objective=objective,
                config=schedule,
                ctx=ctx,
                validate=lambda m: task.marks(predict(m, check), labels),
                label="quantize",
                freeze=(config.freeze_after, freeze_ranges),
                known=calibrated,
                perturb=against(recipe.distill.adversarial, pixels_of(student.io_spec.modalities), ctx.seed),
            )
        details |= {"history": history.to_json(), "teacher": teaches}
    model.eval()
    details |= control_accuracy(model, score, config, details["validation"]["fp32"], ctx)
    details["validation"][config.method] = scored = score(model)
    save_quantized(model, ctx.out / ("qat" if quantizer.trained else "ptq"))  # with the layers that went back to float
    samples = int(known(labels).sum())
    ctx.say("quantize: validation " + ", ".join(f"{name} {100 * value:.2f} %" for name, value in details["validation"].items()))
    return TorchModel(
        io_spec=student.io_spec, metrics={"validation_accuracy": {"value": 100 * scored, "unit": "%", "samples": samples}}, details=details
    )


def who_teaches(config: Quantize, student: TorchModel) -> str:
    """Whose answers the int8 student learns from, a value of `quantize.teacher`.

    A student that does better without the teacher is not led back to it: its own float form teaches, beside the labels."""
    return "student" if student.details.get("shipped_arm") == "alone" else config.teacher


def taught_objective(recipe: Recipe, student: TorchModel, model: nn.Module, rows: Rows) -> Objective:
    """The losses, the factors of their terms and the projections that the student `model` was taught with, as they were at the end."""
    assert student.path
    taught = student.details.get("teaching") or {}
    losses = [Loss.model_validate(loss) for loss in taught.get("losses", [])] or recipe.distill.losses
    objective = objective_for(at_the_end(losses), model, rows)
    load_projections(objective, student.path)
    objective.scales = taught.get("scales") or {}
    return objective


def control_accuracy(model: nn.Module, score: Callable[[nn.Module], float], config: Quantize, reference: float, ctx: Context) -> dict:
    """Sensitivity of every layer, and the fewest layers back in float that keep the drop within the recipe's limit."""
    if config.max_drop_points is None:
        return {"layers": len(quantized_modules(model))}

    def points(m: nn.Module) -> float:
        return 100 * score(m)

    sensitivity = [asdict(layer) for layer in layer_sensitivity(model, points)]
    restoration = restore_layers(model, points, reference=100 * reference, max_drop_points=config.max_drop_points)
    limit = f"{config.max_drop_points:g} points"
    if restoration.names:
        ctx.say(f"quantize: {len(restoration.names)} layers back in float to stay within {limit}: {', '.join(restoration.names)}")
    if not restoration.reached:
        ctx.say(
            f"quantize: {restoration.drop_points:.2f} points are lost, more than the {limit} asked for, and not even float layers win them back"
        )
    return {"layers": len(quantized_modules(model)), "sensitivity": sensitivity, "restored": asdict(restoration)}


def calibration_batches(batches: Batches, count: int, *, device: str = CPU) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """The first `count` training batches, as inputs and rows on that device."""
    for batch in islice(batches.epoch(0), count):
        yield move((batch.inputs, batch.rows), device)
