"""Dual encoders with both towers, against transformers' own forward of a tiny random CLIP, SigLIP and CLAP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips import write_clap, write_clip, write_siglip
from ports import io_spec
from transformers import ClapConfig, ClapFeatureExtractor, SiglipImageProcessor

from compress.errors import RecipeError
from compress.graphs.trace import run_model
from compress.io_spec import IOSpec, Port
from compress.models.audio_processors import build_front, require_audio_processor
from compress.models.dual import dual_config, dual_tokenizer, open_dual
from compress.models.processors import read_processor
from compress.models.saved import load_model, save_model
from compress.stages.export import export_module, save

COLOURS: dict[str, Any] = {"mean": [0.48, 0.46, 0.41], "deviation": [0.27, 0.26, 0.28]}


@torch.no_grad()
def test_cosines_are_those_of_transformers_and_stay_when_saved(tmp_path: Path) -> None:
    theirs, (ours, config) = write_clip(tmp_path / "clip"), open_dual(tmp_path / "clip", **COLOURS)
    images, texts = (
        torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8),
        torch.tensor([[7, 1, 2, 8, 8], [7, 3, 8, 8, 8], [7, 4, 5, 1, 8]]),
    )
    pixels = (images / 255 - torch.tensor(COLOURS["mean"])) / torch.tensor(COLOURS["deviation"])
    expected = theirs(input_ids=texts, pixel_values=pixels.permute(0, 3, 1, 2)).logits_per_image / theirs.logit_scale.exp()
    vectors = ours({"image": images, "text": texts}).logits
    torch.testing.assert_close(vectors[:, :12] @ vectors[:, 12:].T, expected, rtol=1e-4, atol=1e-5)
    config.save_pretrained(tmp_path / "saved" / "config")
    io = IOSpec(io_spec(image_size=16, classes=2).inputs, (Port("logits", "float32", (24,), unit=True, each=2),))
    save_model(ours, tmp_path / "saved", name="dual_teacher", options={"config_folder": "config", **COLOURS}, io=io)
    torch.testing.assert_close(load_model(tmp_path / "saved")({"image": images, "text": texts}).logits, vectors)
    shared = ours({"image": images[:1], "text": texts}, {"image": torch.zeros(3, dtype=torch.int64), "text": torch.arange(3)}).logits
    torch.testing.assert_close(shared[:, :12], vectors[:1, :12].expand(3, -1))


def sounds() -> tuple[list[np.ndarray], np.ndarray]:
    """Three sounds of 1.5, 0.3 and 2 seconds at 8 kHz, int16; and the same with silence behind (3, T)."""
    draw, time = np.random.default_rng(0), np.arange(16000) / 8000
    made = [np.sin(2 * np.pi * tone * time) * 8000 + draw.normal(size=16000) * 500 + 50 for tone in (300, 900, 2000)]
    whole = [wave[:count].astype(np.int16) for wave, count in zip(made, (12000, 2400, 16000), strict=True)]
    return whole, np.stack([np.pad(wave, (0, 16000 - len(wave))) for wave in whole])


@torch.no_grad()
def test_siglip_gives_what_transformers_gives_for_pictures_and_texts(tmp_path: Path) -> None:
    theirs, processor = write_siglip(tmp_path), read_processor(tmp_path)
    padding = int((dual_tokenizer(tmp_path).padding or {})["pad_id"])
    assert padding == 7  # of the configuration, where neither tokenizer file names it
    ours, config = open_dual(tmp_path, mean=processor.mean, deviation=processor.deviation, padding=padding)
    images, texts = (
        torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8),
        torch.tensor([[0, 2, 8, 7, 7], [1, 3, 4, 8, 7], [5, 8, 7, 7, 7]]),
    )
    vectors = ours({"image": images, "text": texts}).logits
    pixels = SiglipImageProcessor.from_pretrained(tmp_path)(list(images.numpy()), return_tensors="pt")["pixel_values"]
    filled = torch.nn.functional.pad(texts, (0, 5), value=7)  # padding="max_length", as its authors trained it
    seen, read = theirs.get_image_features(pixels).pooler_output, theirs.get_text_features(filled).pooler_output
    expected = torch.cat([torch.nn.functional.normalize(part) for part in (seen, read)], 1)
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-5)
    io = IOSpec(
        io_spec(image_size=16, text_length=5, vocabulary=9, classes=2).inputs, (Port("logits", "float32", (32,), unit=True, each=2),)
    )
    inputs = {"image": images.numpy(), "text": texts.numpy()}
    graph = save(export_module(ours, io, 20), tmp_path / "teacher.onnx")
    np.testing.assert_allclose(run_model(graph, inputs)["logits"], expected.numpy(), atol=1e-4)


@torch.no_grad()
def test_clap_gives_what_transformers_gives_for_sounds_and_texts(tmp_path: Path) -> None:
    theirs, (whole, padded) = write_clap(tmp_path), sounds()
    padding = int((dual_tokenizer(tmp_path).padding or {})["pad_id"])
    assert padding == 1  # of the token that tokenizer_config.json names
    sound = require_audio_processor(tmp_path, 8000, seconds=2)
    extractor = ClapFeatureExtractor.from_pretrained(tmp_path)
    heard = extractor([wave / 32768 for wave in whole], sampling_rate=8000, return_tensors="pt")["input_features"].float()
    torch.testing.assert_close(build_front(sound)(torch.from_numpy(padded)), heard, rtol=0, atol=5e-3)  # decibels
    ours, _ = open_dual(tmp_path, mean=[0.0] * 3, deviation=[1.0] * 3, sound=sound, padding=padding)
    texts = torch.tensor([[7, 0, 2, 8, 1], [7, 3, 8, 1, 1], [7, 4, 5, 6, 8]])
    vectors = ours({"audio": torch.from_numpy(padded), "text": texts}).logits
    read = theirs.get_text_features(texts, attention_mask=(texts != 1).long()).pooler_output
    expected = torch.cat([theirs.get_audio_features(heard).pooler_output, read], 1)
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-4)
    assert (expected[0] - expected[1]).abs().max() > 0.01  # the vectors are no constants
    text = io_spec(text_length=5, vocabulary=9, classes=2).inputs
    audio = Port("audio", "int32", (16000,), -32768, 32767, reading={"rate": 8000})
    io = IOSpec((audio, *text), (Port("logits", "float32", (24,), unit=True, each=2),))
    graph = save(export_module(ours, io, 20), tmp_path / "teacher.onnx")
    found = run_model(graph, {"audio": padded.astype(np.int32), "text": texts.numpy()})["logits"]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)


def test_what_cannot_be_followed_is_refused_by_name(tmp_path: Path) -> None:
    write_clap(tmp_path, truncation="fusion")
    with pytest.raises(RecipeError, match="truncation fusion and padding repeatpad; of CLAP those are built that have rand_trunc"):
        require_audio_processor(tmp_path, 8000)
    write_clap(tmp_path)
    with pytest.raises(RecipeError, match="hears 2 s, not 2.5; set teacher.inputs.audio.seconds to that"):
        require_audio_processor(tmp_path, 8000, seconds=2.5)
    ClapConfig(audio_config={"enable_fusion": True}).save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="a CLAP that fuses parts of long sounds"):
        dual_config(tmp_path)
    write_siglip(tmp_path / "siglip")
    tokenizer = dual_tokenizer(tmp_path / "siglip")
    tokenizer.add_tokens(["A", "Cat"])
    tokenizer.save(str(tmp_path / "siglip" / "tokenizer.json"))
    dual_tokenizer(tmp_path / "siglip")  # its normalizer sees to capitals
    write_clip(tmp_path / "clip")
    (tmp_path / "siglip" / "tokenizer.json").write_bytes((tmp_path / "clip" / "tokenizer.json").read_bytes().replace(b'"big"', b'"Cat"'))
    with pytest.raises(RecipeError, match="keeps capitals, which SigLIP was not trained with"):
        dual_tokenizer(tmp_path / "siglip")
