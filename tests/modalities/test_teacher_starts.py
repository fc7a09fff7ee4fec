"""What a student asks of its teacher is checked by the teacher's configuration alone: no weights are there in these folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import BertConfig, MobileNetV2Config, ViltConfig, ViTConfig

from compress.errors import CompressError, DataError, RecipeError
from compress.modalities.teacher_starts import check_teacher_starts
from compress.pipeline import run
from compress.recipe.grammar import LoadedRecipe, load_recipe

TEXT = "{length: 8}"
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "vocab_size": 40}


def folder_recipe(folder: Path, config: object, *, inputs: dict[str, str], encoders: str) -> LoadedRecipe:
    config.save_pretrained(folder / "big")  # type: ignore[attr-defined]
    described = ", ".join(f"{m}: {words}" for m, words in inputs.items())
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text(",".join([*inputs, "label"]) + "\n" + ",".join([*inputs, "yes"]) + "\n")
    (folder / "a.yaml").write_text(
        "name: a\n"
        f"data: {{source: manifest, options: {{train: train.csv, test: test.csv}}, inputs: {{{described}}}}}\n"
        "teacher: {source: folder, path: big}\n"
        f"student: {{encoders: {{{encoders}}}}}\n"
    )
    return load_recipe(folder / "a.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 64}, "student.encoders.text.options.width: 64 cannot be picked from the teacher's 32"),
        ({"layers": 3}, "student.encoders.text.options.layers: 3 cannot be picked from the teacher's 2"),
        ({"width": 16}, None),
    ],
)
@pytest.mark.parametrize("kind", ["bert", "vilt"])
def test_student_larger_than_the_teacher_is_refused(tmp_path: Path, kind: str, changes: dict[str, int], said: str | None) -> None:
    options = ", ".join(f"{key}: {value}" for key, value in {"layers": 2, "width": 32, "heads": 2, "feedforward": 48, **changes}.items())
    config, inputs = (
        (BertConfig(**SMALL), {"text": TEXT}) if kind == "bert" else (ViltConfig(**SMALL), {"image": "{size: 32}", "text": TEXT})
    )
    image = "image: {model: mobilenet_v4}, " if kind == "vilt" else ""
    loaded = folder_recipe(tmp_path, config, inputs=inputs, encoders=f"{image}text: {{options: {{{options}}}}}")
    if said is None:
        return check_teacher_starts(loaded)
    with pytest.raises(RecipeError) as caught:
        check_teacher_starts(loaded)
    assert len(caught.value.problems) == 1 and caught.value.problems[0].startswith(said)


def test_run_ends_before_the_teacher_is_read(tmp_path: Path) -> None:
    loaded = folder_recipe(tmp_path, BertConfig(**SMALL), inputs={"text": TEXT}, encoders="text: {options: {width: 64, heads: 2}}")
    said: list[str] = []
    with pytest.raises(CompressError):  # the data are checked first; they are of one row here
        run(loaded, runs=tmp_path / "runs", threads=1, say=said.append)
    assert not [line for line in said if "teacher" in line]


def test_fitted_teacher_is_known_too(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "name: a\n"
        "data: {source: easy_vqa, inputs: {image: {size: 32}, text: {length: 8}}}\n"
        "teacher: {source: fit, encoders: {image: {model: mobilenet_v2}, text: {model: minilm_l6}}}\n"
        "student: {encoders: {image: {model: mobilenet_v2, initialise: teacher, options: {width: 0.5}}, text: {options: {width: 384}}}}\n"
    )
    check_teacher_starts(load_recipe(tmp_path / "a.yaml"))
    wide = ["student.encoders.text.options.width=512", "student.encoders.image.initialise=random"]
    with pytest.raises(RecipeError, match="width: 512 cannot be picked from the teacher's 384"):
        check_teacher_starts(load_recipe(tmp_path / "a.yaml", wide))
    still = ["student.encoders.image.freeze=4", "student.encoders.image.initialise=random"]
    with pytest.raises(RecipeError, match="student.encoders.image.freeze: random weights would stay random"):
        check_teacher_starts(load_recipe(tmp_path / "a.yaml", still))
    with pytest.raises(RecipeError, match="freeze: 17 of a MobileNetV2: at most 16 of its blocks can be frozen"):
        check_teacher_starts(load_recipe(tmp_path / "a.yaml", ["student.encoders.image.freeze=17"]))
    wide = ["student.encoders.image.options.width=1.4"]
    with pytest.raises(RecipeError, match="student.encoders.image.options.width: .* cannot be picked"):
        check_teacher_starts(load_recipe(tmp_path / "a.yaml", wide))


@pytest.mark.parametrize(
    ("config", "said"), [(ViTConfig(**SMALL), "no image encoder that a student can be picked from"), (MobileNetV2Config(), None)]
)
def test_image_encoder_is_looked_for_in_the_teacher(tmp_path: Path, config: object, said: str | None) -> None:
    encoders = "image: {model: mobilenet_v2, initialise: teacher, options: {width: 0.5}}"
    loaded = folder_recipe(tmp_path, config, inputs={"image": "{size: 32}"}, encoders=encoders)
    if said is None:
        return check_teacher_starts(loaded)
    with pytest.raises(RecipeError, match=said):
        check_teacher_starts(loaded)


def test_vocabulary_that_cannot_be_kept_whole_is_told(tmp_path: Path) -> None:
    encoders = "text: {vocab: full, options: {width: 16, heads: 2}}"
    loaded = folder_recipe(tmp_path, BertConfig(**SMALL), inputs={"text": TEXT}, encoders=encoders)
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[PAD]": 1, "[UNK]": 2}, unk_token="[UNK]"))
    tokenizer.enable_padding(pad_id=1, pad_token="[PAD]")
    tokenizer.save(str(tmp_path / "big" / "tokenizer.json"))
    with pytest.raises(DataError, match="padding token has id 1"):
        check_teacher_starts(loaded)


def test_folder_that_is_no_models_is_left_to_the_stage_that_reads_it(tmp_path: Path) -> None:
    loaded = folder_recipe(tmp_path, BertConfig(**SMALL), inputs={"text": TEXT}, encoders="text: {options: {width: 64, heads: 2}}")
    (tmp_path / "big" / "config.json").write_text("{}")
    check_teacher_starts(loaded)
    assert torch.get_default_device().type == "cpu"
