"""The recipe for stamps and their names, cut to seconds on drawn stamps: from files to a bundle in which words find pictures and pictures words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.device.against import rank_against
from compress.device.errors import DeviceError
from compress.device.manifest import verify_folder
from compress.device.predictor import Predictor
from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "retrieval_stamps.yaml"
SMALL = [
    "data.inputs={image: {size: 32, resize: pad}, text: {length: 6}}",
    "data.task_options={size: 16}",
    "teacher.encoders.image.options={size: 32}",
    "teacher.train={epochs: 20, batch_size: 16, learning_rate: 2.0e-3}",
    "student.encoders.image={model: mobilenet_v4, options: {width: 0.25, out: 32}}",
    "student.encoders.text={model: bag, options: {width: 16}, vocab: task}",
    "distill.augment={views: 1}",
    "distill.train={epochs: 30, batch_size: 16, learning_rate: 1.0e-2}",
    "distill.compare_alone=false",
    "quantize={method: int8_ptq, calibration_batches: 4}",
    "export={targets: [onnxruntime_x86], parity: {samples: 32}}",
    "benchmark={batches: [1], rounds: 10, warmup: 2}",
    "budget={max_size_mb: 5}",
]
THINGS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 220), "white": (240, 240, 240)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run on 72 stamps, each named by its colour: four names, each of 18 pictures."""
    folder, draw = tmp_path_factory.mktemp("stamps"), np.random.default_rng(0)
    for index in range(72):
        thing = list(THINGS)[index % 4]
        picture = folder / "things" / f"{index}.png"
        picture.parent.mkdir(exist_ok=True)
        pixels = np.clip(np.array(THINGS[thing]) + draw.integers(-40, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((60, 40)).save(picture)
        picture.with_suffix(".txt").write_text(f"A {thing} thing.\n")
    (folder / "things" / "0_desc_fr.ogg").write_bytes(b"is not read")
    loaded = load_recipe(RECIPE, [f"data.options.path={folder}", *SMALL])
    return run(loaded, runs=folder / "runs", threads=1, say=lambda line: None)


def test_recipe_runs_to_a_bundle_whose_towers_find_each_other(made: RunResult) -> None:
    verify_folder(made.bundle.resolve())
    models = json.loads(made.artifacts["benchmark"].file("measurements.json").read_text())["models"]
    assert made.summary["student_accuracy"] > 0.7
    assert models["fp32"]["metrics"]["among_the_teacher_image_to_text_recall_at_1"]["value"] > 0.6
    assert models["fp32"]["accuracy"]["against_majority"]["verdict"] == "better"
    page = made.report.read_text()
    assert "Who finds whom" in page and "image to text" in page


def test_words_find_pictures_and_pictures_words_on_the_device(made: RunResult, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("".join(f"A {thing} thing.\n" for thing in THINGS))
    (tmp_path / "pictures").mkdir()
    for thing, colour in THINGS.items():
        Image.new("RGB", (60, 40), colour).save(tmp_path / "pictures" / f"{thing}.png")
    with Predictor(made.bundle) as predictor:
        seen = predictor.predict(image=str(tmp_path / "pictures" / "blue.png"))
        assert seen["tower"] == "image" and len(seen["vector"]) == 16
        assert rank_against(predictor, seen, tmp_path / "words.txt", top=1)[0]["item"] == "A blue thing."
        read = predictor.predict(text="A green thing.")
        assert rank_against(predictor, read, tmp_path / "pictures", top=1)[0]["item"] == "green.png"
        both = predictor.predict(image=str(tmp_path / "pictures" / "blue.png"), text="A green thing.")
        assert both["vectors"] == {"image": pytest.approx(seen["vector"]), "text": pytest.approx(read["vector"])}
        batch = predictor.predict_batch([{"text": "A green thing."}, {"image": str(tmp_path / "pictures" / "blue.png")}])
        assert [answer["tower"] for answer in batch] == ["text", "image"]
        with pytest.raises(DeviceError, match="ranks by one input, and image and text are given"):
            rank_against(predictor, both, tmp_path / "words.txt", top=1)
        with pytest.raises(DeviceError, match="give --image or --question"):
            predictor.predict()


def test_each_tower_is_a_file_of_its_own(made: RunResult) -> None:
    table = json.loads((made.bundle / "models.json").read_text())
    for line in table["models"]:
        files = {name: made.bundle / file for name, file in line["towers"].items()}
        assert files.keys() == {"image", "text"}
        assert sum(file.stat().st_size for file in files.values()) < 1.5 * line["size_bytes"]
