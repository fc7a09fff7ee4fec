"""A tiny dual encoder as `save_pretrained` writes it."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel

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
