"""What a teacher's own feature extractor makes of a sound, done in the graph: against transformers' own, and as a whole teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from compress.errors import DependencyError, RecipeError
from compress.graphs.trace import run_model
from compress.io_spec import IOSpec, Port
from compress.models.audio_processors import build_front, read_audio_processor, require_audio_processor
from compress.models.transformers_model import TransformersTeacher, open_pretrained, try_out
from compress.stages.export import export_module, save

LABELS = ["yes", "no", "stop"]
NAMES = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "initializer_range": 0.3}
PORT = Port("audio", "int32", (8000,), -32768, 32767, reading={"rate": 16000})
IO = IOSpec((PORT,), (Port("logits", "float32", (3,)),))


def ast() -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    model = ASTForAudioClassification(ASTConfig(**SIZES, **NAMES, max_length=60, num_mel_bins=32))
    return model.eval(), ASTFeatureExtractor(max_length=60, num_mel_bins=32)


def wav2vec2() -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    convolutions = {"conv_dim": (16, 16), "conv_stride": (10, 8), "conv_kernel": (20, 16), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16}
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**SIZES, **NAMES, **convolutions, **positions))
    return model.eval(), Wav2Vec2FeatureExtractor()


MODELS = pytest.mark.parametrize("make", [ast, wav2vec2])


def masked() -> tuple[nn.Module, Any]:
    """The same model; its extractor looks at the sound alone, not at the silence behind it."""
    return wav2vec2()[0], Wav2Vec2FeatureExtractor(return_attention_mask=True)


def sounds(count: int = 3, length: int = 8000) -> np.ndarray:
    """(N, T) int16; the second is short, so that zeros stand behind it."""
    random = np.random.default_rng(0)
    samples = random.normal(size=(count, length)) * 10 ** random.uniform(1, 4, (count, 1)) + 50
    samples[1, 5000:] = 0
    return samples.clip(-32768, 32767).astype(np.int16)


def extracted(extractor: Any, samples: np.ndarray) -> torch.Tensor:
    """What transformers makes of each sound, without the zeros that stand for silence behind its end, padded by its own means."""
    rows = [row[: np.flatnonzero(row)[-1] + 1] / np.float32(32768) for row in samples]
    if isinstance(extractor, ASTFeatureExtractor):
        return torch.cat([extractor(row, sampling_rate=16000, return_tensors="pt")["input_values"] for row in samples / np.float32(32768)])
    return extractor(rows, sampling_rate=16000, padding="max_length", max_length=samples.shape[1], return_tensors="pt")["input_values"]


@pytest.mark.parametrize("make", [ast, wav2vec2, masked])
def test_front_gives_what_transformers_extracts(make: Any, tmp_path: Path) -> None:
    _, extractor = make()
    extractor.save_pretrained(tmp_path)
    got = build_front(read_audio_processor(tmp_path))(torch.from_numpy(sounds()))
    expected = extracted(extractor, sounds())
    assert got.shape == expected.shape
    torch.testing.assert_close(got, expected.float(), atol=1e-3, rtol=0)


@MODELS
@torch.no_grad()
def test_teacher_from_a_folder_answers_as_transformers_does_and_can_be_exported(make: Any, tmp_path: Path) -> None:
    model, extractor = make()
    model.save_pretrained(tmp_path), extractor.save_pretrained(tmp_path)
    sound = require_audio_processor(tmp_path, 16000)
    body = open_pretrained(tmp_path, ("audio",))
    teacher = TransformersTeacher(body, columns=[2, 0, 1], padding=0, mean=[0.5] * 3, deviation=[0.5] * 3, sound=sound).eval()
    try_out(teacher, IO, "here")
    samples = sounds()
    ours = teacher({"audio": torch.from_numpy(samples)}).logits
    theirs = model(extracted(extractor, samples).float()).logits[:, [2, 0, 1]]
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)
    graph = save(export_module(teacher, IO, 20), tmp_path / "teacher.onnx")
    np.testing.assert_allclose(run_model(graph, {"audio": samples.astype(np.int32)})["logits"], ours.numpy(), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("mask", [False, True])
def test_silence_stays_finite(mask: bool) -> None:
    front = build_front({"kind": "Wav2Vec2", "sampling_rate": 16000, "do_normalize": True, "return_attention_mask": mask})
    assert not front(torch.zeros(1, 100, dtype=torch.int16)).any()


def test_waveform_is_left_as_it_is_where_nothing_is_normalised() -> None:
    front = build_front({"kind": "Wav2Vec2", "sampling_rate": 16000, "do_normalize": False, "return_attention_mask": False})
    assert front(torch.tensor([[16384, -32768]], dtype=torch.int16)).tolist() == [[0.5, -1.0]]


def test_unknown_extractor_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    assert read_audio_processor(tmp_path) == {}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"feature_extractor_type": "EncodecFeatureExtractor"}))
    with pytest.raises(RecipeError, match="how a EncodecFeatureExtractor hears is not known here; known are Wav2Vec2, AST"):
        read_audio_processor(tmp_path)


def test_missing_extractor_and_another_rate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="has no preprocessor_config.json; save its feature extractor there"):
        require_audio_processor(tmp_path, 16000)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"feature_extractor_type": "ASTFeatureExtractor"}))
    with pytest.raises(RecipeError, match="hears 16,000 samples a second, not 8,000"):
        require_audio_processor(tmp_path, 8000)
