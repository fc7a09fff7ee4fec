"""Stage `report`: measurements and what the stages noted in, report.html, report.md and summary.json out; from JSON and stored rows alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from compress.context import Context
from compress.data.prepared import PreparedData, Split
from compress.modalities.modality import modality
from compress.recipe.sections import Recipe
from compress.reporting.budgets import check_summary
from compress.reporting.choice import choose_precision
from compress.reporting.duplicates import score_apart, show_near
from compress.reporting.markdown import render_markdown
from compress.reporting.notes import (
    histories,
    list_left_out,
    list_misses_of_parity,
    list_notes,
    list_skipped,
    show_coverage,
    show_engines,
    show_sensitivity,
    show_subsets,
)
from compress.reporting.paraphrases import score_paraphrases
from compress.reporting.summary import summarise_run
from compress.store.artifacts import Engines, Measurements, OnnxModels, Report, Targets, TorchModel
from compress.tables import STAGES


def report(
    recipe: Recipe,
    measurements: Measurements,
    onnx: OnnxModels,
    teacher_onnx: OnnxModels,
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
    files = {name: f"{list(STAGES).index('export') + 1}-export/{entry['file']}" for name, entry in onnx.details["files"].items()}
    comparison = student.details.get("comparison")
    summary = summarise_run(measured, choice, name=recipe.name, stages=stages, exports=files, comparison=comparison)
    paraphrases = score_paraphrases(onnx.file(onnx.details["files"][choice.name]["file"]), student, data)
    summary["left_out"] = list_left_out(onnx)
    summary["paraphrase_accuracy"] = paraphrases and paraphrases["value"]
    apart = score_apart(data, measurements.file("predictions.npz"), model=choice.name)
    budget = check_summary(summary, recipe.budget)
    misses = [line.text for line in budget if line.missed]
    extras = {
        "description": recipe.description,
        "notes": [
            *list_notes(summary, data, student, quantized, onnx, paraphrases, accuracy=measured["models"][choice.name]["accuracy"]),
            *filter(None, [apart]),
        ],
        "near_duplicates": show_near(data),
        "skipped": list_skipped(onnx, engine, runtimes=measured.get("skipped", {})),
        "stages": stages,
        "environment": {**measured["device"], **measurements.versions, **student.versions},
        "history": {name: details["curve"] for name, details in histories(student, quantized).items()},
        "parity": teacher_onnx.details["parity"] + onnx.details["parity"],
        "coverage": show_coverage(onnx.details["coverage"]),
        "sensitivity": show_sensitivity(quantized),
        "tables": [
            *([show_engines(engine)] if engine and engine.details["status"] == "built" else []),
            *([show_subsets(measured["subsets"])] if measured.get("subsets") else []),
        ],
        "command": measured["command"],
    }
    names = ["teacher", *dict.fromkeys(["fp32", choice.name])]
    samples = pick_samples(data, measurements.file("predictions.npz"), models=names, seed=ctx.seed)
    write_report(ctx.out, summary=summary, measurements=measured, extras=extras, samples=samples, misses=misses)
    (ctx.out / "summary.json").write_text(json.dumps(summary, indent=1))
    text = render_markdown(summary, measured, budget, description=recipe.description)
    (ctx.out / "report.md").write_text(text, encoding="utf-8")
    ctx.say(f"report: ships {choice.name}: {choice.reason}")
    details = {
        "budget_misses": misses,
        "parity_misses": list_misses_of_parity(onnx),
        "chosen": choice.name,
        "refused": list(choice.refused),
    }
    return Report(details=details)


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

    extras, each key optional: description, command (text); notes ([text]); near_duplicates ([{test, train: HTML, test_row, train_row}]); skipped ([{what, why}]);
    stages ([{name, seconds, peak_bytes}]); environment ({name: value}); history ({run: [{step, accuracy}]}); sensitivity ([{layer, drop_points}]); parity ([{...}]);
    coverage ({int8_share, nodes: [{...}], float: [{...}]}); tables ([{title, note, rows: [{...}]}]), rows being flat and shown as they are.
    samples: [{inputs: {modality: HTML}, label, predictions: {model: answer}}]. misses: lines of the budget that were missed.
    """
    from compress.reporting.page import render_page  # matplotlib and jinja2 load only where a report is written

    page = render_page(summary=summary, measurements=measurements, extras=extras, samples=samples, misses=misses or [])
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def pick_samples(data: PreparedData, predictions: Path, *, models: list[str], count: int = 12, seed: int = 0) -> list[dict[str, Any]]:
    """Test rows for `write_report`: up to half where one of `models` is wrong or they disagree, the rest drawn from all others.

    predictions: the benchmark's predictions.npz; models: names in it, in the order shown."""
    test = data.split("test")
    with np.load(predictions) as stored:
        rows, answers = stored["rows"], {name: stored[f"model_{name}"] for name in models}
    labels = np.asarray(test.labels)[rows]
    wrong = np.any([answer != labels for answer in answers.values()], axis=0)  # a disagreement has someone wrong
    draw = np.random.default_rng(seed)
    hard = draw.permutation(np.flatnonzero(wrong))[: count // 2]
    easy = draw.permutation(np.flatnonzero(~wrong))[: count - len(hard)]
    return [
        _describe_row(data, test, rows[place], {name: int(answer[place]) for name, answer in answers.items()}) for place in (*hard, *easy)
    ]


def _describe_row(data: PreparedData, test: Split, row: int, answers: dict[str, int]) -> dict[str, Any]:
    shown = data.report["modalities"]
    return {
        "inputs": {m: "(none)" if test.lacks(m)[row] else modality(m).show(test.inputs[m], int(test.rows[m][row])) for m in shown},
        "label": data.labels[test.labels[row]],
        "predictions": {name: data.labels[k] if k >= 0 else "not a number" for name, k in answers.items()},
    }
