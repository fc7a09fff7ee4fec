"""Generative teachers: labels are scored as a loop that reads everything anew for every token scores them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from compress.errors import DependencyError, RecipeError
from compress.models.generative import Scorer, open_scorer
from compress.recipe.cost import CHUNK, passes

WORDS = ["[UNK]", "[PAD]", "<s>", "</s>", "<image>", "is", "it", "glad", "very", "sad", "or", "answer", ":", "the", "sun"]
LABELS = ["glad", "very sad", "very very glad", "sad"]
TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
CHAT = "{% for m in messages %}<s> {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}</s> answer : {% endif %}"


def write_tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    given = {"unk_token": "[UNK]", "pad_token": "[PAD]", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, extra_special_tokens={"image_token": "<image>"}, **given)


def write_llm(folder: Path, *, chat: bool = False) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(**TEXT, vocab_size=len(WORDS), max_position_embeddings=64, initializer_range=0.5)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer = write_tokenizer()
    tokenizer.chat_template = CHAT if chat else None
    tokenizer.save_pretrained(folder)
    return folder


def write_vlm(folder: Path) -> Path:
    torch.manual_seed(0)
    text = LlamaConfig(**TEXT, vocab_size=len(WORDS), max_position_embeddings=64, initializer_range=0.5)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8, initializer_range=0.5
    )
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_index=WORDS.index("<image>"), vision_feature_layer=-1)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    pixels = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    LlavaProcessor(
        pixels, write_tokenizer(), patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    ).save_pretrained(folder)
    return folder


@torch.no_grad()
def slow(scorer: Scorer, prompt: str, image: np.ndarray | None = None) -> list[float]:
    """Everything before each token of each label, read from the start: no cache, one label at a time."""
    found = []
    for ids in scorer.labels:
        inputs, log_p = scorer.encode(prompt, image), []
        for token in ids:
            logits = scorer.model(**inputs, use_cache=False).logits[0, -1]
            log_p.append(float(logits.log_softmax(0)[token]))
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[token]])], 1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            if "mm_token_type_ids" in inputs:
                inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros(1, 1, dtype=torch.long)], 1)
        found.append(sum(log_p) / len(log_p))
    return found


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return open_scorer(write_llm(tmp_path_factory.mktemp("llm")), LABELS, sees=False)


def test_labels_of_several_lengths_score_as_token_by_token(llm: Scorer) -> None:
    prompt = "is the sun glad or sad : answer :"
    assert [len(ids) for ids in llm.labels] == [1, 2, 3, 1]
    np.testing.assert_allclose(llm.score(prompt), slow(llm, prompt), atol=1e-5)
    assert not np.allclose(llm.score(prompt), llm.score("is it sad : answer :"), atol=1e-3)


def test_labels_in_chunks_score_alike(llm: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = llm.score("is it glad :")
    monkeypatch.setattr("compress.models.generative.CHUNK", 3)
    np.testing.assert_allclose(llm.score("is it glad :"), whole, atol=1e-6)


def test_a_model_with_a_chat_template_is_asked_through_it(tmp_path: Path) -> None:
    scorer = open_scorer(write_llm(tmp_path, chat=True), LABELS, sees=False)
    read = scorer.encode("is it glad")["input_ids"][0].tolist()
    assert [WORDS[i] for i in read] == ["<s>", "is", "it", "glad", "</s>", "answer", ":"]
    np.testing.assert_allclose(scorer.score("is it glad"), slow(scorer, "is it glad"), atol=1e-5)


def test_a_model_that_sees_scores_as_token_by_token_and_by_the_image(tmp_path: Path) -> None:
    scorer = open_scorer(write_vlm(tmp_path), LABELS, sees=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    scores = [scorer.score("is it glad :", image) for image in images]
    for image, found in zip(images, scores, strict=True):
        np.testing.assert_allclose(found, slow(scorer, "is it glad :", image), atol=1e-5)
    assert not np.allclose(*scores, atol=1e-4)


def test_labels_that_cannot_be_spelt_or_told_apart_are_refused_by_name(llm: Scorer) -> None:
    with pytest.raises(
        RecipeError, match=r"teacher.labels: 2 of 3 labels cannot be spelt .* such as \['merry', 'very blue'\]; give them other words"
    ):
        llm.spell(["glad", "merry", "very blue"])
    with pytest.raises(RecipeError, match=r"\['glad '\] are spelt as other labels are"):
        llm.spell(["glad", "glad "])


def test_a_folder_without_a_model_says_what_it_needs(tmp_path: Path) -> None:
    write_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(DependencyError, match="has no config.json; give the folder that save_pretrained wrote"):
        open_scorer(tmp_path, LABELS, sees=False)


def test_cost_counts_each_prompt_once_and_labels_in_chunks() -> None:
    assert passes(10, CHUNK) == 20 and passes(10, CHUNK + 1) == 30
