"""The proof of the house: a modality that the program does not know comes in two files, and the chain runs on it beside two others."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.device.manifest import read_manifest, verify_folder
from compress.recipe.grammar import load_recipe

TRAINING = '''"""Readings of a motion sensor: a plugin that brings a modality."""

from compress.modalities.modality import Modality

raise_when_run = open({marker!r}, "a").close()


class Motion(Modality):
    """A cell is a string of numbers; a model reads float32 readings (T, 2)."""

    words = {{
        "input": {{"steps": {{"type": "int", "ge": 1, "le": 99, "description": "Readings of two axes a row has."}}}},
        "augment": {{"reverse": {{"type": "bool", "default": False, "description": "Views may run backwards."}}}},
        "student": {{}},
    }}
    student = "pool"
    blank = "no motion"
    device = "motion_reader.py"

    def column(self, column, folder, place):
        from compress.modalities.cells import text_column

        return text_column(column, place)

    def store(self, inputs, files, *, folder, threads):
        import numpy as np

        failures = {{}}
        for file, words in files.items():
            rows = np.zeros((len(inputs), words.steps, 2), np.float32)
            for index in range(len(inputs)):
                try:
                    rows[index] = np.array(inputs.value(index).split(), np.float32).reshape(words.steps, 2)
                except ValueError as error:
                    failures[index] = ("unusable motion", str(error))
            np.save(folder / f"{{file}}.npy", rows)
        return failures

    def keep(self, file, kept, *, folder, out):
        import numpy as np

        np.save(out / f"{{file}}.npy", np.load(folder / f"{{file}}.npy")[kept])

    def port(self, words, model):
        from compress.io_spec import Port

        return Port(self.name, "float32", (words.steps, 2))


def pool(port, *, width: int = 16):
    """Mean and deviation of the readings, and a linear layer."""
    import torch
    from torch import nn

    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.width = nn.Linear(4, width), width

        def forward(self, x):
            return torch.relu(self.layer(torch.cat([x.mean(1), x.abs().mean(1)], 1)))

        def load_pretrained(self):
            pass

    return Pool()


MODALITIES = {{"motion": Motion}}
MOTION_ENCODERS = {{"pool": pool}}
'''
READER = '''"""Readings of a motion sensor on a device."""

import numpy as np

OPTION, HELP = "--motion", "readings, x y x y ..."
ASSETS = ()
PACKAGES = ()


def read(value, port, folder):
    """(1, T, 2) float32."""
    return np.array(value.split(), np.float32).reshape(1, *port["shape"])
'''
RECIPE = """\
name: motion
plugins: [motion.py]
data:
  source: manifest
  options: {train: train.csv, test: test.csv, columns: {motion: imu, label: answer}}
  inputs: {image: {size: 16}, text: {length: 8}, motion: {steps: 3}}
  validation_fraction: 0.3
teacher:
  source: fit
  encoders: {image: {model: efficientnet_lite2, options: {size: 32}}, text: {model: minilm_l6}, motion: {model: pool}}
  head_width: 32
  train: {epochs: 2, batch_size: 8}
student:
  encoders: {image: {options: {width: 0.25, out: 16, stem_stride: 1}}, text: {options: {layers: 1, width: 16, heads: 1, feedforward: 16}}, motion: {}}
  head_width: 16
distill: {train: {epochs: 2, batch_size: 8}}
quantize: {calibration_batches: 2, train: {epochs: 1, batch_size: 8}}
export: {targets: [onnxruntime_x86, tensorrt], parity: {samples: 16}}
benchmark: {batches: [1], rounds: 10, warmup: 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files of the plugin, a recipe, and 60 + 24 rows of image, text and motion; the label is the sign of the motion."""
    folder = tmp_path_factory.mktemp("motion")
    (folder / "motion.py").write_text(TRAINING.format(marker=str(folder / "was_run")))
    (folder / "motion_reader.py").write_text(READER)
    (folder / "motion.yaml").write_text(RECIPE)
    draw = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 24)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["image", "text", "imu", "answer"])
            for index in range(count):
                name = f"{split}{index}.png"
                Image.fromarray(draw.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / name)
                values = draw.normal(size=6) + (2 if index % 2 else -2)
                rows.writerow([name, f"is number {index} up?", " ".join(f"{v:.3f}" for v in values), "up" if index % 2 else "down"])
    return folder


def test_its_words_are_checked_and_nothing_of_it_is_run(folder: Path) -> None:
    loaded = load_recipe(folder / "motion.yaml")
    assert loaded.recipe.modalities == ("image", "text", "motion")
    assert loaded.recipe.data.inputs.get("motion").steps == 3
    for command in (
        ["check", str(folder / "motion.yaml")],
        ["plan", str(folder / "motion.yaml"), "--runs", str(folder / "none"), "-o", "motion=1"],
    ):
        subprocess.run([sys.executable, "-m", "compress", *command], check=False, capture_output=True)
    assert not (folder / "was_run").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.inputs.motion.steps=0", "must be at least 1, found 0"),
        ("data.inputs.motion.step=3", "unknown key 'step' (did you mean 'steps'?)"),
        ("student.encoders.motion.model=poll", "unknown motion encoder 'poll' (did you mean 'pool'?)"),
        ("student.encoders.motion.options.wide=3", "unknown option (did you mean 'width'?)"),
    ],
)
def test_its_mistakes_are_told_with_their_place(folder: Path, override: str, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compress", "check", str(folder / "motion.yaml"), "-o", override],
        check=False,
        capture_output=True,
        text=True,
    )
    assert message in done.stderr


def test_the_chain_runs_on_it_to_a_bundle_that_answers_in_a_clean_environment(folder: Path, clean_python: Path) -> None:
    from compress.pipeline import run

    said: list[str] = []
    result = run(load_recipe(folder / "motion.yaml"), runs=folder / "runs", threads=1, say=said.append)
    bundle = result.bundle.resolve()
    verify_folder(bundle)
    assert (bundle / "device" / "modalities" / "motion.py").read_text() == READER
    assert "device/modalities/motion.py" in read_manifest(bundle)["files"]
    assert [port["name"] for port in json.loads((bundle / "io_spec.json").read_text())["inputs"]] == ["image", "text", "motion"]
    arguments = ["--image", str(folder / "test0.png"), "--question", "is number 0 up?", "--motion", "2 2 2 2 2 2", "--json"]
    done = subprocess.run(
        [clean_python, "-I", bundle / "run.py", "predict", *arguments], capture_output=True, text=True, env={}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] in ("up", "down")
    assert subprocess.run([clean_python, "-I", bundle / "run.py", "verify"], env={}, check=False).returncode == 0
    assert "1.250" in result.report.read_text() or "motion" in result.report.read_text()
