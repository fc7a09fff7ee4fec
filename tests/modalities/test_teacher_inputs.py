"""A teacher from transformers sees here what its own processor makes, unless the recipe says otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from compress.context import Context
from compress.data.manifest import manifest
from compress.data.prepare import open_data, prepare
from compress.device.modalities.image import decode
from compress.errors import RecipeError
from compress.modalities import teacher_inputs
from compress.modalities.teacher_inputs import with_teacher_inputs
from compress.models.saved import load_model
from compress.recipe.grammar import LoadedRecipe, load_recipe
from compress.stages.teacher import load_teacher

BIT = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 56}, "crop_size": {"height": 48, "width": 48}}
RECIPE = """\
name: tiny
data:
  source: manifest
  options: {train: train.csv, test: test.csv}
  inputs: {image: {size: 32}}
teacher: {source: folder, path: model}
student: {encoders: {image: {}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe with 12 + 6 noisy images of many shapes, of two kinds, and a folder for the model."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 6)):
        lines = ["image,label"]
        for index in range(count):
            height, width = rng.integers(50, 130, 2)
            small = rng.integers(40, 216, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
            Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR).save(tmp_path / f"{split}{index}.png")
            lines.append(f"{split}{index}.png,{('cat', 'dog')[index % 2]}")
        (tmp_path / f"{split}.csv").write_text("\n".join(lines))
    (tmp_path / "model").mkdir()
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def settled(folder: Path, processor: dict | None = BIT, **overrides: Any) -> LoadedRecipe:
    """The recipe once the processor of the model was read."""
    (folder / "model" / "config.json").write_text("{}")
    if processor is not None:
        (folder / "model" / "preprocessor_config.json").write_text(json.dumps(processor))
    return with_teacher_inputs(load_recipe(folder / "recipe.yaml", [f"{place}={value}" for place, value in overrides.items()]))


def words(loaded: LoadedRecipe) -> dict:
    assert loaded.recipe.teacher.inputs
    return loaded.recipe.teacher.inputs.get("image").model_dump()


def test_words_of_the_processor_become_the_teachers(folder: Path) -> None:
    assert words(settled(folder)) == {"size": 48, "resize": "crop", "resampling": "bicubic", "edge": 56}


def test_words_of_the_recipe_stay(folder: Path) -> None:
    given = {"teacher.inputs": "{image: {size: 24, resampling: bilinear}}"}
    assert words(settled(folder, **given)) == {"size": 24, "resize": "crop", "resampling": "bilinear", "edge": 28}  # 56 * 24 / 48


def test_without_a_processor_the_teacher_reads_what_the_student_does(folder: Path) -> None:
    assert settled(folder, None).recipe.teacher.inputs is None


def test_fitted_teacher_is_left_alone(folder: Path) -> None:
    loaded = load_recipe(folder / "recipe.yaml", ["teacher={source: fit, encoders: {image: {model: efficientnet_lite2}}}"])
    assert with_teacher_inputs(loaded) is loaded


def test_hub_is_asked_for_the_processor_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(teacher_inputs, "fetch", lambda *a, **k: asked.append((a, k)) or folder / "model")
    loaded = settled(folder, teacher="{source: hub, id: a/b, revision: " + "0" * 40 + "}")
    assert words(loaded)["size"] == 48
    assert asked == [(("a/b", "0" * 40), {"files": ["processor_config.json", "preprocessor_config.json"]})]


def test_size_that_no_recipe_may_have_is_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"reads image with size 2048: .*; set teacher\.inputs\.image"):
        settled(folder, {"image_processor_type": "ViTImageProcessor", "size": {"height": 2048, "width": 2048}})


def test_teacher_answers_as_transformers_does_from_the_files(folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=48, patch_size=16, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        initializer_range=0.3, id2label={0: "dog", 1: "cat"}, label2id={"dog": 0, "cat": 1},
    )  # fmt: skip
    body = transformers.ViTForImageClassification(config).eval()
    body.save_pretrained(folder / "model")
    processor = transformers.BitImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 48, "width": 48})
    processor.save_pretrained(folder / "model")

    loaded = with_teacher_inputs(load_recipe(folder / "recipe.yaml"))
    recipe, out = loaded.recipe, tmp_path / "out"
    out.mkdir()
    source = manifest(base=folder, **recipe.data.options)
    prepare(source, recipe.data, tmp_path / "data", teacher_inputs=recipe.teacher.inputs, say=lambda line: None)
    data = open_data(tmp_path / "data")
    load_teacher(recipe, None, data, ctx=Context(out, base=folder, say=lambda line: None))
    teacher = load_model(out)

    split = data.split("test")
    assert split.inputs["image"].shape == (6, 32, 32, 3) and split.teacher_inputs["image"].shape == (6, 48, 48, 3)
    with torch.no_grad():
        ours = teacher({"image": torch.from_numpy(np.asarray(split.teacher_inputs["image"]))}).logits.numpy()
        pixels = [processor(Image.open(folder / f"test{i}.png"), return_tensors="pt")["pixel_values"][0] for i in range(6)]
        published = body(torch.stack(pixels)).logits.numpy()[:, ::-1]  # our labels are cat, dog
        stretched = np.stack([decode(folder / f"test{i}.png", height=48, width=48) for i in range(6)])
        before = teacher({"image": torch.from_numpy(stretched)}).logits.numpy()
    limit = 0.03 * abs(published).max()  # pixels within 2 levels of 255
    assert abs(ours[split.rows["image"]] - published).max() < limit < abs(before - published).max()
