"""Sentence encoders saved here: read back, pooled as their folder says, and the same vectors as transformers itself gives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertModel

from compress.errors import DependencyError, RecipeError
from compress.io_spec import IOSpec, Port
from compress.models.saved import load_model, save_model
from compress.models.sentence import SentenceTeacher, open_sentences, read_pooling

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 40}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT as save_pretrained writes it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    BertModel(BertConfig(**SIZES, max_position_embeddings=12, initializer_range=0.3)).save_pretrained(folder)
    return folder


def texts() -> Tensor:
    text = torch.randint(1, 40, (3, 10), generator=torch.Generator().manual_seed(0))
    text[1, 4:] = 0
    return text


@pytest.mark.parametrize("pooling", ["mean", "first"])
@torch.no_grad()
def test_vectors_are_those_of_transformers_without_the_padding(encoder: Path, pooling: str) -> None:
    given = texts()
    vectors = SentenceTeacher(open_sentences(encoder), padding=0, pooling=pooling)({"text": given}).logits
    body = BertModel.from_pretrained(encoder).eval()
    for row, length in enumerate([10, 4, 10]):
        hidden = body(input_ids=given[row : row + 1, :length]).last_hidden_state[0]  # (T, D)
        expected = hidden[0] if pooling == "first" else hidden.mean(0)
        torch.testing.assert_close(vectors[row], expected / expected.norm(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_teacher_is_saved_and_read_back(encoder: Path, tmp_path: Path) -> None:
    body = open_sentences(encoder)
    body.config.save_pretrained(tmp_path / "config")
    model, options = SentenceTeacher(body, padding=0, pooling="mean").eval(), {"padding": 0, "pooling": "mean", "config_folder": "config"}
    io = IOSpec((Port("text", "int64", (10,), 0, 39),), (Port("logits", "float32", (16,), unit=True),))
    save_model(model, tmp_path, name="sentence_teacher", options=options, io=io)
    torch.testing.assert_close(load_model(tmp_path)({"text": texts()}).logits, model({"text": texts()}).logits)


def test_weights_that_lack_a_part_are_refused(encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "query" not in key and not key.startswith("pooler.")}
    save_file(kept, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DependencyError, match="the weights lack 2 of the encoder's parts, such as .*query"):
        open_sentences(tmp_path / "model")


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="cannot load .*a folder needs config.json and model.safetensors"):
        open_sentences(tmp_path)


def write_pooling(folder: Path, **modes: bool) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **modes}))


@pytest.mark.parametrize(
    ("modes", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
    ],
)
def test_pooling_is_as_the_folder_says(tmp_path: Path, modes: dict[str, bool], pooling: str) -> None:
    assert read_pooling(tmp_path) == "mean"
    write_pooling(tmp_path, **modes)
    assert read_pooling(tmp_path) == pooling


def test_vectors_that_are_made_otherwise_are_refused(tmp_path: Path) -> None:
    write_pooling(tmp_path, pooling_mode_max_tokens=True)
    with pytest.raises(RecipeError, match="asks for pooling_mode_max_tokens; there are pooling_mode_mean_tokens, pooling_mode_cls_token"):
        read_pooling(tmp_path)
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Transformer"}, {"type": "a.b.Dense"}]))
    with pytest.raises(RecipeError, match="a vector is made by Dense too, which is not built"):
        read_pooling(tmp_path)
