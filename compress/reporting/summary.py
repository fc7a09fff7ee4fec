"""summary.json: one flat, versioned document about a run, for scripts; every key is always there, null where it was not measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from compress.reporting.budgets import latency_ratio, measured
from compress.reporting.choice import Choice
from compress.store.artifacts import Artifact

SCHEMA_VERSION = 1
SLICE_ROWS = 10  # of a part that can be the worst: of fewer, a share says little
SOFTNESS = ("largest_p", "entropy_nats", "answered")  # see compress/measures/softness.py
INT8 = ("int8_qat", "int8_ptq", "int8_dynamic")  # the first one measured stands for int8 where none was chosen


def summarise_run(
    measurements: dict[str, Any],
    choice: Choice,
    *,
    name: str,
    stages: list[dict[str, Any]],
    exports: dict[str, str] | None = None,
    comparison: dict[str, Any] | None = None,
    softness: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The summary. Accuracies are fractions (of another task than one of K labels: its mean gain, `measure`), ratios say how often the teacher's value holds the student's, times are seconds and ms.

    stages: [{name, seconds, peak_bytes, ...}], of the run that made the result. exports: target -> path in the run folder.
    comparison: the distillation's {distilled, alone, verdict, sentence} on validation; None where the student alone was not tried.
    softness: of the teacher's answers, by split; None of a task that has none.
    """
    models = measurements["models"]
    teacher = next(m for m in models.values() if m["role"] == "teacher")
    student = next(m for m in models.values() if m["role"] == "student" and m["precision"] == "fp32")
    shipped = models[choice.name]
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "measure": measurements["task"]["measure"],
        "teacher_accuracy": teacher["accuracy"]["value"],
        "student_accuracy": student["accuracy"]["value"],
        "size_ratio": size_ratio(teacher, student),
        "latency_ratio": latency_ratio(student),
        **summarise_costs(stages),
        "samples": measurements["samples"],
        "teacher_samples": teacher["accuracy"]["samples"],
        "device": measurements["device"]["name"],
        "threads": measurements["threads"],
        "runtime": measurements["device"]["runtime"],
        "teacher_size_bytes": teacher["size"]["value"],
        "student_size_bytes": student["size"]["value"],
        "teacher_parameters": teacher["parameters"]["value"],
        "student_parameters": student["parameters"]["value"],
        "teacher_latency_ms": _median(teacher),
        "student_latency_ms": _median(student),
        **{
            f"{role}_{end}": model["accuracy"][end]
            for role, model in (("teacher", teacher), ("student", student), ("shipped", shipped))
            for end in ("low", "high")
        },
        "majority_accuracy": None,
        **{f"{baseline}_accuracy": found["value"] for baseline, found in measurements["baselines"].items()},
        "teacher_helps": comparison and comparison["verdict"] == "helps",
        "teacher_comparison": comparison and comparison["sentence"],
        **{f"teacher_{s}_{what}": softness and softness[s][what] for s in ("train", "validation") for what in SOFTNESS},
        **_int8(measurements, choice, student),
        "precision_chosen": choice.precision,
        "precision_reason": choice.reason,
        "precision_target": choice.target,
        "precision_measured": choice.measured,
        "shipped_model": choice.name,
        "shipped_accuracy": shipped["accuracy"]["value"],
        **_drop(shipped["accuracy"].get("against_teacher")),
        "shipped_size_bytes": shipped["size"]["value"],
        "shipped_size_ratio": size_ratio(teacher, shipped),
        "shipped_latency_ms": _median(shipped),
        "shipped_latency_p95_ms": (shipped["latency"] or {}).get("1", {}).get("p95_ms"),
        "shipped_latency_ratio": latency_ratio(shipped),
        "shipped_memory_bytes": measured(shipped, "peak_memory"),
        "shipped_cold_start_ms": measured(shipped, "cold_start"),
        "exports": exports or {},
        **worst_slice(shipped.get("by_slice", {})),
        **describe_heads(teacher, student, shipped),
    }


def describe_heads(teacher: dict[str, Any], student: dict[str, Any], shipped: dict[str, Any]) -> dict[str, Any]:
    """{heads, worst_head, worst_head_drop_points}: of several heads each one's figures as those of the whole, and the one that loses most to
    the teacher; none where a row has one answer."""
    heads, models = {}, {"teacher": teacher, "student": student, "shipped": shipped}
    for name, head in shipped.get("heads", {}).items():
        own = {role: model["heads"][name]["accuracy"] for role, model in models.items() if name in model.get("heads", {})}
        heads[name] = {"task": head["task"], "measure": head["measure"], "samples": head["accuracy"]["samples"]}
        heads[name] |= {f"{role}_accuracy": own[role]["value"] if role in own else None for role in models}
        heads[name] |= _drop(head["accuracy"].get("against_teacher"))
    drops = [(one["shipped_drop_points"], name) for name, one in heads.items() if one["shipped_drop_points"] is not None]
    drop, worst = max(drops, default=(None, None))
    return {"heads": heads, "worst_head": worst, "worst_head_drop_points": drop}


def worst_slice(by_slice: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The part of the rows in which a file is least often right, of those with SLICE_ROWS rows at least, and how often; None where none has."""
    parts = [(e["value"], f"{column} {e['name']}") for column, known in by_slice.items() for e in known if e["samples"] >= SLICE_ROWS]
    value, name = min(parts, default=(None, None))
    return {"worst_slice": name, "worst_slice_percent": None if value is None else 100 * value}


def costs_of(artifacts: Mapping[str, Artifact], *, reused: Collection[str] = ()) -> list[dict[str, Any]]:
    """[{name, seconds, peak_bytes, reused, run, created}]: what each stage took when it was made, by which run and when; reused: the stages
    whose result this run found in the store."""
    return [
        {"name": name, "seconds": a.seconds, "peak_bytes": a.peak_bytes, "reused": name in reused, "run": a.run, "created": a.created}
        for name, a in artifacts.items()
    ]


def summarise_costs(stages: list[dict[str, Any]]) -> dict[str, Any]:
    """What the making took: all seconds, the most memory, and both stage by stage; memory is None where it was not measured."""
    seconds = {stage["name"]: round(stage["seconds"], 1) for stage in stages}
    memory = {stage["name"]: stage["peak_bytes"] for stage in stages}
    return {
        "seconds_cold": round(sum(stage["seconds"] for stage in stages), 1),
        "peak_bytes": max(filter(None, memory.values()), default=None),
        "stage_seconds": seconds,
        "stage_peak_bytes": memory,
    }


def describe_run(summary: dict[str, Any]) -> str:
    """What the run came to, in one line."""
    ratio, smaller = summary["shipped_latency_ratio"], summary["shipped_size_ratio"]
    measured = " of" if summary["measure"] == "accuracy" else f" ({summary['measure']}) on"
    if smaller is None:
        beside = "size and latency of the teacher are unknown"
    else:
        beside = f"{smaller:.0f}x smaller, " + (f"{ratio:.1f}x faster at batch 1" if ratio else "not timed on this machine")
    known = summary["teacher_accuracy"]
    teacher = "teacher unknown on test" if known is None else f"teacher {100 * known:.2f} %"
    return (
        f"{teacher}, student {100 * summary['student_accuracy']:.2f} %; ships {summary['shipped_model']}: "
        f"{100 * summary['shipped_accuracy']:.2f} %{measured} {summary['samples']:,} test samples, {beside}"
    )


def size_ratio(teacher: dict[str, Any], student: dict[str, Any]) -> float | None:
    """How often the teacher's bytes hold the student's; None where the teacher is no file."""
    size = teacher["size"]["value"]
    return None if size is None else size / student["size"]["value"]


def _drop(paired: dict[str, Any] | None) -> dict[str, float | None]:
    """What is lost to the teacher, points, with both ends of its interval; None where it answered no test row."""
    ends = {"shipped_drop_points": "difference", "shipped_drop_low_points": "high", "shipped_drop_high_points": "low"}
    return {key: -paired[end] if paired else None for key, end in ends.items()}


def _int8(measurements: dict[str, Any], choice: Choice, student: dict[str, Any]) -> dict[str, float | None]:
    """The int8 file against the fp32 student: the one that ships, else the best trained one that was measured for the target."""
    here = [m for m in measurements["models"].values() if m["role"] == "student" and m["target"] in (None, choice.target)]
    found = sorted((m for m in here if m["precision"] in INT8), key=lambda m: INT8.index(m["precision"]))
    if choice.precision in INT8:
        found = [measurements["models"][choice.name]]
    if not found:
        return dict.fromkeys(("int8_model", "int8_accuracy_drop_points", "int8_size_over_fp32", "int8_latency_over_fp32"))
    int8 = found[0]
    latency = (int8["latency"] or {}).get("1")
    return {
        "int8_model": int8["precision"],
        "int8_accuracy_drop_points": 100 * (student["accuracy"]["value"] - int8["accuracy"]["value"]),
        "int8_size_over_fp32": int8["size"]["value"] / student["size"]["value"],
        "int8_latency_over_fp32": latency["this_over_fp32"]["value"] if latency else None,
    }


def _median(model: dict[str, Any]) -> float | None:
    return (model["latency"] or {}).get("1", {}).get("median_ms")
