"""Dual encoders as classifiers, against transformers' own forward of a tiny random CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from clips import write_clap, write_siglip
from ports import io_spec
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, CLIPConfig, CLIPModel

from compress.errors import DependencyError, RecipeError
from compress.io_spec import IOSpec, Port
from compress.models.audio_processors import build_front, read_audio_processor
from compress.models.dual import end_token
from compress.models.saved import load_model, save_model
from compress.models.zero_shot import open_zero_shot

WORDS = ["a", "photo", "of", "cat", "dog", "big", "<start>", "<end>"]  # the end is the highest token, as CLIP's is
PROMPTS = [["a photo of a cat", "a cat"], ["a photo of a big dog", "a big dog"]]
COLOURS: dict[str, Any] = {"mean": [0.48, 0.46, 0.41], "deviation": [0.27, 0.26, 0.28]}


@pytest.fixture(params=[2, 7], ids=["legacy end", "end"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A saved CLIP of one layer a tower, with its tokenizer; old configurations say that a text ends in token 2 and mean the highest one."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "initializer_range": 0.5}
    text = {**small, "vocab_size": len(WORDS), "max_position_embeddings": 10, "bos_token_id": 6, "eos_token_id": request.param}
    vision = {**small, "image_size": 16, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(tmp_path)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<start>", 6), ("<end>", 7)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def reference(folder: Path) -> tuple[CLIPModel, torch.Tensor]:
    """transformers' model, and its vector of each label: prompt by prompt, without padding."""
    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    labels = []
    for some in PROMPTS:
        vectors = [model.get_text_features(torch.tensor([tokenizer.encode(prompt).ids])).pooler_output[0] for prompt in some]
        mean = torch.stack([vector / vector.norm() for vector in vectors]).mean(0)
        labels.append(mean / mean.norm())
    return model, torch.stack(labels)


@torch.no_grad()
def test_images_are_compared_with_prompts_as_transformers_does(folder: Path, tmp_path: Path) -> None:
    io = io_spec(image_size=16, classes=2)
    (ours, config), (model, labels) = open_zero_shot(folder, io, PROMPTS, **COLOURS), reference(folder)
    images = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    pixels = (images / 255 - torch.tensor(COLOURS["mean"])) / torch.tensor(COLOURS["deviation"])
    seen = model.get_image_features(pixels.permute(0, 3, 1, 2)).pooler_output
    expected = model.logit_scale.exp() * (seen / seen.norm(dim=1, keepdim=True)) @ labels.T
    found = ours({"image": images})
    torch.testing.assert_close(found.logits, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.embedding.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(ours.output(found.embedding), found.logits)  # so a student may end in this layer

    config.save_pretrained(tmp_path / "config")
    save_model(ours, tmp_path, name="zero_shot", options={"config_folder": "config", "width": 12, **COLOURS}, io=io)
    torch.testing.assert_close(load_model(tmp_path)({"image": images}).logits, found.logits)
    assert not any("text" in name for name, _ in ours.named_parameters())  # the other tower is gone


@torch.no_grad()
def test_one_prompt_a_label_is_what_clip_itself_answers(folder: Path) -> None:
    alone = [some[:1] for some in PROMPTS]
    ours, _ = open_zero_shot(folder, io_spec(image_size=16, classes=2), alone, mean=[0.0] * 3, deviation=[1.0] * 3)
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    ids = torch.tensor([[6, 0, 1, 2, 0, 3, 7, 7], [6, 0, 1, 2, 0, 5, 4, 7]])  # by hand; the first one is filled with its end
    theirs = CLIPModel.from_pretrained(folder).eval()(input_ids=ids, pixel_values=(images / 255).permute(0, 3, 1, 2))
    torch.testing.assert_close(ours({"image": images}).logits, theirs.logits_per_image, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_texts_are_compared_with_prompts_whatever_stands_behind_their_end(folder: Path) -> None:
    (ours, _), (model, labels) = (
        open_zero_shot(folder, io_spec(text_length=6, vocabulary=8, classes=2), PROMPTS, **COLOURS),
        reference(folder),
    )
    filled, bare = torch.tensor([[6, 5, 4, 7, 7, 7]]), torch.tensor([[6, 5, 4, 7]])
    seen = model.get_text_features(bare).pooler_output
    expected = model.logit_scale.exp() * (seen / seen.norm(dim=1, keepdim=True)) @ labels.T
    torch.testing.assert_close(ours({"text": filled}).logits, expected, rtol=1e-4, atol=1e-4)
    assert end_token(model.config, Tokenizer.from_file(str(folder / "tokenizer.json"))) == 7


def test_what_is_no_dual_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="answers to one input alone, not to image and text"):
        open_zero_shot(folder, io_spec(image_size=16, text_length=6, vocabulary=8, classes=2), PROMPTS, **COLOURS)
    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(RecipeError, match="a model of type bert; of dual encoders those of type clip, siglip, clap are built"):
        open_zero_shot(tmp_path / "bert", io_spec(image_size=16, classes=2), PROMPTS, **COLOURS)
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(DependencyError, match="cannot load"):
        open_zero_shot(folder, io_spec(image_size=16, classes=2), PROMPTS, **COLOURS)


@torch.no_grad()
def test_siglip_and_clap_compare_with_prompts_as_transformers_does(tmp_path: Path) -> None:
    prompts, unit = [["a cat", "old cat"], ["a big dog"]], torch.nn.functional.normalize
    siglip = write_siglip(tmp_path / "siglip")
    ids = [torch.tensor([[*words, 8] + [7] * (9 - len(words))]) for words in ([0, 2], [6, 2], [0, 4, 3])]
    read = [unit(siglip.get_text_features(one).pooler_output) for one in ids]
    labels = torch.cat([unit((read[0] + read[1]) / 2), read[2]])
    images = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    ours, _ = open_zero_shot(
        tmp_path / "siglip", io_spec(image_size=16, classes=2), prompts, mean=[0.5] * 3, deviation=[0.5] * 3, padding=7
    )
    seen = unit(siglip.get_image_features((images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5).pooler_output)
    torch.testing.assert_close(ours({"image": images}).logits, siglip.logit_scale.exp() * seen @ labels.T, rtol=0, atol=1e-5)

    clap, sound = write_clap(tmp_path / "clap"), read_audio_processor(tmp_path / "clap")
    read = [clap.get_text_features(torch.tensor([[7, *words, 8]])).pooler_output for words in ([0, 2], [6, 2], [0, 4, 3])]
    labels = torch.cat([unit((read[0] + read[1]) / 2), read[2]])
    samples = torch.randint(-9999, 9999, (2, 16000), dtype=torch.int16)
    io = IOSpec((Port("audio", "int32", (16000,), -32768, 32767, reading={"rate": 8000}),), (Port("logits", "float32", (2,)),))
    ours, config = open_zero_shot(tmp_path / "clap", io, prompts, mean=[0.0] * 3, deviation=[1.0] * 3, sound=sound, padding=1)
    heard = clap.get_audio_features(build_front(sound)(samples)).pooler_output
    found = ours({"audio": samples}).logits
    torch.testing.assert_close(found, clap.logit_scale_a.exp() * heard @ labels.T, rtol=0, atol=1e-4)
    with pytest.raises(RecipeError, match="a model of type clap reads audio and text, not image"):
        open_zero_shot(tmp_path / "clap", io_spec(image_size=16, classes=2), prompts, mean=[0.0] * 3, deviation=[1.0] * 3)
    config.save_pretrained(tmp_path / "config")
    options = {"config_folder": "config", "width": 12, "mean": [0.0] * 3, "deviation": [1.0] * 3, "sound": sound, "padding": 1}
    save_model(ours, tmp_path, name="zero_shot", options=options, io=io)
    torch.testing.assert_close(load_model(tmp_path)({"audio": samples}).logits, found)
