"""Stages `export_teacher` and `export`: torch models -> ONNX files that were compared with torch on real samples.

One input a modality, raw values, dynamic batch; names and shapes come from the model's IOSpec. The student's files: fp32, fp16,
and of a quantized student one file a target, each proven against the form before it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from compress.artifacts import OnnxModels, TorchModel
from compress.context import Context
from compress.data.prepared import PreparedData
from compress.device.sessions import open_session
from compress.errors import CompressError, ParityError
from compress.graphs.clean import set_ir_version, size_report, strip_metadata
from compress.graphs.coverage import int8_coverage
from compress.graphs.diverge import compare_outputs, first_divergence, relative_difference
from compress.graphs.dynamic import quantize_dynamic
from compress.graphs.graph import Graph
from compress.graphs.half import to_float16
from compress.graphs.linear import own_weights
from compress.graphs.litert import to_litert
from compress.graphs.ort_format import to_mobile
from compress.graphs.retarget import retarget
from compress.graphs.trace import Feeds, run_model, trace
from compress.graphs.trace import load_model as load_onnx
from compress.io_spec import IOSpec
from compress.models.classifier import ByPort
from compress.models.saved import load_model, tokenizer_of
from compress.quantizers import freeze, qdq_opset
from compress.quantizers.saved import open_quantized
from compress.recipe import Parity, Quantize, Recipe
from compress.training.rows import sample_feeds

IR_VERSION = 10  # what ONNX Runtime 1.18 and JetPack's TensorRT read


def export_teacher(recipe: Recipe, teacher: TorchModel, data: PreparedData, *, ctx: Context) -> OnnxModels:
    """teacher.onnx in fp32 and in no other form: it is measured, not shipped."""
    assert teacher.path and teacher.io_spec
    count = recipe.export.parity.samples
    feeds, _ = sample_feeds(data.split("test"), teacher.io_spec, tokenizer_of(teacher.path), count, teacher=True)
    hops = Hops(recipe.export.parity, feeds, ctx)
    model = load_model(teacher.path)
    save(export_module(model, teacher.io_spec, recipe.export.opset), ctx.out / "teacher.onnx")
    hops.compare(
        "torch fp32",
        "ONNX Runtime fp32",
        run_torch(model, hops.feeds),
        run_file(ctx.out / "teacher.onnx", hops.feeds),
        blame=lambda: first_lost_layer(model, ctx.out / "teacher.onnx", hops.few),
    )
    return OnnxModels(io_spec=teacher.io_spec, details={"parity": hops.records, "parameters": teacher.details["parameters"]})


def export(recipe: Recipe, student: TorchModel, quantized: TorchModel | None, data: PreparedData, *, ctx: Context) -> OnnxModels:
    """fp32.onnx, fp16.onnx and, where the student was quantized, int8_<method>-<target>.onnx; each passed the parity gate.

    int8_dynamic.onnx has no gate: it is another arithmetic by design, and the benchmark scores it.
    """
    assert student.path and student.io_spec
    io, out, opset = student.io_spec, ctx.out, recipe.export.opset
    feeds, _ = sample_feeds(data.split("test"), io, tokenizer_of(student.path), recipe.export.parity.samples)
    hops = Hops(recipe.export.parity, feeds, ctx)
    model = load_model(student.path)
    float_model = save(export_module(model, io, opset), out / "fp32.onnx")
    expected = run_torch(model, hops.feeds)
    got = run_file(out / "fp32.onnx", hops.feeds)
    hops.compare("torch fp32", "ONNX Runtime fp32", expected, got, blame=lambda: first_lost_layer(model, float_model, hops.few))
    half = save(to_float16(float_model, feeds=hops.few), out / "fp16.onnx")
    got = run_file(out / "fp16.onnx", hops.feeds)
    blame = partial(first_divergence, float_model, half, hops.few)
    hops.compare("ONNX Runtime fp32", "ONNX Runtime fp16", expected, got, loose=True, blame=blame)
    files = {"fp32": {"file": "fp32.onnx", "precision": "fp32"}, "fp16": {"file": "fp16.onnx", "precision": "fp16"}}
    if quantized is not None and recipe.quantize and recipe.quantize.method != "none":
        if "text" in io.modalities:
            quantize_dynamic(out / "fp32.onnx", out / "int8_dynamic.onnx")
            files["int8_dynamic"] = {"file": "int8_dynamic.onnx", "precision": "int8_dynamic", "target": "onnxruntime_x86"}
        for method in ("ptq", "qat"):
            assert quantized.path
            if (quantized.path / method).is_dir():
                files |= export_quantized(recipe, student, quantized.path / method, method, hops, out)
    details = {"parity": hops.records, "files": files, "parameters": student.details["parameters"]}
    details["sizes"] = {name: size_report(onnx.load(out / entry["file"])) for name, entry in files.items()}
    x86 = [name for name, entry in files.items() if entry.get("target") == "onnxruntime_x86" and name != "int8_dynamic"]
    details["coverage"] = {name: int8_coverage(out / files[name]["file"]).to_json() for name in x86}
    require_coverage(recipe.quantize, details["coverage"])
    details["mobile"], details["mobile_skipped"] = export_mobile(recipe, model, io, files, hops, out)
    ctx.say("export: " + ", ".join(f"{name} {(out / entry['file']).stat().st_size / 1e6:.2f} MB" for name, entry in files.items()))
    return OnnxModels(io_spec=io, details=details)


def export_quantized(recipe: Recipe, student: TorchModel, state: Path, method: str, hops: Hops, out: Path) -> dict[str, dict]:
    """The symmetric graph of one quantized student, and from it the file of each target, each hop proven on its own."""
    assert recipe.quantize and student.path and student.io_spec
    model = open_quantized(student.path, state, recipe.quantize)
    fake = run_torch(model, hops.feeds)
    with qdq_opset(recipe.export.opset):
        symmetric = clean(export_module(freeze(model), student.io_spec, recipe.export.opset))
    plain = run_model(symmetric, hops.feeds, optimise=False)["logits"]
    blame: Callable[[], object] = partial(first_lost_layer, model, symmetric, hops.few)
    hops.compare(f"fake-quantized torch ({method})", f"ONNX as written ({method})", fake, plain, loose=True, blame=blame)
    files = {}
    for target in recipe.export.targets:
        name = f"int8_{method}" if target == "onnxruntime_x86" else f"int8_{method}-{target}"
        files[name] = {"file": f"{name}.onnx", "precision": f"int8_{method}", "target": target}
        written = save(retarget(symmetric, target), out / f"{name}.onnx")
        optimised = target != "tensorrt"  # that file is TensorRT's; here it only has to mean the same
        got = run_model(written, hops.feeds, optimise=optimised)["logits"]
        blame = partial(first_divergence, symmetric, written, hops.few)
        hops.compare(f"ONNX as written ({method})", f"{target} file ({method})", plain, got, loose=True, blame=blame)
    return files


def export_mobile(
    recipe: Recipe, model: nn.Module, io: IOSpec, files: dict[str, dict], hops: Hops, out: Path
) -> tuple[list[dict], dict[str, str]]:
    """What lies in mobile/, [{"model", "format", "files"}, ...], and why other models have no ORT file."""
    made: list[dict] = []
    skipped: dict[str, str] = {}
    if "ort_format" in recipe.export.mobile:
        method = recipe.quantize.method if recipe.quantize else "none"
        arm = {n: out / e["file"] for n, e in files.items() if n in ("fp32", f"int8_{method.removeprefix('int8_')}-onnxruntime_arm")}
        written, skipped = to_mobile(arm, out / "mobile", feeds=hops.few)
        made += [
            {"model": n, "format": "ort_format", "files": [f"mobile/{f.model.name}", f"mobile/{f.operators.name}"]}
            for n, f in written.items()
        ]
    if "litert" in recipe.export.mobile:
        path = to_litert(model, io, out / "mobile" / "fp32.tflite")
        got = open_session(path, runtime="litert").run(hops.feeds)["logits"]
        hops.compare(
            "torch fp32", "LiteRT fp32", run_torch(model, hops.feeds), got, blame=lambda: "not known, LiteRT keeps its tensors to itself"
        )
        made.append({"model": "fp32", "format": "litert", "files": [f"mobile/{path.name}"]})
    return made, skipped


def require_coverage(config: Quantize | None, coverage: dict[str, dict]) -> None:
    """Raises CompressError when less runs in int8 on x86 than the recipe asks for, or when no file shows it."""
    if config is None or not config.min_int8_coverage:
        return
    asked = f"quantize.min_int8_coverage asks for {100 * config.min_int8_coverage:g} %"
    if not coverage:
        raise CompressError(f"{asked}, but there is no int8 file for onnxruntime_x86 to measure it on; add that target to export.targets")
    for name, measured in coverage.items():
        if measured["share"] < config.min_int8_coverage:
            raise CompressError(
                f"{name}: {100 * measured['share']:.1f} % of the multiply-adds run in int8, {asked}; take layers off quantize.keep_float"
            )


class Hops:
    """The parity gate: pairs of forms of one model, compared on the same real samples; a pair that differs ends the run."""

    def __init__(self, limits: Parity, feeds: Feeds, ctx: Context) -> None:
        self.limits, self.feeds, self.ctx = limits, feeds, ctx
        self.few = first_rows(feeds, 32)  # for a look at every layer
        self.records: list[dict] = []

    def compare(
        self,
        before: str,
        after: str,
        expected: np.ndarray,
        got: np.ndarray,
        *,
        loose: bool = False,
        blame: Callable[[], object],
    ) -> None:
        """Notes the distance of two arrays of logits (R, K). `loose`: rounding differs by design, so single logits may.

        Raises: ParityError, with the first layer that diverges as `blame` finds it.
        """
        found = compare_outputs(expected, got)
        scale = float(np.abs(expected).max()) or 1.0
        share = found["max_difference"] / scale
        near = found["relative"] <= self.limits.max_relative if loose else share <= self.limits.max_difference
        passed = near and found["agreement"] >= self.limits.min_agreement
        self.records.append({"from": before, "to": after, "samples": len(expected), "largest_logit": scale, "passed": passed, **found})
        if passed:
            return
        distance = f"the largest difference is {share:.2e} of the largest logit (at most {self.limits.max_difference:g})"
        if loose:
            distance = f"||difference|| / ||logits|| is {found['relative']:.2e} (at most {self.limits.max_relative:g})"
        raise ParityError(
            f"parity: {before} -> {after}: the arg-max agrees on {100 * found['agreement']:.2f} % of {len(expected)} samples "
            f"(at least {100 * self.limits.min_agreement:g} % is asked), {distance}; "
            f"first layer that diverges: {blame() or 'none, differences only grow slowly'}"
        )


@torch.no_grad()
def first_lost_layer(model: nn.Module, graph: onnx.ModelProto | Path, feeds: Feeds, *, tolerance: float = 0.02) -> str | None:
    """The first layer of a torch model whose output no tensor of its graph holds; None where nothing is lost.

    Exporters rename and fuse, so tensors are matched by shape and value. A fused layer's own output is absent from a sound graph
    too; what follows it is not, so a layer counts as lost when nothing behind it in its branch (an encoder, the head) is found.
    """
    outputs: dict[str, np.ndarray] = {}  # in the order in which layers finish

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and name not in outputs:
            outputs[name] = output.numpy()

    hooks = [m.register_forward_hook(lambda _m, _i, output, name=name: note(name, output)) for name, m in model.named_modules() if name]
    model({m: torch.from_numpy(x) for m, x in feeds.items()})
    for hook in hooks:
        hook.remove()
    by_shape: dict[tuple[int, ...], list[np.ndarray]] = {}
    for array in trace(load_onnx(graph), feeds).values():
        by_shape.setdefault(array.shape, []).append(array)
    lost: dict[str, str] = {}  # branch -> its first layer behind the last one that was found
    for name, output in outputs.items():
        branch = ".".join(name.split(".")[:2])
        if any(relative_difference(output, array) <= tolerance for array in by_shape.get(output.shape, [])):
            lost.pop(branch, None)
        else:
            lost.setdefault(branch, name)
    return next((name for name in outputs if name in lost.values()), None)


def export_module(model: nn.Module, io: IOSpec, opset: int) -> onnx.ModelProto:
    """The graph of a model in eval mode, inputs and output named by its ports, batch dynamic."""
    example = tuple(torch.zeros((2, *port.shape), dtype=getattr(torch, port.dtype)) for port in io.inputs)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings(), quiet("torch.onnx", "onnxscript", "torch.export"):
        warnings.simplefilter("ignore")  # the exporter's own deprecations, nothing that a user could act on
        program = torch.onnx.export(
            ByPort(model, io).eval(),
            example,
            dynamo=True,
            opset_version=opset,
            input_names=list(io.modalities),
            output_names=[port.name for port in io.outputs],
            dynamic_shapes=(tuple({0: batch} for _ in example),),
            external_data=False,
            verbose=False,
        )
    assert program
    return program.model_proto


class quiet:
    """A context in which these loggers only report errors."""

    def __init__(self, *names: str) -> None:
        self.loggers = [logging.getLogger(name) for name in names]

    def __enter__(self) -> None:
        self.levels = [logger.level for logger in self.loggers]
        for logger in self.loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the exporter's notes and local paths, in an IR version that old runtimes read."""
    graph = Graph.copy_of(strip_metadata(model, value_info=True))
    own_weights(graph)  # ONNX Runtime cannot load a file whose int8 layers share a zero point while it keeps products exact
    return set_ir_version(graph.model, IR_VERSION)


def save(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Writes the cleaned model and gives it back."""
    model = clean(model)
    onnx.save(model, path)
    return model


def first_rows(feeds: Feeds, count: int) -> Feeds:
    """The first rows of every input."""
    return {name: array[:count] for name, array in feeds.items()}


@torch.no_grad()
def run_torch(model: nn.Module, feeds: Feeds, *, batch: int = 64) -> np.ndarray:
    """Logits (R, K) of a torch model."""
    rows = len(next(iter(feeds.values())))
    parts = [model({m: torch.from_numpy(x[i : i + batch]) for m, x in feeds.items()}).numpy() for i in range(0, rows, batch)]
    return np.concatenate(parts)


def run_file(path: Path, feeds: Feeds) -> np.ndarray:
    """Logits (R, K) of an ONNX file with ONNX Runtime's full optimisation."""
    return run_model(path, feeds)["logits"]
