"""The teacher stage where vectors are asked for: a folder's sentence encoder becomes the teacher as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sections import RECIPE
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel

from compress.context import Context
from compress.data.manifest import manifest
from compress.data.prepare import prepare
from compress.data.prepared import open_data
from compress.errors import RecipeError
from compress.models.saved import load_model
from compress.stages.teacher import load_teacher
from compress.store.artifacts import TorchModel

WORDS = ["[PAD]", "[UNK]", "red", "blue", "round", "square", "one", "two", "three", "four"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 10}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of texts, and a tiny encoder with its tokenizer.json as save_pretrained writes them."""
    folder = tmp_path_factory.mktemp("base")
    for split, count in (("train", 8), ("validation", 4), ("test", 4)):
        rows = [f"{colour} {number},0 1,{colour}" for number in WORDS[6 : 6 + count // 2] for colour in ("red", "blue")]
        (folder / f"{split}.csv").write_text("\n".join(["text,numbers,label", *rows]) + "\n")
    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES, vocab_size=len(WORDS), initializer_range=0.3)).save_pretrained(folder / "encoder")
    tokenizer = Tokenizer(models.WordPiece({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "encoder" / "tokenizer.json"))
    return folder


def stage(base: Path, out: Path, *, size: int, inputs: dict[str, dict[str, int]]) -> TorchModel:
    """What the stage leaves in `out`, as the next stage gets it."""
    data = {"source": "manifest", "options": {s: f"{s}.csv" for s in ("train", "validation", "test")}, "inputs": inputs}
    given = {"data": {**data, "task": "embedding", "task_options": {"size": size}}, "teacher": {"source": "folder", "path": "encoder"}}
    recipe = RECIPE.model_validate({"name": "tiny", **given, "student": {"encoders": {m: {} for m in inputs}}})
    prepare(manifest(base=base, **recipe.data.options), recipe.data, out / "data", seed=0, say=lambda line: None)
    (out / "teacher").mkdir()
    made = load_teacher(recipe, None, open_data(out / "data"), ctx=Context(out / "teacher", base=base, say=lambda line: None))
    return TorchModel(path=out / "teacher", io_spec=made.io_spec, metrics=made.metrics, details=made.details)


@torch.no_grad()
def test_the_encoders_own_vectors_are_the_answers(base: Path, tmp_path: Path) -> None:
    teacher = stage(base, tmp_path, size=16, inputs={"text": {"length": 4}})
    assert teacher.path and teacher.details["architecture"] == "BertModel" and teacher.io_spec.outputs[0].unit
    given = torch.tensor([[2, 6, 0, 0]])
    hidden = BertModel.from_pretrained(base / "encoder").eval()(given[:, :2]).last_hidden_state[0].mean(0)
    torch.testing.assert_close(load_model(teacher.path)({"text": given}).logits[0], hidden / hidden.norm(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "inputs", "message"),
    [
        (8, {"text": {"length": 4}}, r"data.task_options.size: 8, but .*encoder gives vectors of 16 numbers; set it to that"),
        (
            16,
            {"text": {"length": 4}, "numbers": {"size": 2}},
            "vectors are made of texts alone, and the data has text and numbers; take fit",
        ),
    ],
)
def test_vectors_that_a_folder_cannot_give_are_told(base: Path, tmp_path: Path, size: int, inputs: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        stage(base, tmp_path, size=size, inputs=inputs)
