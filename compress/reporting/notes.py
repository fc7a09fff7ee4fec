"""What the stages wrote down, in the form that the report's page shows: notes, what was skipped, tables."""

from __future__ import annotations

from typing import Any

from compress.data.answer_table import describe_answers
from compress.data.duplicates import list_leaks
from compress.data.prepared import PreparedData
from compress.measures.paired import describe_paired
from compress.store.artifacts import Engines, OnnxModels, Targets, TorchModel

COSTLIEST_OPERATORS = 6
SKEW = 10  # times more rows of the commonest label than of another


def list_notes(
    summary: dict[str, Any],
    data: PreparedData,
    student: TorchModel,
    quantized: TorchModel | None,
    onnx: OnnxModels,
    paraphrases: dict | None,
    *,
    timing: dict[str, dict[str, Any]],
) -> list[str]:
    """What a reader must know to read the numbers rightly, one sentence each. timing: how each batch was timed."""
    notes = [f"Teacher or no teacher: {summary['teacher_comparison']}."] if summary["teacher_comparison"] else []
    if data.task.facts.get("judge") == "teacher":
        notes.append(
            "Nobody has labelled validation and test: the teacher's own answers are the truth here, so its shares are 100 %, and no figure says how often they are right."
        )
    test = data.report["splits"]["test"]
    for modality, seen in (test.get("seen_in_train") or {}).items():
        if seen == test["inputs"][modality]:
            notes.append(
                f"All {seen} different {modality.removesuffix('s')}s of the test split are in the training split too, so this test says nothing about new {modality.removesuffix('s')}s."
            )
    notes += [student.details["rounds_in_words"]] if "rounds" in student.details else []
    notes += list_skew(data)
    notes += [f"{leak[0].upper()}{leak[1:]}" for leak in list_leaks(data.report)]
    vocabulary = student.details.get("vocabulary")
    if vocabulary and vocabulary["saved_parameters"]:
        notes.append(
            f"The vocabulary was trimmed from {vocabulary['teacher_tokens']:,} to {vocabulary['tokens']:,} tokens, which saved "
            f"{vocabulary['saved_parameters']:,} parameters; unknown tokens in the validation texts: {100 * vocabulary['unknown_rate_validation']:.2f} %."
        )
    if paraphrases:
        notes.append(
            f"In other words: {paraphrases['texts']} questions rephrased by hand, {paraphrases['samples']:,} test rows: {100 * paraphrases['value']:.1f} % "
            f"right, against {100 * paraphrases['original']:.1f} % for the same rows in the data's own words: {describe_paired(paraphrases['paired'])}; "
            f"unknown tokens {100 * paraphrases['unknown_rate']:.2f} %."
        )
    if data.report["skipped"]["rows"]:
        reasons = ", ".join(f"{name} {entry['count']}" for name, entry in data.report["skipped"]["reasons"].items())
        notes.append(f"{data.report['skipped']['rows']} rows were left out as the recipe asks: {reasons}.")
    notes += [f"The source leaves out {count:,}: {reason}." for reason, count in data.report.get("left_out", {}).items()]
    notes += list_moods(timing)
    restored = (quantized.details.get("restored") if quantized else None) or {}
    if restored.get("names"):
        notes.append(f"Layers put back to float to keep the accuracy: {', '.join(restored['names'])}.")
    if any(entry["format"] == "litert" for entry in onnx.details["mobile"]):
        notes.append("LiteRT's file holds one row: its times at larger batches are of that many calls.")
    return notes


def list_doubts(accuracy: dict[str, Any], baselines: dict[str, dict[str, Any]], data: PreparedData) -> list[str]:
    """What a reader must know before anything else: that no better than a guess ships. accuracy: the shipped file's, with its paired comparisons."""
    guesses = {"majority": data.task.constant, **{f"{m}_alone": f"the {m} alone" for m in data.report["modalities"]}}
    return [
        f"What ships is not shown to be better than {guesses[key]} ({100 * found['value']:.1f} %): {describe_paired(paired)}; do not use it"
        for key, found in baselines.items()
        if (paired := accuracy.get(f"against_{key}")) and paired["verdict"] != "better"
    ]


def list_unknown(measured: dict[str, Any], teacher: TorchModel) -> list[str]:
    """The sentence about a teacher of which there are stored answers alone; measured: its entry in the measurements."""
    if measured["size"]["value"] is not None:
        return []
    if named := teacher.details.get("teachers"):
        how = teacher.details["combine"]
        return [
            f"The teacher is {len(named)} teachers, whose answers are combined by {how}; each has a size and a time of its own, and they none in common."
        ]
    if prompts := teacher.details.get("prompts"):
        large = f"{teacher.details['parameters'] / 1e6:,.1f} M parameters"
        return [
            f"The teacher is a {teacher.details['source']} of {large}, asked {prompts:,} prompts once; its size and latency are not measured."
        ]
    answers = teacher.details["answers"]
    samples = measured["accuracy"]["samples"]
    tested = (
        f"what is said of it, and against it, is of the {samples:,} test rows that it answered" if samples else "it answered no test row"
    )
    return [f"The teacher is stored answers and no file, so its size and latency are unknown; {tested}. {describe_answers(answers)}."]


def list_skew(data: PreparedData) -> list[str]:
    """The sentence that says which metrics to read where a label has less than a tenth of the rows of the commonest, and nothing was done."""
    counts = data.report["splits"]["train"].get("label_counts") or {}
    few = {label: count for label, count in counts.items() if SKEW * count < max(counts.values())}
    if not few or not data.task.balances or data.report.get("imbalance", "none") != "none":
        return []
    some = ", ".join(f"{label} {count:,}" for label, count in [*few.items()][:5]) + (", ..." if len(few) > 5 else "")
    return [
        f"{len(few):,} labels have less than a tenth of the commonest one's {max(counts.values()):,} training rows ({some}): read the means over "
        "labels (balanced accuracy, macro F1) first; data.imbalance trains and decides by them."
    ]


def list_moods(timing: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence where the machine was noisy while it timed, and one where a model still got faster."""
    loud = {batch: how["noise"] for batch, how in timing.items() if how["noisy"]}
    unsteady = {batch: how["warmup"] for batch, how in timing.items() if not how["steady"]}
    notes = []
    if loud:
        batches = ", ".join(f"{100 * noise:.0f} % at batch {batch}" for batch, noise in loud.items())
        notes.append(
            f"The machine was noisy while it timed: a sort of the same numbers took times that spread by {batches} (10th to 90th percentile over "
            "the median). Ratios of calls that took turns suffer less than the times themselves; for times, measure on a quiet machine."
        )
    if unsteady:
        batches = ", ".join(f"{rounds} calls at batch {batch}" for batch, rounds in unsteady.items())
        notes.append(f"A model still got faster after {batches} of warm-up: its times may be longer than they become in service.")
    return notes


def list_left_out(onnx: OnnxModels) -> dict[str, str]:
    """File of the export that is not there -> why, those for phones and boards by their place."""
    return {**onnx.details["left_out"], **onnx.details["mobile_skipped"]}


def list_misses_of_parity(onnx: OnnxModels) -> list[str]:
    """A line for each target that asked for int8 and has no int8 file left."""
    return [f"no int8 file is left for {target}: {why}" for target, why in onnx.details["unserved"].items()]


def list_skipped(onnx: OnnxModels, engine: Engines | None, *, runtimes: dict[str, str]) -> list[dict[str, str]]:
    """What was left out, and what could not be done or measured on this machine, and why; runtimes: variant -> why it was not measured."""
    skipped = [{"what": f"{name}, which is left out", "why": why} for name, why in list_left_out(onnx).items()]
    skipped += [{"what": f"latency of {name}", "why": why} for name, why in runtimes.items()]
    for name, entry in onnx.details["files"].items():
        if entry.get("target") in ("onnxruntime_arm", "tensorrt"):
            skipped.append(
                {
                    "what": f"latency of {name}",
                    "why": f"the file is for {entry['target']}, which this machine is not; its answers were checked here",
                }
            )
    if engine and engine.details["status"] == "skipped":
        skipped.append({"what": "TensorRT engines", "why": engine.details["reason"]})
    elif engine:
        skipped.append(
            {"what": "latency of the TensorRT engines", "why": "engines were built here, but running one needs the GPU that it is for"}
        )
    return skipped


def histories(student: TorchModel, quantized: TorchModel | None) -> dict[str, dict]:
    """Name of a training -> its history, of those that there were."""
    named = {"student": student.details.get("history"), "student alone": student.details.get("history_alone")}
    named["quantization-aware"] = quantized.details.get("history") if quantized else None
    return {name: history for name, history in named.items() if history}


def show_coverage(coverage: dict[str, dict]) -> dict[str, Any]:
    """The coverage of the last int8 file as the page shows it: its share, its compute nodes, and the float ones with the reason."""
    if not coverage:
        return {}
    last = list(coverage.values())[-1]
    rows = [
        {"layer": n["name"], "operator": n["op_type"], "int8": n["int8"], "multiply-adds": n["multiply_adds"], "why float": n["reason"]}
        for n in last["nodes"]
    ]
    return {
        "int8_share": last["share"],
        "nodes": [{k: v for k, v in row.items() if k != "why float"} for row in rows if row["int8"]],
        "float": [row for row in rows if not row["int8"]],
    }


def show_sensitivity(quantized: TorchModel | None) -> list[dict[str, Any]]:
    """Each layer and the points lost when it alone is int8."""
    rows = (quantized.details.get("sensitivity") if quantized else None) or []
    return [{"layer": row["name"], "drop_points": row["drop_points"]} for row in rows]


def show_engines(engine: Engines) -> dict[str, Any]:
    """A table of the engines that were built."""
    rows = [
        {
            "engine": name,
            "MB": round(built["engine_bytes"] / 1e6, 2),
            "ONNX MB": round(built["onnx_bytes"] / 1e6, 2),
            "seconds": round(built["build_seconds"], 1),
            "int8 layers kept": f"{built['int8']['kept']} of {built['int8']['promised']}" if built.get("int8") else "none promised",
        }
        for name, built in engine.details["engines"].items()
    ]
    note = (
        f"{engine.details['flavour']} {engine.details['version']}. An engine for several chips is larger than its ONNX; none was run here."
    )
    return {"title": "Engines", "note": note, "rows": rows}


def show_operators(model: dict[str, Any], peaks: dict[str, float], *, name: str) -> dict[str, Any]:
    """The table of the shipped file's costliest nodes, with how near it comes to what the machine can do."""
    found, int8 = model["profile"], model["precision"].startswith("int8")
    peak, unit = (peaks["int8"], "GOP/s in int8") if int8 else (peaks["fp32"], "GFLOP/s in float32")
    rows = [
        {"node": n["node"], "operator": n["operator"], "µs": f"{n['us']:.0f}", "share, %": f"{100 * n['share']:.0f}"}
        for n in found["nodes"]
    ]
    others = ", ".join(f"{operator} {100 * share:.0f} %" for operator, share in [*found["operators"].items()][:COSTLIEST_OPERATORS])
    note = (
        f"The costliest nodes of {name} at batch 1 by ONNX Runtime's own profile, as its optimiser fused them. By operator: {others}. "
        f"{2 * found['multiply_adds'] / 1e6:.1f} million operations a row: {found['giga_ops_per_s']:.1f} billion a second, where a large product of "
        f"matrices reaches {peak:.0f} {unit} here ({100 * found['giga_ops_per_s'] / peak:.0f} %), and memory is copied at {peaks['copy']:.0f} GB/s."
    )
    return {"title": "Where the time goes", "note": note, "rows": rows}


def show_attacked(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The table of accuracies on images that were changed against the student."""
    samples = next(iter(lines[0]["accuracy"].values()))["samples"]
    rows = [
        {"levels of 255": str(line["epsilon"] or "as they are")}
        | {name: f"{100 * one['value']:.1f} %" for name, one in line["accuracy"].items()}
        for line in lines
    ]
    note = f"Accuracy on {samples:,} test rows whose images were changed by PGD-{lines[0]['steps']} on the float32 student, which knows its weights. "
    note += "Other files answer the same images, so theirs is what such an attack is worth on them, not the worst that one could do."
    return {"title": "Against changed images", "note": note, "rows": rows}


def show_teachers(targets: Targets, models: dict[str, Any]) -> dict[str, Any]:
    """The table of several teachers: where each is from, how large it is, and how good alone; models: of the measurements."""
    rows = []
    for number, one in enumerate(targets.details["teachers"], 1):
        known = models.get(f"teacher_{number}", {})
        size, test = known.get("size", {}).get("value"), known.get("accuracy", {}).get("value")
        shares = {"validation": one["validation"], "test": None if test is None else 100 * test}
        told = {name: "unknown" if value is None else f"{value:.2f} %" for name, value in shares.items()}
        large = {
            "parameters": "unknown" if one["parameters"] is None else f"{one['parameters']:,}",
            "size": "no file" if size is None else f"{size / 1e6:.2f} MB",
        }
        rows.append({"teacher": f"teacher_{number}", "from": f"{one['source']}: {one['name']}", **large, **told})
    how, agreed = targets.details["combine"], targets.details.get("agreement")
    note = f"Their answers are combined by {how}; the teacher of all other tables is what comes of it."
    if weights := targets.details.get("weights"):
        note += f" Validation weighs them {', '.join(f'{weight:.2f}' for weight in weights)}."
    note += (
        f" The answer to a row is heard in {100 * agreed:.0f} % of its passes in the mean, by how far they agree."
        if agreed is not None
        else ""
    )
    return {"title": "Teachers", "note": note, "rows": rows}


def show_subsets(subsets: list[dict[str, Any]]) -> dict[str, Any]:
    """The table of what the models are worth with some of the inputs alone."""
    samples = next(iter(subsets[0]["accuracy"].values()))["samples"]
    rows = [
        {"inputs": " and ".join(line["inputs"]), **{name: f"{100 * share['value']:.1f} %" for name, share in line["accuracy"].items()}}
        for line in subsets
    ]
    note = f"Accuracy on {samples:,} test rows that have every input, where the models are given these inputs alone."
    return {"title": "With some of the inputs alone", "note": note, "rows": rows}
