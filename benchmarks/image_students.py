"""Where a narrow image student starts from: random weights, or channels of the published MobileNetV2, picked in several ways; and its int8.

    python benchmarks/image_students.py --seeds 0 1 2     trains every arm on photographs, writes results/image_students/0-random.json, ...
    python benchmarks/image_students.py --table           prints the table

ROWS training images of CIFAR-10, which are other ones for each seed, half of the width, no teacher; scored on the first TEST images of the
test split, which nothing was chosen on. `frozen` is a linear classifier (ridge regression) on the features before any training.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from record import RESULTS, ROOT, markdown_table, origin, origin_line, read_results, run_program, spread, write_result
from torch import Tensor, nn

from compress.context import Context
from compress.graphs.coverage import int8_coverage
from compress.graphs.retarget import retarget
from compress.graphs.trace import run_model
from compress.io_spec import IOSpec, Outputs, Port
from compress.losses.objective import Objective
from compress.models.classifier import Classifier, LinearHead
from compress.models.inherit_image import by_weights, pick
from compress.models.layers import ConvNorm
from compress.models.mobilenet_v2 import mobilenet_v2
from compress.models.refit import refit
from compress.models.saved import count_parameters
from compress.quantizers import calibrate, freeze, freeze_ranges, prepare, qdq_opset
from compress.recipe.sections import Loss, Quantize, Train
from compress.stages.export import clean
from compress.stages.export.from_torch import export_module
from compress.training.batches import Batches, Rows
from compress.training.checkpoint import seed_everything
from compress.training.loop import predict, train
from compress.training.views import Views

ROWS, TEST, IMAGES, EPOCHS = 2000, 5000, 512, 6
SIZES: dict[str, Any] = {"width": 0.5, "stride": 16, "out": 640}
PORT = Port("image", "uint8", (32, 32, 3), 0, 255)
IO = IOSpec((PORT,), (Port("logits", "float32", (10,)),))
RATE = 2e-3
TARGETS = (("onnxruntime_x86", "ONNX Runtime on x86"), ("tensorrt", "TensorRT's file"))


def at_random(writers: Sequence[ConvNorm], readers: Sequence[ConvNorm]) -> Tensor:
    """Importance: none."""
    return torch.rand(writers[0].conv.out_channels)


def by_norms(writers: Sequence[ConvNorm], readers: Sequence[ConvNorm]) -> Tensor:
    """Importance: scale of the batch norm (arXiv 1708.06519), squared and summed over the layers that write."""
    return torch.stack([layer.norm.get_parameter("weight").square() for layer in writers]).sum(0)


def by_activity(writers: Sequence[ConvNorm], readers: Sequence[ConvNorm]) -> Tensor:
    """Importance: variance of ReLU6(scale * z + shift), z normal, times the norm of the weights that read."""
    z = torch.linspace(-4, 4, 161)
    p = torch.softmax(-z.square() / 2, 0)
    total = torch.zeros(writers[0].conv.out_channels)
    for layer in writers:
        y = layer.act(layer.norm.get_parameter("weight")[:, None] * z + layer.norm.get_parameter("bias")[:, None])
        total += (y - (y @ p)[:, None]).square() @ p
    read = [layer.conv.weight.square().sum((1, 2, 3) if layer.conv.groups > 1 else (0, 2, 3)) for layer in readers]
    return total * torch.stack(read).sum(0) if read else total


# arm -> title, importance, what follows the picking
ARMS: dict[str, tuple[str, Callable[..., Tensor] | None, str]] = {
    "random": ("random weights", None, ""),
    "picked": ("picked by weights", by_weights, ""),
    "statistics": ("picked by weights, norms' statistics anew", by_weights, "statistics"),
    "fitted": ("**picked by weights, fitted** (`initialise: pretrained`)", by_weights, "fit"),
    "fitted_norms": ("picked by the norms' scale, fitted", by_norms, "fit"),
    "fitted_activity": ("picked by activity and reading weights, fitted", by_activity, "fit"),
    "fitted_at_random": ("picked at random, fitted", at_random, "fit"),
    "whole": ("the whole net", None, "whole"),
}


def read_images(path: Path, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 32, 32, 3) uint8 and labels (N,) of these rows."""
    table = pq.read_table(path).take(index)
    names = sorted(set(pq.read_table(path, columns=["label"]).column("label").to_pylist()))
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(cell)).convert("RGB")) for cell in table.column("image").to_pylist()])
    return pixels, np.array([names.index(name) for name in table.column("label").to_pylist()])


@torch.no_grad()
def start(arm: str, images: Tensor) -> nn.Module:
    """The encoder of one arm before training."""
    _, importance, then = ARMS[arm]
    encoder: Any = mobilenet_v2(PORT, **({"stride": SIZES["stride"]} if then == "whole" else SIZES))
    if then == "whole":
        encoder.load_pretrained()
    if importance is None:
        return encoder
    source = encoder.pretrained().eval()
    stretches = pick(encoder, source, importance=importance)
    if then == "fit":
        refit(encoder, source, stretches, images)
    if then == "statistics":
        set_statistics(encoder, images)
    return encoder


def set_statistics(encoder: nn.Module, images: Tensor) -> None:
    """The norms' statistics as these images have them, weights as they are."""
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    encoder.train()
    for few in images.split(64):
        encoder(few)
    for norm in norms:
        norm.momentum = 0.1


def frozen_accuracy(encoder: nn.Module, rows: Rows, test: Rows) -> float:
    """%: ridge regression on the frozen features, its strength the best of four on the test rows, the same for every arm."""
    features = [torch.from_numpy(predict(Features(encoder), Batches(given, 100, shuffle=False))).double() for given in (rows, test)]
    mean, deviation = features[0].mean(0), features[0].std(0) + 1e-5
    x, y = ((f - mean) / deviation for f in features)
    wanted = nn.functional.one_hot(torch.from_numpy(rows.labels), 10).double()
    wanted, found = wanted - wanted.mean(0), []
    for strength in (0.01, 0.1, 1.0, 10.0):
        weight = torch.linalg.solve(x.T @ x + strength * len(x) * torch.eye(x.shape[1], dtype=x.dtype), x.T @ wanted)
        found.append(float(((y @ weight).argmax(1).numpy() == test.labels).mean()))
    return 100 * max(found)


class Features(nn.Module):
    """An encoder behind the call of a classifier."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: dict[str, Tensor], rows: dict[str, Tensor]) -> Outputs:
        return Outputs(self.encoder(inputs["image"])[rows["image"]])


def score(model: nn.Module, test: Rows) -> float:
    """% of the test rows."""
    return 100 * float((predict(model, Batches(test, 100, shuffle=False)).argmax(1) == test.labels).mean())


def fit_model(model: nn.Module, rows: Rows, config: Train, seed: int, **more: Any) -> None:
    """Trains on labels alone; the last weights stay."""
    with tempfile.TemporaryDirectory() as out:
        objective = Objective([Loss(name="cross_entropy")], with_teacher=False)
        ctx = Context(Path(out), seed, torch.get_num_threads(), print, ROOT)
        batches = Batches(rows, config.batch_size, seed=seed)
        train(model, batches, objective=objective, config=config, ctx=ctx, validate=lambda m: 0.0, label="student", **more)


def measure_int8(model: nn.Module, rows: Rows, test: Rows, seed: int) -> dict[str, Any]:
    """Accuracy, %, of the files that ONNX Runtime (x86) and TensorRT take, calibrated (ptq) and trained for one more pass (qat)."""
    config = Quantize(train=Train(epochs=1, batch_size=32, learning_rate=RATE / 20, validate_every=1, trackers=[]))
    prepared = prepare(model.eval(), config)
    calibrate(prepared, ((b.inputs, b.rows) for _, b in zip(range(16), Batches(rows, 32, seed=seed).epoch(0), strict=False)))
    found = {}
    for form in ("ptq", "qat"):
        if form == "qat":
            fit_model(prepared, rows, config.train, seed, freeze=(config.freeze_after, freeze_ranges))
        with qdq_opset(20):
            symmetric = clean(export_module(freeze(prepared), IO, 20))
        for target in ("onnxruntime_x86", "tensorrt"):
            file = retarget(symmetric, target)
            logits = run_model(file, {"image": test.inputs["image"]}, optimise=target != "tensorrt")["logits"]
            found[f"{form}_{target}"] = 100 * float((logits.argmax(1) == test.labels).mean())
            if target == "onnxruntime_x86":
                found["coverage"] = int8_coverage(file).share
    return found


def measure(arm: str, seed: int, data: Path, threads: int) -> dict[str, Any]:
    """Accuracy of one arm after its training, %, and before, from frozen features."""
    torch.set_num_threads(threads)
    index = np.sort(np.random.default_rng(seed).choice(50_000, ROWS, replace=False))
    pixels, labels = read_images(data / "cifar10_train.parquet", index)
    words = SimpleNamespace(flip=True, shift=2, crop=1.0, rotate=0.0, colour=0.0)
    rows = Rows({"image": pixels}, {"image": np.arange(ROWS)}, labels, views=Views("image", fresh=(words, seed)))
    pixels, labels = read_images(data / "cifar10_test.parquet", np.arange(TEST))
    test = Rows({"image": pixels}, {"image": np.arange(TEST)}, labels)
    seed_everything(seed)
    began = time.monotonic()
    encoder = start(arm, torch.from_numpy(rows.inputs["image"][:IMAGES]))
    seconds = {"start": round(time.monotonic() - began, 1)}
    frozen = frozen_accuracy(encoder, rows, test)
    model = Classifier({"image": encoder}, LinearHead("image", encoder.width, 10))  # type: ignore[arg-type]
    began = time.monotonic()
    fit_model(model, rows, Train(epochs=EPOCHS, batch_size=32, learning_rate=RATE, validate_every=EPOCHS, trackers=[]), seed)
    seconds["training"] = round(time.monotonic() - began, 1)
    found: dict[str, Any] = {"frozen": frozen, "trained": score(model, test)}
    if arm == "fitted":
        found["int8"] = measure_int8(model, rows, test, seed)
    sizes = {"rows": ROWS, "test_rows": TEST, "epochs": EPOCHS, "parameters": count_parameters(encoder), "images_fitted_on": IMAGES}
    return {**origin(threads=threads), "arm": arm, "seed": seed, **sizes, "test": {**found, "unit": "%"}, "seconds": seconds}


def table(results: Sequence[dict[str, Any]]) -> str:
    """One line an arm, and one line for each int8 form; mean and standard deviation over the seeds."""
    lines = []
    for arm, (title, *_) in ARMS.items():
        found = [r for r in results if r["arm"] == arm]
        if found:
            trained, frozen = ([r["test"][what] for r in found] for what in ("trained", "frozen"))
            seconds = sum(r["seconds"]["start"] for r in found) / len(found)
            by_seed = ", ".join(f"{value:.2f}" for value in trained)
            lines.append([title, f"{found[0]['parameters'] / 1e6:.2f} M", spread(frozen), spread(trained), by_seed, f"{seconds:.1f}"])
    first = results[0]
    header = ("start", "parameters", "frozen", f"after {first['epochs']} passes", "by seed", "seconds to start")
    drops = [r["test"]["int8"] | {"fp32": r["test"]["trained"]} for r in results if "int8" in r["test"]]
    named = {
        f"{form}_{target}": f"{name}, {to}"
        for form, name in (("ptq", "calibrated (PTQ)"), ("qat", "trained one pass more (QAT)"))
        for target, to in TARGETS
    }
    int8 = [
        [title, spread([d[key] for d in drops]), ", ".join(f"{d['fp32'] - d[key]:+.2f}" for d in drops)] for key, title in named.items()
    ]
    return "\n\n".join(
        [
            f"{first['rows']:,} training images of CIFAR-10, {first['test_rows']:,} test images, seeds {', '.join(sorted({str(r['seed']) for r in results}))}.",
            markdown_table(header, lines),
            markdown_table(("int8 of the fitted one", "test accuracy, %", "points lost to fp32, by seed"), int8),
            origin_line(results, "torch"),
        ]
    )


def main() -> None:
    """Trains the arms, or prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of cifar10_train.parquet and _test")
    parser.add_argument("--results", type=Path, default=RESULTS / "image_students")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print the table of the results and end")
    args = parser.parse_args()
    if args.table:
        print(table(read_results(args.results)))
        return
    for seed in args.seeds:
        for arm in args.arms:
            result = measure(arm, seed, args.data, args.threads)
            write_result(args.results / f"{seed}-{arm}.json", result)
            print(f"{arm} seed {seed}: {result['test']}, {result['seconds']}", flush=True)


if __name__ == "__main__":
    run_program(main)
