"""The teacher stage where pictures and texts find each other: a folder's dual encoder becomes the teacher as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from clips import write_clap, write_clip, write_siglip
from PIL import Image
from sections import RECIPE
from transformers import BertConfig, BertModel

from compress.context import Context
from compress.data.manifest import manifest
from compress.data.prepare import prepare
from compress.data.prepared import open_data
from compress.errors import RecipeError
from compress.modalities.tokens import padding_id
from compress.models.saved import load_model
from compress.stages.teacher import load_teacher
from compress.store.artifacts import TorchModel


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with a text each and no label, and a random CLIP."""
    folder = tmp_path_factory.mktemp("base")
    write_clip(folder / "clip")
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 4), ("test", 4)):
        lines = ["image,audio,text"]
        for number in range(count):
            Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{split}{number}.png")
            soundfile.write(folder / f"{split}{number}.wav", draw.normal(size=8000) / 10, 8000)
            lines.append(
                f"{split}{number}.png,{split}{number}.wav,the {('cat', 'dog')[number % 2]} {'big small old a'.split()[number // 2]}"
            )
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


SEEN = {"image": {"size": 16}, "text": {"length": 6}}
HEARD = {"audio": {"seconds": 1.0, "rate": 8000}, "text": {"length": 6}}


def stage(base: Path, out: Path, *, size: int = 12, path: str = "clip", inputs: dict[str, dict] = SEEN) -> TorchModel:
    """What the stage leaves in `out`, as the next stage gets it."""
    data = {"source": "manifest", "options": {s: f"{s}.csv" for s in ("train", "validation", "test")}, "inputs": inputs}
    given = {"data": {**data, "task": "retrieval", "task_options": {"size": size}}, "teacher": {"source": "folder", "path": path}}
    recipe = RECIPE.model_validate({"name": "tiny", **given, "student": {"encoders": {m: {} for m in inputs}}})
    prepare(manifest(base=base, **recipe.data.options), recipe.data, out / "data", seed=0, say=lambda line: None)
    (out / "teacher").mkdir()
    made = load_teacher(recipe, None, open_data(out / "data"), ctx=Context(out / "teacher", base=base, say=lambda line: None))
    return TorchModel(path=out / "teacher", io_spec=made.io_spec, metrics=made.metrics, details=made.details)


def test_both_towers_are_the_teacher_and_rows_without_labels_are_scored(base: Path, tmp_path: Path) -> None:
    teacher = stage(base, tmp_path)
    assert teacher.path and teacher.io_spec.modalities == ("image", "text") and teacher.io_spec.outputs[0].each == 2
    assert teacher.metrics["validation_accuracy"]["samples"] == 4
    data = open_data(tmp_path / "data")
    assert len(set(data.split("train").labels.tolist())) == 8
    with torch.no_grad():
        vectors = load_model(teacher.path)(
            {"image": torch.zeros(1, 16, 16, 3, dtype=torch.uint8), "text": torch.tensor([[7, 2, 8, 8, 8, 8]])}
        )
    torch.testing.assert_close(vectors.logits.view(2, 12).norm(dim=1), torch.ones(2))


def test_a_size_or_a_model_that_does_not_fit_is_told(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"data.task_options.size: 8, but .*clip gives vectors of 12 numbers; set it to that"):
        stage(base, tmp_path / "size", size=8)
    BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)).save_pretrained(base / "bert")
    (base / "bert" / "tokenizer.json").write_bytes((base / "clip" / "tokenizer.json").read_bytes())
    with pytest.raises(RecipeError, match="is a model of type bert; of dual encoders those of type clip, siglip, clap are built"):
        stage(base, tmp_path / "kind", path="bert")


def test_siglip_and_clap_are_teachers_with_what_their_own_files_say(base: Path, tmp_path: Path) -> None:
    write_siglip(base / "siglip")
    teacher = stage(base, tmp_path / "pictures", size=16, path="siglip")
    assert teacher.details["architecture"] == "SiglipModel"
    assert teacher.path and padding_id(teacher.path / "tokenizer.json") == 7
    load_model(teacher.path)
    with pytest.raises(RecipeError, match="siglip, a model of type siglip, reads image and text, and the data has audio and text"):
        stage(base, tmp_path / "sounds", path="siglip", inputs=HEARD)
    write_clap(base / "clap")
    teacher = stage(base, tmp_path / "heard", path="clap", inputs=HEARD)
    assert teacher.io_spec.modalities == ("audio", "text") and teacher.details["architecture"] == "ClapModel"
    assert teacher.path and padding_id(teacher.path / "tokenizer.json") == 1
    load_model(teacher.path)
    with pytest.raises(RecipeError, match="hears 2 s, not 3; set teacher.inputs.audio.seconds to that"):
        stage(base, tmp_path / "long", path="clap", inputs={**HEARD, "audio": {"seconds": 3.0, "rate": 8000}})
