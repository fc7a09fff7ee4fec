"""Our MobileNetV4-style blocks against transformers' MobileNetV2 of about the same size: training step and inference at 64x64 pixels.

    python benchmarks/backbones.py            measures, writes results/backbones.json (about a minute)
    python benchmarks/backbones.py --publish  puts the table into its document

Both sides get one linear layer to 13 classes, one thread, and calls that take turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import RESULTS, add_table_arguments, markdown_table, origin, origin_line, run_program, show_tables, write_result
from torch import Tensor, nn
from transformers import MobileNetV2Config, MobileNetV2Model

from compress.device.sessions import open_session
from compress.device.timing import Effort, ratio_interval, summarise, time_calls
from compress.graphs.coverage import int8_coverage
from compress.io_spec import IOSpec, Port
from compress.models.classifier import Classifier, LinearHead
from compress.models.layers import Pixels
from compress.models.saved import count_parameters
from compress.models.vision import DEVIATION, MEAN, mobilenet_v4
from compress.stages.export import export_module, save

SIZE, CLASSES, BATCH = 64, 13, 128
PIXELS = Port("image", "uint8", (SIZE, SIZE, 3), 0, 255)
OURS: dict[str, dict[str, Any]] = {
    "small": {"width": 1.0, "out": 128},
    "large": {"width": 2.0, "out": 512},
}  # the VQA student's encoder, and one four times as big
MULTIPLIERS = [round(0.05 * n, 2) for n in range(2, 29)]  # depth_multiplier of MobileNetV2, from 0.1 to 1.4


class MobileNetV2(nn.Module):
    """transformers' MobileNetV2 behind our encoders' call: (N, 64, 64, 3) uint8 -> (N, D)."""

    def __init__(self, multiplier: float) -> None:
        super().__init__()
        # tf_padding would put a Pad before every strided convolution
        config = MobileNetV2Config(image_size=SIZE, depth_multiplier=multiplier, tf_padding=False, finegrained_output=True)
        self.pixels, self.body = Pixels(MEAN, DEVIATION), MobileNetV2Model(config)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.05  # the library passes TensorFlow's 0.997, which torch reads as "forget all but this batch"
        self.width = self.body.conv_1x1.convolution.out_channels

    def forward(self, image: Tensor) -> Tensor:
        return self.body(self.pixels(image)).pooler_output


def classifier(encoder: Any) -> Classifier:
    """An encoder, which knows its `width`, with one linear layer to CLASSES."""
    return Classifier({"image": encoder}, LinearHead("image", encoder.width, CLASSES))


def nearest_multiplier(parameters: int) -> float:
    """The MULTIPLIERS entry whose classifier is nearest in size."""
    with torch.device("meta"):
        sizes = {m: count_parameters(classifier(MobileNetV2(m))) for m in MULTIPLIERS}
    return min(sizes, key=lambda m: abs(sizes[m] - parameters))


def candidates() -> dict[str, tuple[str, dict[str, Any], Classifier]]:
    """{name: (size, options, model)}: ours and its counterpart for each size."""
    found = {}
    for size, options in OURS.items():
        ours = classifier(mobilenet_v4(PIXELS, **options))
        multiplier = nearest_multiplier(count_parameters(ours))
        found[f"mobilenet_v4 {size}"] = (size, options, ours)
        found[f"MobileNetV2 {size}"] = (size, {"depth_multiplier": multiplier}, classifier(MobileNetV2(multiplier)))
    return found


def training_call(model: Classifier) -> Callable[[], None]:
    """Forward and backward of one batch of BATCH images; the optimizer's step is left out."""
    draw = torch.Generator().manual_seed(0)
    image = torch.randint(256, (BATCH, SIZE, SIZE, 3), dtype=torch.uint8, generator=draw)
    labels = torch.randint(CLASSES, (BATCH,), generator=draw)

    def call() -> None:
        model.train()
        model.zero_grad()
        nn.functional.cross_entropy(model({"image": image}).logits, labels).backward()

    return call


def inference_call(path: Path) -> Callable[[], None]:
    """One image through ONNX Runtime on one thread."""
    session = open_session(path, threads=1)
    feeds = {"image": np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)}

    def call() -> None:
        session.run(feeds)

    return call


def measure(*, steps: int, rounds: int) -> dict[str, Any]:
    """Every candidate: size, multiply-adds of one image, training step and inference in ms, and the ratios to ours of the same size."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    models = candidates()
    io = IOSpec((PIXELS,), (Port("logits", "float32", (CLASSES,)),))
    training = time_calls({name: training_call(model) for name, (_, _, model) in models.items()}, Effort(steps, 2)).ns
    entries: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{number}.onnx" for number, name in enumerate(models)}
        for name, (size, options, model) in models.items():
            save(export_module(model.eval(), io, 20), files[name])
            macs = int8_coverage(files[name]).multiply_adds
            entries[name] = {"size": size, "options": options, "parameters": count_parameters(model), "multiply_adds": macs}
        inference = time_calls({name: inference_call(path) for name, path in files.items()}, Effort(rounds, 50)).ns
    for name, entry in entries.items():
        ours = f"mobilenet_v4 {entry['size']}"
        for kind, times in (("training", training), ("inference", inference)):
            entry[kind] = {**summarise(times[name]), "unit": "ms", "over_ours": ratio_interval(times[name], times[ours])}
    settings = {"pixels": SIZE, "training_batch": BATCH, "inference_batch": 1, "precision": "fp32"}
    return {**origin(threads=1, libraries=("torch", "transformers", "onnxruntime")), "settings": settings, "models": entries}


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"backbones": "\n\n".join(map(table, results))}


def table(result: dict[str, Any]) -> str:
    """The Markdown table, medians, with the ratio to ours of the same size."""
    header = ("encoder", "parameters", "multiply-adds", "training step, ms", "over ours", "inference, ms", "over ours")
    rows = [
        [
            f"{name} ({', '.join(f'{k} {v}' for k, v in entry['options'].items())})",
            f"{entry['parameters'] / 1e3:.0f} k",
            f"{entry['multiply_adds'] / 1e6:.1f} M",
            *(cell for kind, digits in (("training", 0), ("inference", 3)) for cell in timing_cells(entry[kind], digits)),
        ]
        for name, entry in result["models"].items()
    ]
    return f"{markdown_table(header, rows)}\n\n{origin_line([result], 'torch')}"


def timing_cells(timing: dict[str, Any], digits: int) -> Sequence[str]:
    """Median, and ratio with its 95 % interval."""
    ratio = timing["over_ours"]
    return f"{timing['median_ms']:.{digits}f}", f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def main() -> None:
    """Measures, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="timed training steps of each model")
    parser.add_argument("--rounds", type=int, default=1000, help="timed inferences of each model")
    parser.add_argument("--result", type=Path, default=RESULTS / "backbones.json")
    add_table_arguments(parser)
    args = parser.parse_args()
    if not show_tables(args, lambda: tables([json.loads(args.result.read_text())])):
        result = measure(steps=args.steps, rounds=args.rounds)
        write_result(args.result, result)
        print(table(result))


if __name__ == "__main__":
    run_program(main)
