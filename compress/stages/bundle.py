"""bundle: ONNX files, assets and golden samples in; one folder out that a device needs nothing beside, and that proves itself.

`model.onnx` is the chosen file, `models/` holds the others, `towers/` each one's towers where inputs have vectors of their own, `mobile/` files of other
runtimes; `run.py` with the folder `device` is the runner, `examples/` has what `bundle.examples` asks for, and `manifest.json` the hash of every
file. The same arguments give the same bytes. Nothing is handed on before each model gave its golden answers.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from onnx import load as load_onnx

import compress.device
from compress.context import Context
from compress.data.prepared import PreparedData
from compress.device.bundle import check_towers
from compress.device.contents import read_bundle
from compress.device.errors import DeviceError
from compress.device.golden import check_golden, write_golden
from compress.device.manifest import MANIFEST, hash_file, verify_folder, write_manifest
from compress.device.sessions import Session, open_session
from compress.errors import BundleError
from compress.examples import LICENCES, write_example
from compress.graphs.split import split_towers
from compress.io_spec import PRESENT, IOSpec
from compress.measures.metrics import wilson_interval
from compress.modalities.modality import modality
from compress.recipe.declarations import literal
from compress.recipe.recipe import Recipe
from compress.reporting.bundle_readme import readme
from compress.store.artifacts import Bundle, Engines, OnnxModels, Report, TorchModel
from compress.tasks.task import Task
from compress.training.rows import sample_rows

TOLERANCES = {"fp32": 2e-3, "fp16": 2e-2, "int8": 1e-1}  # of a golden logit; int8 kernels round, and some saturate, differently by CPU
GOLDEN_SAMPLES = 32
SUMMARY_LINES = {  # key of the summary: its line in the model card
    "size_ratio": "teacher's ONNX bytes over the student's",
    "latency_ratio": "teacher's latency over the student's, batch 1, one thread: the median of paired calls",
    "shipped_size_ratio": "teacher's ONNX bytes over the shipped file's",
    "shipped_latency_ratio": "teacher's latency over the shipped file's: the median of paired calls",
    "precision_chosen": "precision chosen",
    "precision_reason": "why",
    "device": "measured on",
}
ENTRY = "run_entry.py"  # of compress.device; `run.py` in a bundle


def bundle(
    recipe: Recipe,
    report: Report,
    onnx: OnnxModels,
    engine: Engines | None,
    student: TorchModel,
    data: PreparedData,
    *,
    ctx: Context,
    resolved: dict[str, Any],
    licences: list[dict[str, Any]],
) -> Bundle:
    """bundle/, ready to be copied: the chosen file as model.onnx, the files that other machines may choose beside it."""
    assert onnx.io_spec
    chosen = report.details["chosen"]
    entries = onnx.details["files"]
    trained = {entry["target"] for entry in entries.values() if entry["precision"] == "int8_qat"}
    left_out = {name for name, entry in entries.items() if entry["precision"] == "int8_ptq" and entry["target"] in trained}
    left_out |= {*report.details["refused"]}
    files = {name: onnx.file(entry["file"]) for name, entry in entries.items() if name not in left_out - {chosen}}
    summary = json.loads(report.file("summary.json").read_text())
    golden = golden_samples(files[chosen], onnx.io_spec, student, data)
    settings = {"opt_batch": recipe.engine.opt_batch, "workspace_mib": recipe.engine.workspace_mib} if recipe.engine else {}
    mobile = [onnx.file(file) for entry in onnx.details["mobile"] if entry["model"] not in left_out for file in entry["files"]]
    details = write_bundle(
        ctx.out / "bundle",
        models=files,
        mobile=mobile,
        chosen=chosen,
        io_spec=onnx.io_spec,
        labels=[] if data.task.towers else data.labels,  # which rows are alike is the data's business
        task=data.task.with_facts(student.details.get("facts", {})),
        assets=[student.file(asset) for m in onnx.io_spec.modalities for asset in modality(m).assets],
        recipe_yaml=yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True),
        summary=summary | {"description": resolved["description"], "task": data.task.sentence(data.labels)},
        licences=[*licences, *(LICENCES[name] for name in recipe.bundle.examples)],
        golden=golden,
        examples=recipe.bundle.examples,
        engine={"model": tensorrt_model(onnx, files, chosen), **settings},
    )
    ctx.say(f"bundle: {details['files']} files, {details['size_bytes'] / 1e6:.2f} MB; all models gave their golden answers")
    return Bundle(io_spec=onnx.io_spec, details=details)


def tensorrt_model(onnx: OnnxModels, files: Collection[str], chosen: str) -> str:
    """The file that an engine is built from: the chosen one where TensorRT takes it, else the int8 one made for TensorRT, else a float one."""
    entries = onnx.details["files"]
    if entries[chosen].get("target") in (None, "tensorrt"):
        return chosen
    return next((name for name in files if entries[name].get("target") == "tensorrt"), "fp16" if "fp16" in files else "fp32")


def golden_samples(model: Path, io_spec: IOSpec, student: TorchModel, data: PreparedData) -> dict[str, np.ndarray]:
    """Real rows, of test and where it has too few of validation, as one array a port, with the model's own outputs (N, K) and the labels (N, ...)."""
    feeds, labels = sample_rows(data, io_spec, student.path, GOLDEN_SAMPLES, splits=("test", "validation"))
    for place in range(min(len(data.report["modalities"]), len(labels)) if PRESENT in feeds else 0):  # each input is missing once
        if feeds[PRESENT][place].all():
            feeds[PRESENT][place, place] = 0
    return {**feeds, **open_session(model).run(feeds), "labels": labels}


def write_bundle(
    out: Path,
    *,
    models: dict[str, Path],
    chosen: str,
    io_spec: IOSpec,
    task: Task,
    labels: list[str],
    assets: Sequence[Path],
    recipe_yaml: str,
    summary: dict[str, Any],
    licences: list[dict[str, Any]],
    golden: dict[str, np.ndarray],
    engine: dict[str, Any] | None,
    mobile: Sequence[Path] = (),
    examples: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes the bundle to `out` and gives {files, size_bytes, chosen, manifest_sha256, golden: {model: how close}}.

    `models` are ONNX files by name, which starts with the precision (fp32, fp16 or int8); `golden` holds one (N, ...) array for each port,
    the outputs (N, K) of the chosen model among them, and `labels` (N, ...); `engine` may set `model`, `opt_batch` and `workspace_mib`;
    `assets` are what the inputs are read with, such as tokenizer.json; `mobile` are files of other runtimes (.ort and their operators,
    .tflite), copied as they are; `examples` are names of compress/examples;
    `summary` is described at `describe_model`.
    Raises BundleError when `out` holds files, an argument does not fit the ports, or a model does not give its golden answers.
    """
    _check_arguments(out, models=models, chosen=chosen, io_spec=io_spec, task=task, labels=labels, assets=assets, golden=golden)
    out.mkdir(parents=True, exist_ok=True)
    try:
        files = _copy_models(out, models, chosen)
        towers = _cut_towers(out, files) if task.towers else {}
        sessions = {name: open_session(out / file) for name, file in files.items()}
        _check_ports(sessions, io_spec)
        arrays = _with_other_answers(golden, sessions, chosen)
        write_golden(out / "golden.npz", arrays)
        table = [_describe_model(out, name, file, chosen) | ({"towers": towers[name]} if towers else {}) for name, file in files.items()]
        _write_json(out / "models.json", {"chosen": chosen, "task": task.name, "facts": task.facts, "models": table})
        closeness = {name: _check_answers(out, name, session, chosen, task) for name, session in sessions.items()}
        _write_assets(out, io_spec=io_spec, labels=labels, assets=assets, recipe_yaml=recipe_yaml)
        card = describe_model(summary, io_spec=io_spec, labels=labels, licences=licences)
        (out / "model_card.md").write_text(card, encoding="utf-8")
        if engine is not None:
            _write_json(out / "engine.json", describe_engine(engine, files=files, chosen=chosen, io_spec=io_spec, folder=out))
        for path in mobile:
            (out / "mobile").mkdir(exist_ok=True)
            shutil.copyfile(path, out / "mobile" / path.name)
        for name in examples:
            write_example(out, name, arrays=arrays, models=table)
        (out / "README.md").write_text(readme(str(summary.get("name", "")), io_spec, examples=examples), encoding="utf-8")
        _copy_runner(out, io_spec, task)
        heads = {"heads": [part.name for part in task.heads]} if task.heads else {}
        write_manifest(out, extra={"chosen": chosen, "name": summary.get("name", ""), **heads})
        manifest = verify_folder(out)
        if towers:
            opened = read_bundle(out)
            for model in opened.models:
                found = check_towers(opened, model, runtime="onnxruntime_cpu", threads=1)
                closeness |= {f"{model.name}, {tower}": one for tower, one in found.items()}
    except DeviceError as error:
        raise BundleError(f"bundle: {error}") from error
    sizes = [entry["size"] for entry in manifest["files"].values()]
    identity = hash_file(out / MANIFEST)
    return {"files": len(sizes), "size_bytes": sum(sizes), "chosen": chosen, "manifest_sha256": identity, "golden": closeness}


def describe_engine(engine: dict[str, Any], *, files: dict[str, str], chosen: str, io_spec: IOSpec, folder: Path) -> dict[str, Any]:
    """engine.json: what to build from which file, batch profiles, and the exact trtexec lines for TensorRT 10 and 11.

    TensorRT 11 networks are always strongly typed and its trtexec refuses the option, hence two lines.
    """
    name = engine.get("model", chosen)
    if name not in files:
        raise BundleError(f"bundle: engine.model is {name!r}, but the models are {', '.join(files)}")
    opt_batch, workspace_mib = engine.get("opt_batch", min(8, io_spec.max_batch)), engine.get("workspace_mib", 1024)
    sizes = {"min": 1, "opt": opt_batch, "max": io_spec.max_batch}
    profiles = {port.name: {key: [size, *port.shape] for key, size in sizes.items()} for port in io_spec.inputs}
    words = ["trtexec", f"--onnx={files[name]}", f"--saveEngine=engines/{name}.engine"]
    words += [f"--{key}Shapes={_shapes(profiles, key)}" for key in sizes]
    words += [f"--memPoolSize=workspace:{workspace_mib}M", "--timingCacheFile=engines/timing.cache"]
    built = {"model": name, "onnx": files[name], "onnx_sha256": hash_file(folder / files[name]), "profiles": profiles}
    settings = {"strongly_typed": True, "opt_batch": opt_batch, "workspace_mib": workspace_mib}
    return {**engine, **built, **settings, "trtexec": {"10": " ".join([*words, "--stronglyTyped"]), "11": " ".join(words)}}


def describe_model(summary: dict[str, Any], *, io_spec: IOSpec, labels: list[str], licences: list[dict[str, Any]]) -> str:
    """model_card.md: task, data, teacher, quality with samples and interval, size and speed, licences.

    Read from `summary`: name, description, task, data, teacher (texts), samples, teacher_accuracy, student_accuracy, shipped_accuracy
    (fractions), the other SUMMARY_LINES, device. What is absent stands as "not recorded". A licence has name, use, licence and source.
    """
    inputs = ", ".join(f"{port.name} {port.dtype} {'x'.join(map(str, port.shape))}" for port in io_spec.inputs)
    lines = [f"# {summary.get('name', 'model')}", "", str(summary.get("description", "")), ""]
    lines += ["## Task", "", str(summary.get("task", f"classification into {len(labels)} labels")), ""]
    answers = f"; answers of: {', '.join(labels[:50])}{', ...' if len(labels) > 50 else ''}" if labels else ""
    lines += [f"Reads {inputs}{answers}.", ""]
    for title in ("Data", "Teacher"):
        lines += [f"## {title}", "", str(summary.get(title.lower(), "not recorded")), ""]
    lines += ["## Quality", "", f"| model | {summary.get('measure', 'accuracy')} | 95 % interval | samples |", "|---|---|---|---|"]
    lines += [_accuracy_line(summary, role) for role in ("teacher", "student", "shipped")]
    for name, head in summary.get("heads", {}).items():
        lines.append(f"| shipped, head {name} | {head['shipped_accuracy']:.2%} {head['measure']} | | {head['samples']} |")
    lines += ["", "## Size, speed and precision", ""]
    lines += [f"- {text}: {_number(summary[key])}" for key, text in SUMMARY_LINES.items() if key in summary]
    lines += ["", "## Licences", "", "| what | used as | licence | source |", "|---|---|---|---|"]
    lines += [
        f"| {' | '.join(str(entry.get(key, 'not recorded')) for key in ('name', 'use', 'licence', 'source'))} |" for entry in licences
    ]
    return "\n".join(lines) + "\n"


def _accuracy_line(summary: dict[str, Any], role: str) -> str:
    accuracy, samples = summary.get(f"{role}_accuracy"), summary.get(f"{role}_samples", summary.get("samples"))
    if accuracy is None or not samples:
        return f"| {role} | not recorded | | |"
    if accuracy > 1 + 1e-9:  # a mean of weighed gains may round to a little more than 1
        raise BundleError(f"bundle: summary.{role}_accuracy is {accuracy}; give it as a fraction, at most 1")
    if f"{role}_low" in summary:
        low, high = summary[f"{role}_low"], summary[f"{role}_high"]
    else:
        low, high = wilson_interval(round(accuracy * samples), samples)
    return f"| {role} | {accuracy:.2%} | {low:.2%} to {high:.2%} | {samples} |"


def _number(value: Any) -> str:
    if value is None:
        return "not known"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _shapes(profiles: dict[str, dict[str, list[int]]], key: str) -> str:
    return ",".join(f"{name}:{'x'.join(str(size) for size in shapes[key])}" for name, shapes in profiles.items())


def _check_arguments(
    out: Path,
    *,
    models: dict[str, Path],
    chosen: str,
    io_spec: IOSpec,
    task: Task,
    labels: list[str],
    assets: Sequence[Path],
    golden: dict[str, np.ndarray],
) -> None:
    if out.exists() and any(out.iterdir()):
        raise BundleError(f"bundle: {out} holds files already; give an empty folder, since the manifest covers all that lies in it")
    if chosen not in models:
        raise BundleError(f"bundle: the chosen model {chosen!r} is not among {', '.join(models) or 'no models'}")
    for name in models:
        if not re.fullmatch(r"(fp32|fp16|int8)[A-Za-z0-9_-]*", name):
            raise BundleError(f"bundle: model name {name!r} does not start with its precision, one of {', '.join(TOLERANCES)}")
    outputs = io_spec.outputs[0].shape[0]
    if task.port(labels).shape != (outputs,):
        raise BundleError(f"bundle: {len(labels)} labels, but the model has {outputs} outputs")
    needed, given = sorted(asset for m in io_spec.modalities for asset in modality(m).assets), sorted(path.name for path in assets)
    if needed != given:
        raise BundleError(
            f"bundle: a model that reads {' and '.join(io_spec.modalities)} needs {needed or 'no assets'}, found {given or 'none'}"
        )
    for port in (*io_spec.inputs, *io_spec.outputs):
        array = golden.get(port.name)
        if array is None or array.shape[1:] != port.shape or array.dtype != port.dtype:
            found = "missing" if array is None else f"{array.dtype} {array.shape}"
            raise BundleError(
                f"bundle: golden array {port.name!r} is {found}; the port takes {port.dtype} (N, {', '.join(map(str, port.shape))})"
            )


def _copy_models(out: Path, models: dict[str, Path], chosen: str) -> dict[str, str]:
    """Name to place in the bundle, the chosen one first."""
    files = {}
    for name in [chosen, *sorted(set(models) - {chosen})]:
        files[name] = "model.onnx" if name == chosen else f"models/{name}.onnx"
        target = out / files[name]
        target.parent.mkdir(exist_ok=True)
        try:
            shutil.copyfile(models[name], target)
        except FileNotFoundError as error:
            raise BundleError(f"bundle: model {name!r}: {models[name]} is missing; run the export again") from error
    return files


def _cut_towers(out: Path, files: dict[str, str]) -> dict[str, dict[str, str]]:
    """towers/NAME-INPUT.onnx for each model and each of its inputs, which makes that input's vector alone; model -> input -> place in the bundle."""
    found: dict[str, dict[str, str]] = {}
    (out / "towers").mkdir()
    for name, file in files.items():
        for port, tower in split_towers(load_onnx(out / file)).items():
            found.setdefault(name, {})[port] = place = f"towers/{name}-{port}.onnx"
            (out / place).write_bytes(tower.SerializeToString(deterministic=True))
    return found


def _check_ports(sessions: dict[str, Session], io_spec: IOSpec) -> None:
    for name, session in sessions.items():
        if sorted(session.inputs) != sorted(io_spec.modalities) or session.outputs != [port.name for port in io_spec.outputs]:
            raise BundleError(
                f"bundle: model {name!r} reads {session.inputs} and gives {session.outputs}; io_spec.json says {io_spec.modalities}"
            )


def _with_other_answers(golden: dict[str, np.ndarray], sessions: dict[str, Session], chosen: str) -> dict[str, np.ndarray]:
    """The golden arrays and the answers of the models that were not chosen, so that each can be verified on a device."""
    arrays = dict(golden)
    for name, session in sessions.items():
        if name != chosen:
            for output, answers in session.run({port: golden[port] for port in session.inputs}).items():
                arrays.setdefault(_place(output, name, chosen), answers)
    return arrays


def _check_answers(out: Path, name: str, session: Session, chosen: str, task: Task) -> dict[str, Any]:
    tolerance = TOLERANCES[_precision(name)]
    logits, heads = _place("logits", name, chosen), [part.place.outputs for part in task.heads]
    return check_golden(session, out / "golden.npz", tolerance=tolerance, logits=logits, decisions=task.decisions, heads=heads)


def _describe_model(out: Path, name: str, file: str, chosen: str) -> dict[str, Any]:
    precision = _precision(name)
    facts = {"sha256": hash_file(out / file), "size_bytes": (out / file).stat().st_size}
    return {
        "name": name,
        "file": file,
        "precision": precision,
        "tolerance": TOLERANCES[precision],
        "logits": _place("logits", name, chosen),
        **facts,
    }


def _precision(name: str) -> str:
    return name[:4]  # all of TOLERANCES' names have four letters


def _place(output: str, name: str, chosen: str) -> str:
    """The golden array of an output of a model."""
    return output if name == chosen else f"{output}.{name}"


def _write_assets(out: Path, *, io_spec: IOSpec, labels: list[str], assets: Sequence[Path], recipe_yaml: str) -> None:
    _write_json(out / "labels.json", labels)
    _write_json(out / "io_spec.json", io_spec.to_json())
    (out / "recipe.yaml").write_text(recipe_yaml, encoding="utf-8")
    packages = sorted({package for m in io_spec.modalities for package in literal(modality(m).reader, "PACKAGES")})
    (out / "requirements.txt").write_text("\n".join(["numpy", "onnxruntime", *packages]) + "\n", encoding="utf-8")
    for path in assets:
        shutil.copyfile(path, out / path.name)


def _copy_runner(out: Path, io_spec: IOSpec, task: Task) -> None:
    source = Path(compress.device.__file__).parent
    for path in sorted(source.rglob("*.py")):
        target = out / "run.py" if path.name == ENTRY else out / "device" / path.relative_to(source)
        target.parent.mkdir(exist_ok=True, parents=True)
        shutil.copyfile(path, target)
    for m in io_spec.modalities:
        shutil.copyfile(modality(m).reader, out / "device" / "modalities" / f"{m}.py")  # a plugin's lies elsewhere
    shutil.copyfile(task.reader, out / "device" / "tasks" / f"{task.name}.py")


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
