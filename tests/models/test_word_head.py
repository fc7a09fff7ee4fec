"""States of words: the first token of each, zeros behind the last, and a head that answers for each word alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from compress.device.errors import DeviceError
from compress.device.modalities.text import encode_words, open_tokenizer
from compress.errors import RecipeError
from compress.io_spec import IOSpec, Port
from compress.modalities.tokens import learn_vocabulary, tokenize
from compress.models.student import student
from compress.models.text import bag, first_tokens
from compress.models.transformers_model import TransformersTeacher, open_pretrained
from compress.models.word_head import gather_words

TEXT = Port("text", "int64", (6,), -19, 19, reading={"words": True})
IO = IOSpec((TEXT,), (Port("logits", "float32", (4 * 3,), each=4),))
SMALL = {"text": {"model": "distilbert", "options": {"layers": 1, "width": 8, "heads": 2, "feedforward": 16}}}
IDS = torch.tensor([[2, -5, 6, -7, 3, 0], [2, -8, -9, -10, -11, -12]])  # 5 6 and 7 are words, negative where they begin


def test_first_token_stands_for_its_word() -> None:
    x = torch.arange(12.0).view(2, 6, 1)
    assert first_tokens(x, IDS < 0)[:, :, 0].tolist() == [[1, 3, 0, 0, 0, 0], [7, 8, 9, 10, 11, 0]]
    assert gather_words(first_tokens(x, IDS < 0), 2).tolist() == [[1, 3], [7, 8]]
    assert gather_words(first_tokens(x, IDS < 0), 7)[0].tolist() == [1, 3, 0, 0, 0, 0, 0]


@torch.no_grad()
def test_student_answers_for_each_word_and_with_zeros_where_there_is_none() -> None:
    torch.manual_seed(0)
    outputs = student(IO, encoders=SMALL, head_width=8).eval()({"text": IDS})
    by_word = outputs.logits.view(2, 4, 3)
    assert (by_word != 0).any(2).tolist() == [[True, True, False, False], [True] * 4] and outputs.embedding.shape == (2, 8)


@torch.no_grad()
def test_words_that_tokens_have_no_room_for_are_not_answered_for() -> None:
    wide = IOSpec((TEXT,), (Port("logits", "float32", (21,), each=7),))
    by_word = student(wide, encoders=SMALL, head_width=8).eval()({"text": IDS}).logits.view(2, 7, 3)
    assert (by_word != 0).any(2).sum(1).tolist() == [2, 5]


def test_words_and_task_must_agree() -> None:
    with pytest.raises(RecipeError, match="data.inputs.text.words: only a task that has an answer for each word reads them"):
        student(IOSpec((TEXT,), (Port("logits", "float32", (3,)),)), encoders=SMALL, head_width=8)
    plain = Port("text", "int64", (6,), 0, 19)
    with pytest.raises(RecipeError, match="needs an encoder that tells words apart"):
        student(IOSpec((plain,), IO.outputs), encoders=SMALL, head_width=8)
    with pytest.raises(RecipeError, match="a bag has no words of its own"):
        bag(TEXT)


def test_ids_are_negative_where_a_word_begins(tmp_path: Path) -> None:
    learn_vocabulary(["ab cd u.n."], tmp_path / "tokenizer.json")
    tokenizer = open_tokenizer(tmp_path / "tokenizer.json", length=12)
    ids = encode_words(tokenizer, "ab u.n. \x00 cd")[0]
    tokens = [("-" if number < 0 else "") + tokenizer.id_to_token(abs(int(number))) for number in ids]
    assert tokens == ["[CLS]", "-ab", "-u", ".", "n", ".", "-[UNK]", "-cd", "[SEP]", "[PAD]", "[PAD]", "[PAD]"]
    assert np.array_equal(tokenize(tmp_path / "tokenizer.json", ["ab u.n. \x00 cd"], 12, words=True)[0], ids)
    with pytest.raises(DeviceError, match="the question is empty"):
        encode_words(tokenizer, " ")


@torch.no_grad()
def test_transformers_teacher_answers_for_the_first_token_of_each_word(tmp_path: Path) -> None:
    names = {0: "B-PER", 1: "O", 2: "I-PER"}
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
    torch.manual_seed(0)
    theirs = transformers.BertForTokenClassification(transformers.BertConfig(**sizes, id2label=names)).eval()
    theirs.save_pretrained(tmp_path)
    columns = [1, 0, 2]  # O, B-PER, I-PER
    body = open_pretrained(tmp_path, ("text",), words=4)
    ours = TransformersTeacher(body, columns=columns, padding=0, mean=[0.0] * 3, deviation=[1.0] * 3, words=4).eval()
    logits = ours({"text": IDS}).logits.view(2, 4, 3)
    expected = theirs(input_ids=IDS.abs(), attention_mask=(IDS != 0).long()).logits[:, :, columns]
    torch.testing.assert_close(logits[0, :2], expected[0, [1, 3]])
    torch.testing.assert_close(logits[1], expected[1, 1:5])
    assert not logits[0, 2:].any()
