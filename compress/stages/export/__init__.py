"""Stages `export_teacher` and `export`: torch models -> ONNX files that were compared with torch on real samples.

One input a modality, raw values, dynamic batch; names and shapes come from the model's IOSpec. The student's files: fp32, fp16,
and of a quantized student one file a target, each proven against the form before it. Only an fp32 file that fails ends the run.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from torch import nn

from compress.context import Context
from compress.data.prepared import PreparedData
from compress.device.errors import DeviceError
from compress.device.sessions import open_session
from compress.errors import CompressError
from compress.graphs.clean import size_report
from compress.graphs.coverage import int8_coverage
from compress.graphs.diverge import compare_layers, reference_of, relative_difference
from compress.graphs.dynamic import quantize_dynamic
from compress.graphs.half import to_float16
from compress.graphs.litert import to_litert
from compress.graphs.ort_format import to_ort_format, why_unchecked
from compress.graphs.retarget import retarget
from compress.graphs.trace import run_model
from compress.io_spec import SHARES, IOSpec
from compress.models.saved import load_model
from compress.models.shares import tell_shares, with_shares
from compress.quantizers import freeze, qdq_opset, use_unsigned
from compress.quantizers.saved import open_quantized
from compress.recipe.recipe import Recipe
from compress.recipe.sections import Quantize
from compress.stages.export.from_torch import (
    clean,
    compare_quantizers,
    export_module,
    first_lost_layer,
    run_torch,
    save,
    side_by_side,
    take_codes,
    unsigned_codes,
)
from compress.stages.export.gate import Gate
from compress.stages.export.tray import Tray
from compress.store.artifacts import OnnxModels, TorchModel
from compress.training.rows import sample_rows


def export_teacher(recipe: Recipe, teacher: TorchModel, data: PreparedData, *, ctx: Context) -> OnnxModels:
    """teacher.onnx in fp32 and in no other form: it is measured, not shipped."""
    assert teacher.path and teacher.io_spec
    if "teacher.onnx" in teacher.files:  # it came as one
        shutil.copyfile(teacher.file("teacher.onnx"), ctx.out / "teacher.onnx")
        return OnnxModels(io_spec=teacher.io_spec, details={"parity": [], "parameters": teacher.details["parameters"]})
    feeds, _ = sample_rows(data, teacher.io_spec, teacher.path, recipe.export.parity.samples, teacher=True)
    gate = open_gate(recipe, feeds, teacher, teacher.io_spec, data)
    export_float(load_model(teacher.path), teacher.io_spec, recipe, gate, ctx.out / "teacher.onnx")
    return OnnxModels(io_spec=teacher.io_spec, details={"parity": gate.records, "parameters": teacher.details["parameters"]})


def open_gate(recipe: Recipe, feeds: dict[str, np.ndarray], model: TorchModel, io: IOSpec, data: PreparedData) -> Gate:
    """The parity gate for the forms of one model, which looks at what its task decides; io: what is exported of it."""
    task = data.task.with_facts(model.details.get("facts", {}))
    heads = {part.name: (part.place.logits, part.task.decisions) for part in task.heads}
    shares = sum(port.shape[0] for port in io.outputs if port.name == SHARES)
    return Gate(recipe.export.parity, feeds, decisions=task.decisions, unit=io.outputs[0].unit, heads=heads, shares=shares)


def export(recipe: Recipe, student: TorchModel, quantized: TorchModel | None, data: PreparedData, *, ctx: Context) -> OnnxModels:
    """fp32.onnx, fp16.onnx and, where the student was quantized, int8_<method>-<target>.onnx; each passed the parity gate.

    A file that fails is not there, and `left_out` says why; `unserved` has the targets for which no int8 file is left.
    int8_dynamic.onnx has no gate: it is another arithmetic by design, and the benchmark scores it. With export.shares each has a second output.
    """
    assert student.path and student.io_spec
    io, out = with_shares(student.io_spec) if recipe.export.shares else student.io_spec, ctx.out
    feeds, _ = sample_rows(data, io, student.path, recipe.export.parity.samples)
    gate = open_gate(recipe, feeds, student, io, data)
    tray, model = Tray(out, ctx.say), told(recipe, load_model(student.path))
    float_model = export_float(model, io, recipe, gate, out / "fp32.onnx")
    tray.add("fp32", precision="fp32")
    with tray.attempt({"fp16": None}):
        export_half(float_model, gate, out / "fp16.onnx")
        tray.add("fp16", precision="fp16")
    coverage: dict[str, dict] = {}
    if quantized is not None and recipe.quantize and recipe.quantize.method != "none":
        assert quantized.path
        export_dynamic(recipe.quantize, model, tray)
        for method in ("ptq", "qat"):
            if (quantized.path / method).is_dir():
                coverage |= export_quantized(recipe, student, io, quantized.path / method, method, gate, tray)
    mobile, skipped = export_mobile(recipe, model, io, gate, tray)
    ctx.say("export: " + ", ".join(f"{name} {(out / e['file']).stat().st_size / 1e6:.2f} MB" for name, e in tray.files.items()))
    details = {
        "parity": gate.records,
        "files": tray.files,
        "left_out": tray.left_out,
        "unserved": tray.unserved(),
        "parameters": student.details["parameters"],
        "sizes": {name: size_report(onnx.load(out / entry["file"])) for name, entry in tray.files.items()},
        "coverage": coverage,
        "mobile": mobile,
        "mobile_skipped": skipped,
    }
    return OnnxModels(io_spec=io, details=details)


def told(recipe: Recipe, model: nn.Module) -> nn.Module:
    """The model, which tells its shares where the recipe asks for them."""
    return tell_shares(model) if recipe.export.shares else model


def export_float(model: nn.Module, io: IOSpec, recipe: Recipe, gate: Gate, path: Path) -> onnx.ModelProto:
    """The float32 graph, written to `path`. Raises ParityError, which ends the run: everything else is made from this file."""
    graph = save(export_module(model, io, recipe.export.opset), path)
    expected, got = run_torch(model, gate.feeds), side_by_side(run_model(path, gate.feeds))
    gate.compare(
        "torch fp32", "ONNX Runtime fp32", expected, got, kind="fp32", blame=lambda: first_lost_layer(model, graph, gate.few) or "none"
    )
    return graph


def export_half(float_model: onnx.ModelProto, gate: Gate, path: Path) -> None:
    """Writes the float16 graph."""
    half = save(to_float16(float_model, feeds=gate.few), path)
    expected, got = (side_by_side(run_model(one, gate.feeds)) for one in (float_model, path))
    gate.compare(
        "ONNX Runtime fp32",
        "ONNX Runtime fp16",
        expected,
        got,
        kind="fp16",
        layers=lambda: compare_layers(reference_of(float_model, gate.few), half, gate.few),
    )


def export_dynamic(config: Quantize, model: nn.Module, tray: Tray) -> None:
    """Writes int8_dynamic.onnx where linear layers lie in the encoders; a head alone gains nothing."""
    asked = config.method == "int8_dynamic"
    if not asked and not any(isinstance(m, nn.Linear) for m in model.get_submodule("encoders").modules()):
        return
    with tray.attempt({"int8_dynamic": "onnxruntime_x86" if asked else None}):
        if not quantize_dynamic(tray.out / "fp32.onnx", tray.out / "int8_dynamic.onnx"):
            raise CompressError("no linear layer has constant weights that could be int8; take quantize.method: int8_ptq")
        tray.add("int8_dynamic", precision="int8_dynamic", target="onnxruntime_x86")


def export_quantized(recipe: Recipe, student: TorchModel, io: IOSpec, state: Path, method: str, gate: Gate, tray: Tray) -> dict[str, dict]:
    """From the symmetric graph of one quantized student the file of each target, each proven on its own; coverage of the x86 file by name.

    Graph and file are held against torch: unsigned codes are twice as fine, and in a deep student what that changes adds up to more than rounding.
    """
    assert recipe.quantize and student.path
    targets = {f"int8_{method}" if target == "onnxruntime_x86" else f"int8_{method}-{target}": target for target in recipe.export.targets}
    model = told(recipe, open_quantized(student.path, state, recipe.quantize))
    use_unsigned(model, False)  # the graph is symmetric, and each file is then compared with torch in that file's codes
    symmetric = reference = None
    with tray.attempt(targets):
        with qdq_opset(recipe.export.opset):
            symmetric = clean(export_module(freeze(model), io, recipe.export.opset))
        written = run_model(symmetric, gate.feeds, optimise=False)
        plain = side_by_side(written)
        doubt = relative_difference(written["logits"], run_model(symmetric, gate.feeds)["logits"])
        gate.compare(
            f"fake-quantized torch ({method})",
            f"ONNX as written ({method})",
            run_torch(model, gate.feeds),
            plain,
            kind="int8",
            layers=lambda: compare_quantizers(model, symmetric, gate.few),
            blame=lambda: first_lost_layer(model, symmetric, gate.few),
            doubt=doubt,
        )
        reference = reference_of(symmetric, gate.few)
    if symmetric is None or reference is None:
        return {}
    coverage = {}
    expected: dict[tuple[bool, ...], np.ndarray] = {}  # logits of torch by the codes of a file
    for name, target in targets.items():
        with tray.attempt({name: target}):
            path = tray.out / f"{name}.onnx"
            file = save(retarget(symmetric, target), path)
            optimise = target != "tensorrt"  # that file is TensorRT's; here it only has to mean the same
            got = side_by_side(run_model(file, gate.feeds, optimise=optimise))
            if (codes := unsigned_codes(symmetric, file)) not in expected:  # x86 and ARM have the same
                expected[codes] = run_torch(model, gate.feeds) if take_codes(model, codes, gate.few) else plain
            layers = partial(compare_layers, reference, file, gate.few)
            gate.compare(
                f"fake-quantized torch ({method})",
                f"{target} file ({method})",
                expected[codes],
                got,
                kind="int8",
                layers=layers,
                doubt=doubt,
            )
            if target == "onnxruntime_x86":
                coverage[name] = require_coverage(recipe.quantize, path)
            tray.add(name, precision=f"int8_{method}", target=target)
    return coverage


def require_coverage(config: Quantize, path: Path) -> dict:
    """What of the file runs in int8 on this machine's CPU. Raises CompressError when it is less than the recipe asks for."""
    measured = int8_coverage(path).to_json()
    if measured["share"] < config.min_int8_coverage:
        raise CompressError(
            f"{100 * measured['share']:.1f} % of the multiply-adds run in int8, quantize.min_int8_coverage asks for "
            f"{100 * config.min_int8_coverage:g} %; take layers off quantize.keep_float"
        )
    return measured


def export_mobile(recipe: Recipe, model: nn.Module, io: IOSpec, gate: Gate, tray: Tray) -> tuple[list[dict], dict[str, str]]:
    """What lies in mobile/, [{"model", "format", "files"}, ...], and file by file why another one is not there."""
    made: list[dict] = []
    skipped: dict[str, str] = {}
    method = (recipe.quantize.method if recipe.quantize else "none").removeprefix("int8_")
    arm = [name for name in ("fp32", f"int8_{method}-onnxruntime_arm") if name in tray.files]
    for name in arm if "ort_format" in recipe.export.mobile else []:
        if why := why_unchecked(name):
            skipped[f"mobile/{name}.ort"] = why
            continue
        try:
            written = to_ort_format(tray.out / tray.files[name]["file"], tray.out / "mobile", target="arm", feeds=gate.few)
        except (CompressError, DeviceError) as error:
            skipped[f"mobile/{name}.ort"] = str(error)
        else:
            files = [f"mobile/{written.model.name}", f"mobile/{written.operators.name}"]
            made.append({"model": name, "format": "ort_format", "files": files})
    if "litert" in recipe.export.mobile:
        path = tray.out / "mobile" / "fp32.tflite"
        try:
            to_litert(model, io, path)
            got = side_by_side(open_session(path, runtime="litert").run(gate.feeds))
            gate.compare("torch fp32", "LiteRT fp32", run_torch(model, gate.feeds), got, kind="fp32")
        except (CompressError, DeviceError) as error:
            path.unlink(missing_ok=True)
            skipped["mobile/fp32.tflite"] = str(error)
        else:
            made.append({"model": "fp32", "format": "litert", "files": [f"mobile/{path.name}"]})
    for name, why in skipped.items():
        tray.say(f"export: left out {name}: {why}")
    return made, skipped
