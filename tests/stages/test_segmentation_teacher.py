"""A teacher of transformers that answers for each place: a tiny Segformer with random weights, from its folder to stored answers and to ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

from compress.errors import DataError, RecipeError
from compress.pipeline import run
from compress.recipe.grammar import load_recipe

NAMES = ["square", "other", "ground"]  # of the model: more than the data has, and in another order
RECIPE = """\
name: taught
data:
  source: manifest
  task: segmentation
  names: [ground, square]
  options: {train: rows.csv, validation: rows.csv, test: rows.csv}
  inputs: {image: {size: 32}}
teacher:
  source: folder
  path: segformer
  inputs: {image: {size: 64}}
student: {encoders: {image: {model: mobilenet_v4, options: {width: 0.25, out: 8}}}, head_width: 8}
distill: {augment: {views: 2, image: {flip: true}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("segformer"), np.random.default_rng(0)
    rows = ["image,mask"]
    for number in range(6):
        mask = np.zeros((48, 48), np.uint8)
        mask[8 : 20 + 4 * number, 12:30] = 1
        Image.fromarray(mask).save(folder / f"{number}-mask.png")
        Image.fromarray(draw.integers(0, 120, (48, 48, 3), dtype=np.uint8) + 120 * mask[..., None]).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{number}-mask.png")
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")
    (folder / "taught.yaml").write_text(RECIPE)
    torch.manual_seed(0)
    sizes = {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "num_attention_heads": [1] * 4, "decoder_hidden_size": 16}
    names = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
    SegformerForSemanticSegmentation(SegformerConfig(**sizes, **names)).save_pretrained(folder / "segformer")
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder / "segformer")
    return folder


def test_it_answers_for_the_places_of_the_datas_classes_in_every_view(folder: Path) -> None:
    result = run(load_recipe(folder / "taught.yaml"), runs=folder / "runs", threads=1, last="targets", say=lambda _: None)
    stored = np.load(result.artifacts["targets"].file("logits.npy"))
    assert stored.shape == (2, 6, 4 * 4 * 2)
    body = SegformerForSemanticSegmentation.from_pretrained(folder / "segformer").eval()
    image = Image.open(folder / "0.png").resize((64, 64), Image.Resampling.BILINEAR)
    for view, pixels in enumerate((np.array(image), np.array(image)[:, ::-1])):
        values = (torch.from_numpy(pixels / 255).float() - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
        with torch.no_grad():
            maps = body(values.permute(2, 0, 1)[None]).logits[:, [2, 0]]  # (1, 2, 16, 16)
            wanted = torch.nn.functional.interpolate(maps, size=(4, 4), mode="bilinear", align_corners=False)
        assert np.allclose(stored[view, 0].reshape(4, 4, 2), wanted[0].permute(1, 2, 0), atol=0.03)
    result = run(load_recipe(folder / "taught.yaml"), runs=folder / "runs", threads=1, last="export_teacher", say=lambda _: None)
    assert all(hop["passed"] for hop in result.artifacts["export_teacher"].details["parity"])


def test_classes_that_the_teacher_does_not_know_are_named(folder: Path) -> None:
    loaded = load_recipe(folder / "taught.yaml", ["data.names=[ground, disc]"])
    with pytest.raises(DataError, match=r"1 of the data's 2 labels are not the model's, such as \['disc'\]"):
        run(loaded, runs=folder / "runs", threads=1, last="targets", say=lambda _: None)


def test_teacher_and_student_must_see_the_same_part_of_a_picture(folder: Path) -> None:
    loaded = load_recipe(folder / "taught.yaml", ["teacher.inputs={image: {size: 64, edge: 80}}"])
    with pytest.raises(RecipeError, match=r"edge: 80\} and data.inputs.image \{resize: stretch, size: 32, edge: None\} show other parts"):
        run(loaded, runs=folder / "runs", threads=1, last="data", say=lambda _: None)
