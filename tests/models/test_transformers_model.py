"""Teachers from transformers: ViLT and BERT saved here, read back, and the same logits as transformers itself gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ports import io_spec
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    ViltConfig,
    ViltForQuestionAnswering,
    ViTConfig,
    ViTForImageClassification,
)

from compress.errors import DataError, DependencyError, RecipeError
from compress.models.transformers_model import (
    TransformersTeacher,
    label_columns,
    open_pretrained,
    transformers_teacher,
    try_out,
)

LABELS = ["no", "yes", "red", "blue"]
NAMES = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "initializer_range": 0.3}
HALF = [0.5] * 3


def vilt(**changes: Any) -> nn.Module:
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": 40, "max_position_embeddings": 12, "image_size": 32, "patch_size": 8, **changes}
    model = ViltForQuestionAnswering(ViltConfig(**sizes, **NAMES)).eval()
    nn.init.normal_(model.vilt.embeddings.position_embeddings)  # zeros in a fresh model
    nn.init.normal_(model.vilt.embeddings.cls_token)
    return model


def bert(**changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(**{**SIZES, "vocab_size": 40, "max_position_embeddings": 12, **changes}, **NAMES)
    ).eval()


def vit() -> nn.Module:
    torch.manual_seed(0)
    return ViTForImageClassification(ViTConfig(**SIZES, image_size=32, patch_size=16, **NAMES)).eval()


def texts(count: int = 3) -> Tensor:
    text = torch.randint(1, 40, (count, 10), generator=torch.Generator().manual_seed(0))
    text[1, 4:] = 0
    return text


def images(size: int = 32, count: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def teacher(body: nn.Module, **changes: Any) -> TransformersTeacher:
    return TransformersTeacher(body, **{"columns": [0, 1, 2, 3], "padding": 0, "mean": HALF, "deviation": HALF, **changes}).eval()


def pixel_values(image: Tensor) -> Tensor:
    """What a ViLT processor makes of pixels that have the right size."""
    return ((image.float() / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [32, 48, 64])  # at 48 and 64 the grid of positions is interpolated
@torch.no_grad()
def test_vilt_of_whole_images_is_transformers_own(tmp_path: Path, size: int) -> None:
    original = vilt()
    original.save_pretrained(tmp_path)
    mask = torch.ones(3, size, size, dtype=torch.long)
    given = {"input_ids": texts(), "attention_mask": (texts() != 0).long(), "pixel_values": pixel_values(images(size)), "pixel_mask": mask}
    ours = teacher(open_pretrained(tmp_path, ("image", "text")))({"image": images(size), "text": texts()})
    torch.testing.assert_close(ours.logits, original(**given).logits, atol=1e-4, rtol=0)


@torch.no_grad()
def test_bert_is_transformers_own(tmp_path: Path) -> None:
    original = bert()
    original.save_pretrained(tmp_path)
    ours = teacher(open_pretrained(tmp_path, ("text",)))({"text": texts()})
    torch.testing.assert_close(ours.logits, original(input_ids=texts(), attention_mask=(texts() != 0).long()).logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_image_classifier_is_transformers_own(tmp_path: Path) -> None:
    original = vit()
    original.save_pretrained(tmp_path)
    ours = teacher(open_pretrained(tmp_path, ("image",)))({"image": images()})
    torch.testing.assert_close(ours.logits, original(pixel_values=pixel_values(images())).logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_padding_is_the_tokenizers_own() -> None:
    body, text = bert(), texts()
    other = text.clone()
    other[text == 0] = 7
    other[text == 7] = 0
    body_other = bert()
    weight = body_other.bert.embeddings.word_embeddings.weight
    weight[[0, 7]] = weight[[7, 0]].clone()
    torch.testing.assert_close(teacher(body_other, padding=7)({"text": other}).logits, teacher(body)({"text": text}).logits)


@torch.no_grad()
def test_logits_are_those_of_the_datas_labels_in_its_order() -> None:
    body = bert()
    columns = label_columns(body, ["red", "no", "yes"], "here")
    assert columns == [2, 0, 1]
    every = teacher(body)({"text": texts()}).logits
    assert torch.equal(teacher(body, columns=columns)({"text": texts()}).logits, every[:, columns])


def test_label_in_other_case_is_the_models_where_that_leaves_no_doubt() -> None:
    body = bert()
    assert label_columns(body, ["Red", "NO", "yes"], "here") == [2, 0, 1]
    body.config.id2label[0] = "RED"  # now Red may be either
    with pytest.raises(DataError, match=r"labels are not the model's, such as \['Red'\]"):
        label_columns(body, ["Red", "yes"], "here")


def test_label_that_the_model_does_not_have_is_named() -> None:
    with pytest.raises(
        DataError, match=r"teacher here: 1 of the data's 2 labels are not the model's, such as \['green'\]; the model has \['no'"
    ):
        label_columns(bert(), ["red", "green"], "here")


@torch.no_grad()
def test_architecture_is_rebuilt_from_its_configuration(tmp_path: Path) -> None:
    original = vilt()
    original.config.save_pretrained(tmp_path)
    io = io_spec(image_size=32, text_length=10, vocabulary=40, classes=2)
    built = transformers_teacher(io, config_folder=str(tmp_path), columns=[3, 1], padding=0, mean=HALF, deviation=HALF).eval()
    kept = teacher(original, columns=[3, 1])
    built.load_state_dict(kept.state_dict())
    given = {"image": images(), "text": texts()}
    torch.testing.assert_close(built(given).logits, teacher(original, columns=[3, 1])(given).logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_model_saved_in_half_precision_runs_in_float32(tmp_path: Path) -> None:
    vilt().half().save_pretrained(tmp_path)
    body = open_pretrained(tmp_path, ("image", "text"))
    io = io_spec(image_size=32, text_length=10, vocabulary=40, classes=4)
    rebuilt = transformers_teacher(io, config_folder=str(tmp_path), columns=[0, 1, 2, 3], padding=0, mean=HALF, deviation=HALF)
    assert {p.dtype for model in (body, rebuilt) for p in model.parameters()} == {torch.float32}
    assert teacher(body)({"image": images(), "text": texts()}).logits.dtype == torch.float32


def test_weights_without_a_classifier_are_refused(tmp_path: Path) -> None:
    BertModel(bert().config).save_pretrained(tmp_path)
    with pytest.raises(
        DependencyError, match=r"the weights lack 2 of the model's parts, such as \['classifier.bias', 'classifier.weight'\]"
    ):
        open_pretrained(tmp_path, ("text",))


def test_model_of_another_task_is_refused(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="is no model that AutoModelForImageClassification reads, as the data's image ask"):
        open_pretrained(tmp_path, ("image",))


def damage(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"damaged")


def remove(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def reshape(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({**state, "classifier.bias": torch.zeros(7)}, folder / "model.safetensors", metadata={"format": "pt"})


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize("spoil", [damage, remove, reshape, break_config])
def test_spoilt_folder_is_named(tmp_path: Path, spoil: Any) -> None:
    bert().save_pretrained(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DependencyError, match=f"cannot load {tmp_path}"):
        open_pretrained(tmp_path, ("text",))


@pytest.mark.parametrize(
    ("body", "sizes", "named"),
    [
        (vit, {"image_size": 48, "text_length": None, "vocabulary": None}, r"image \[48, 48, 3\]"),
        (bert, {"image_size": None, "text_length": 13, "vocabulary": 40}, r"text \[13\]"),
        (bert, {"image_size": None, "text_length": 10, "vocabulary": 41}, r"text \[10\]"),  # a tokenizer with more tokens than the model
    ],
)
def test_inputs_that_the_model_cannot_read_are_named_with_their_sizes(body: Any, sizes: dict, named: str) -> None:
    with pytest.raises(RecipeError, match=f"teacher: here cannot read {named}: .*; set teacher.inputs to what it was trained with"):
        try_out(teacher(body()), io_spec(**sizes, classes=4), "here")


def test_inputs_that_the_model_reads_pass() -> None:
    try_out(teacher(vilt()), io_spec(image_size=64, text_length=12, vocabulary=40, classes=4), "here")
