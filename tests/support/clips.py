"""Tiny dual encoders as `save_pretrained` writes them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, CLIPConfig, CLIPModel, SiglipConfig, SiglipImageProcessor, SiglipModel

WORDS = ["a", "the", "cat", "dog", "big", "small", "old", "<start>", "<end>"]


def write_clip(folder: Path) -> CLIPModel:
    """A random CLIP in which the words cat and dog lie far apart, saved with its tokenizer.json."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "initializer_range": 0.1}
    text = {**small, "vocab_size": len(WORDS), "max_position_embeddings": 8, "bos_token_id": 7, "eos_token_id": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config={**small, "image_size": 16, "patch_size": 8}, projection_dim=12))
    with torch.no_grad():
        apart = model.text_model.embeddings.token_embedding.weight
        apart[2], apart[3] = 3 * torch.randn(16), 3 * torch.randn(16)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=[("<start>", 7), ("<end>", 8)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return model.eval()


def write_siglip(folder: Path) -> SiglipModel:
    """A random SigLIP, whose texts are filled to 10 tokens, saved with its image processor and a tokenizer without capitals or padding."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(WORDS), "max_position_embeddings": 10, "pad_token_id": 7}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config={**small, "image_size": 16, "patch_size": 8}))
    model.save_pretrained(folder)
    SiglipImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="a"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 8)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return model.eval()


def write_clap(folder: Path, **changes: object) -> ClapModel:
    """A random CLAP that hears two seconds at 8 kHz, saved with its feature extractor (`changes` to that) and tokenizer; token 1 is its padding."""
    torch.manual_seed(0)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": len(WORDS)}
    audio = {"spec_size": 64, "num_mel_bins": 16, "depths": [2, 1], "num_attention_heads": [2, 2], "window_size": 4}
    audio |= {"patch_embeds_hidden_size": 8, "hidden_size": 16, "num_hidden_layers": 2}
    text |= {"max_position_embeddings": 12, "pad_token_id": 1, "initializer_factor": 20.0}
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=12, initializer_factor=2.0))
    with torch.no_grad():  # as training leaves it: decibels less their mean
        norm = model.audio_model.audio_encoder.batch_norm
        norm.running_mean.fill_(-20), norm.running_var.fill_(400)
    model.save_pretrained(folder)
    hears = {"feature_size": 16, "sampling_rate": 8000, "hop_length": 80, "fft_window_size": 256, "max_length_s": 2, "frequency_max": 3500}
    ClapFeatureExtractor(**{**hears, "truncation": "rand_trunc", **changes}).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=[("<start>", 7), ("<end>", 8)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"pad_token": "the"}')
    return model.eval()
