"""Stage `report`: measurements and what the stages noted in, report.html, report.md and summary.json out; from JSON and stored rows alone."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.device.explain import Explain, weigh_inputs
from compress.device.sessions import open_session
from compress.device.tasks import Explained
from compress.io_spec import PRESENT, SHARES
from compress.models.gradients import STEPS, integrated_gradients
from compress.models.saved import load_model
from compress.models.shares import contributions, heads_with_shares
from compress.recipe.recipe import Recipe
from compress.reporting.budgets import check_summary
from compress.reporting.choice import choose_precision
from compress.reporting.deciders import show_contributions, show_deciders, show_gradients
from compress.reporting.duplicates import score_apart, show_near
from compress.reporting.heads import show_heads
from compress.reporting.markdown import render_markdown
from compress.reporting.notes import (
    histories,
    list_doubts,
    list_left_out,
    list_misses_of_parity,
    list_notes,
    list_skipped,
    list_unknown,
    show_attacked,
    show_coverage,
    show_engines,
    show_operators,
    show_sensitivity,
    show_subsets,
    show_teachers,
)
from compress.reporting.paraphrases import score_paraphrases
from compress.reporting.samples import COUNT, describe_rows, differing, others, read_answers
from compress.reporting.service import show_around, show_streams
from compress.reporting.summary import summarise_run
from compress.store.artifacts import Engines, Measurements, OnnxModels, Report, Targets, TorchModel
from compress.store.keys import number
from compress.training.rows import sample_feeds

STAND_INS = 4  # training rows whose inputs stand in for one that is taken away
SECONDS, ROWS = 5.0, (16, 128)  # that the teacher may take for it, and fewest and most test rows
GRADIENT_ROWS, BACKWARD = (8, 64), 4  # the same for gradients, each of which takes a model about four times as long as an answer
Told = tuple[Explained, dict[str, np.ndarray]]  # a number of the answers, and of each input (R,) what of it is the input's


def report(
    recipe: Recipe,
    measurements: Measurements,
    onnx: OnnxModels,
    teacher_onnx: OnnxModels | None,
    engine: Engines | None,
    teacher: TorchModel,
    targets: Targets,
    student: TorchModel,
    quantized: TorchModel | None,
    data: PreparedData,
    *,
    ctx: Context,
    stages: list[dict[str, Any]],
) -> Report:
    """report.html, report.md and summary.json, from what the stages before have written down; the precision that ships is chosen here."""
    measured = json.loads(measurements.file("measurements.json").read_text())
    limit = recipe.quantize.max_drop_points if recipe.quantize else None
    choice = choose_precision(measured, target=recipe.export.targets[0], budget=recipe.budget, max_drop_points=limit)
    files = {name: f"{number('export')}-export/{entry['file']}" for name, entry in onnx.details["files"].items()}
    comparison, soft = student.details.get("comparison"), targets.details.get("softness")
    summary = summarise_run(measured, choice, name=recipe.name, stages=stages, exports=files, comparison=comparison, softness=soft)
    paraphrases = score_paraphrases(onnx.file(onnx.details["files"][choice.name]["file"]), student, data)
    summary["left_out"] = list_left_out(onnx)
    summary["doubts"] = list_doubts(measured["models"][choice.name]["accuracy"], measured["baselines"], data)
    summary["paraphrase_accuracy"] = paraphrases and paraphrases["value"]
    apart = score_apart(data, measurements.file("predictions.npz"), model=choice.name)
    told = targets.details.get("softness_in_words")
    budget = check_summary(summary, recipe.budget)
    misses = [line.text for line in budget if line.missed]
    timed, weighed = measured["models"]["teacher"], dict[str, list[Told]]()
    if teacher_onnx:
        weighed["teacher"] = weigh_inputs_of(teacher, teacher_onnx.file("teacher.onnx"), data, timed, ctx=ctx, teacher=True)
    shipped_file = onnx.file(onnx.details["files"][choice.name]["file"])
    weighed[choice.name] = weigh_inputs_of(student, shipped_file, data, timed if teacher_onnx else measured["models"][choice.name], ctx=ctx)
    explained = explain_models(teacher, student, data, measured["models"], asked=teacher_onnx is not None, ctx=ctx)
    let_in = weigh_fusion(student, shipped_file, onnx, data, measured["models"][choice.name], name=choice.name, ctx=ctx)
    extras = {
        "deciders": [*filter(None, [*(show_deciders(values, of=of) for of, values in by_number(weighed)), *explained, let_in])],
        "description": recipe.description,
        "notes": [
            *list_unknown(measured["models"]["teacher"], teacher),
            *list_notes(
                *(summary, data, student, quantized, onnx, paraphrases),
                timing=measured["timing"],
            ),
            *(f"{note[0].upper()}{note[1:]}." for note in (told, targets.details.get("top_k_in_words")) if note),
            *filter(None, [apart]),
        ],
        "near_duplicates": show_near(data),
        "skipped": list_skipped(onnx, engine, runtimes=measured.get("skipped", {})),
        "stages": stages,
        "environment": {**measured["device"], **measurements.versions, **student.versions},
        "history": {name: details["curve"] for name, details in histories(student, quantized).items()},
        "parity": (teacher_onnx.details["parity"] if teacher_onnx else []) + onnx.details["parity"],
        "coverage": show_coverage(onnx.details["coverage"]),
        "sensitivity": show_sensitivity(quantized),
        "tables": [
            *([show_engines(engine)] if engine and engine.details["status"] == "built" else []),
            *(
                [show_operators(shipped, measured["peaks"], name=choice.name)]
                if (shipped := measured["models"][choice.name]).get("profile")
                else []
            ),
            show_heads(measured["models"], shipped=choice.name),
            show_around(measured, shipped=choice.name),
            show_streams(measured),
            *([show_teachers(targets, measured["models"])] if "teachers" in targets.details else []),
            *([show_attacked(measured["robustness"])] if measured.get("robustness") else []),
            *([show_subsets(measured["subsets"])] if measured.get("subsets") else []),
        ],
        "command": measured["command"],
    }
    names = ["teacher", *dict.fromkeys(["fp32", choice.name])]
    answered = read_answers(data, measurements.file("predictions.npz"), names)
    differ = differing(data, answered, teacher="teacher", student=choice.name)
    extras["differing"] = describe_rows(data, answered, differ[:COUNT], whole=True)
    samples = describe_rows(data, answered, others(answered, differ, seed=ctx.seed))
    write_report(ctx.out, summary=summary, measurements=measured, extras=extras, samples=samples, misses=misses)
    (ctx.out / "summary.json").write_text(json.dumps(summary, indent=1))
    text = render_markdown(summary, measured, budget, description=recipe.description, differing=extras["differing"], stages=stages)
    (ctx.out / "report.md").write_text(text, encoding="utf-8")
    ctx.say(f"report: ships {choice.reason}")
    details = {
        "budget_misses": misses,
        "parity_misses": list_misses_of_parity(onnx),
        "chosen": choice.name,
        "refused": list(choice.refused),
    }
    return Report(details=details)


def weigh_inputs_of(
    model: TorchModel, file: Path, data: PreparedData, timed: dict[str, Any], *, ctx: Context, teacher: bool = False
) -> list[Told]:
    """Of each number of the model's answers {modality: (R,) what of it is lost without that input} on test rows; [] of one modality, or where
    inputs have no part in an answer.

    As many rows as a model with the latency of `timed` answers in SECONDS, so that both models are asked the same ones.
    """
    modalities, explain = data.report["modalities"], _explaining(model, data)
    if explain is None:
        return []
    assert model.io_spec
    calls = 1 + len(modalities) * (1 if PRESENT in data.ports else STAND_INS)
    feeds, others = _some_rows(model, data, affordable(timed, calls, ROWS), teacher=teacher)
    session, rows, most = open_session(file, threads=ctx.threads), len(next(iter(feeds.values()))), model.io_spec.max_batch
    parts = [
        weigh_inputs(session.run, {name: array[start : start + most] for name, array in feeds.items()}, others, explain=explain)
        for start in range(0, rows, most)
    ]
    return [
        (found[0][0], {name: np.concatenate([lost[name] for _, lost in found]) for name in modalities})
        for found in zip(*parts, strict=True)
    ]


def explain_models(
    teacher: TorchModel, student: TorchModel, data: PreparedData, timed: dict[str, Any], *, asked: bool, ctx: Context
) -> list[dict[str, Any] | None]:
    """What gradients say of torch's teacher and student, number by number; [] of one modality, or where inputs have no part in an answer.

    asked: whether there is a teacher that can be asked, and not its answers alone.
    """
    found: dict[str, list[Told]] = {}
    errors: list[np.ndarray] = []  # a model's largest of each number
    skipped = ""
    for name, model, known in (("teacher", teacher, "teacher"), ("student", student, "fp32")):
        assert model.path
        explain = _explaining(model, data, xp=torch)
        if explain is None:
            return []
        network = load_model(model.path) if asked or name == "student" else None
        if network is None or next(network.parameters(), None) is None:  # a table of answers, or a file that another runtime runs
            skipped = "The teacher shows its answers alone, so it has no gradients."
            continue
        numbers = len(explain(torch.zeros(1, data.outputs), torch.zeros(1, data.outputs)))
        count = affordable(timed[known], BACKWARD * STEPS * numbers, GRADIENT_ROWS)
        feeds, others = _some_rows(model, data, count, teacher=name == "teacher")
        told = integrated_gradients(network, feeds, others, explain=explain)
        found[name] = [(one.of, one.points) for one in told]
        errors.append(np.array([one.error.max() for one in told]))
    worst = np.max(errors, axis=0)
    return [
        show_gradients(values, steps=STEPS, others=STAND_INS, error=float(error), skipped=skipped, of=of)
        for (of, values), error in zip(by_number(found), worst, strict=True)
    ]


def by_number(found: dict[str, list[Told]]) -> list[tuple[Explained, dict[str, dict[str, np.ndarray]]]]:
    """Each number with what is told of it by model; models of which nothing is told are left out."""
    some = {name: told for name, told in found.items() if told}
    numbers = zip(*some.values(), strict=True)
    return [(told[0][0], {name: values for name, (_, values) in zip(some, told, strict=True)}) for told in numbers]


def _explaining(model: TorchModel, data: PreparedData, *, xp: Any = np) -> Explain | None:
    """`Task.explained` of a model's answers; None where there is nothing to share out."""
    task, nothing = data.task.with_facts(model.details.get("facts", {})), np.zeros((1, data.outputs))
    if len(data.report["modalities"]) == 1 or not task.explained(nothing, nothing, data.labels):
        return None
    return partial(task.explained, names=data.labels, xp=xp)


def weigh_fusion(
    student: TorchModel, file: Path, onnx: OnnxModels, data: PreparedData, timed: dict[str, Any], *, name: str, ctx: Context
) -> dict[str, Any] | None:
    """What the student's fusion lets in of each input of test rows: told by the shipped `file` where it has that output, else by torch's student.

    timed: the measurements of the shipped file, which is called `name`; None of one modality, or a fusion that has no shares.
    """
    assert student.path and onnx.io_spec
    modalities, network = data.report["modalities"], load_model(student.path)
    heads = heads_with_shares(network)
    if not heads:
        return None
    feeds, _ = _some_rows(student, data, affordable(timed, 1, ROWS), teacher=False)
    if shipped := any(port.name == SHARES for port in onnx.io_spec.outputs):
        session, most = open_session(file, threads=ctx.threads), onnx.io_spec.max_batch
        rows = range(0, len(next(iter(feeds.values()))), most)
        shares = np.concatenate([session.run({port: array[i : i + most] for port, array in feeds.items()})[SHARES] for i in rows])
    else:
        told = contributions(network, {port: torch.from_numpy(array) for port, array in feeds.items()})
        assert told is not None
        shares = told.numpy()
    by_input = {m: shares[:, index] for index, m in enumerate(modalities)}
    return show_contributions({name if shipped else "student": by_input}, kind=heads[0].fuse.weighs, shipped=shipped)


def affordable(timed: dict[str, Any], calls: int, limits: tuple[int, int]) -> int:
    """How many rows a model with the latency of `timed` answers `calls` times in SECONDS, within limits."""
    batch, latency = min(timed["latency"].items(), key=lambda entry: int(entry[0]))
    return int(np.clip(1000 * SECONDS / (latency["median_ms"] / int(batch) * calls), *limits))


def _some_rows(model: TorchModel, data: PreparedData, count: int, *, teacher: bool) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """`count` test rows as the model reads them, and training rows that stand in for what they hold."""
    assert model.io_spec
    tests, others = (
        sample_feeds(data.split(split), model.io_spec, model.path, rows, teacher=teacher)[0]
        for split, rows in (("test", count), ("train", STAND_INS))
    )
    return tests, others


def write_report(
    out: Path,
    *,
    summary: dict[str, Any],
    measurements: dict[str, Any],
    extras: dict[str, Any],
    samples: list[dict[str, Any]],
    misses: list[str] | None = None,
) -> Path:
    """`out`/report.html, self-contained.

    extras, each key optional: deciders ([{title, label, bars: {name: points}, rows: [{...}], note}]); description, command (text); notes ([text]); near_duplicates ([{test, train: HTML, test_row, train_row}]); skipped ([{what, why}]);
    stages ([{name, seconds, peak_bytes, reused, run, created}]); differing (as samples: those on which teacher and student differ); environment ({name: value}); history ({run: [{step, accuracy}]}); sensitivity ([{layer, drop_points}]); parity ([{...}]);
    coverage ({int8_share, nodes: [{...}], float: [{...}]}); tables ([{title, note, rows: [{...}]}]), rows being flat and shown as they are.
    samples: as `describe_rows` has them. misses: lines of the budget that were missed.
    """
    from compress.reporting.page import render_page  # matplotlib and jinja2 load only where a report is written

    page = render_page(summary=summary, measurements=measurements, extras=extras, samples=samples, misses=misses or [])
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path
