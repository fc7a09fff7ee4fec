"""Where models run: what a recipe and a command may ask for, and that all of a run lies on one device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from compress import placement
from compress.errors import RecipeError
from compress.io_spec import Outputs
from compress.pipeline import plan, run
from compress.placement import arithmetic, ask, device_of, find_device, move, training_precision
from compress.recipe.grammar import load_recipe

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "recipes" / "smoke.yaml"


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says where there are two."""
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, is_bf16_supported=lambda including_emulation: True)
    backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setattr(placement, "_torch", lambda: SimpleNamespace(cuda=cuda, backends=backends, __version__="2"))
    monkeypatch.setattr(placement, "_may_have_accelerator", lambda: True)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says where there is none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_a_device_is_found_by_name_and_auto_takes_the_first_accelerator(two_gpus: None) -> None:
    assert [find_device(asked) for asked in ("cpu", "cuda", "cuda:1", "auto")] == ["cpu", "cuda:0", "cuda:1", "cuda:0"]
    with pytest.raises(
        RecipeError, match="--device cuda:2: torch 2 finds no such accelerator here, it has cuda:0, cuda:1; give cpu or auto"
    ):
        find_device("cuda:2")


def test_auto_is_the_processor_where_there_is_nothing_else(no_gpu: None) -> None:
    assert find_device("auto") == "cpu"


@pytest.mark.parametrize(("asked", "words"), [("gpu", "no such device; give cpu, cuda"), ("cuda:0", "it has none"), ("mps", "it has none")])
def test_a_device_that_is_not_there_ends_the_run_before_anything_is_made(asked: str, words: str, no_gpu: None, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"--device {asked}: .*{words}"):
        run(load_recipe(SMOKE, []), runs=tmp_path / "runs", device=asked)
    assert not (tmp_path / "runs").exists()


def test_a_precision_that_the_device_lacks_ends_the_run_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="train.precision: fp16 needs a CUDA device, and this run is on cpu"):
        run(load_recipe(SMOKE, ["distill.train.precision=fp16"]), runs=tmp_path / "runs", device="cpu")
    assert not (tmp_path / "runs").exists()


def test_the_arithmetic_is_that_of_the_device(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "has_bf16", lambda: False)
    assert [arithmetic(device) for device in ("cpu", "cuda:0", "mps")] == ["float32", "bfloat16", "float32"]
    monkeypatch.setattr(placement, "has_bf16", lambda: True)
    assert arithmetic("cpu") == "bfloat16"
    assert [training_precision("auto", device) for device in ("cpu", "cuda:0", "mps")] == ["fp32", "bf16", "fp32"]
    assert [training_precision(asked, "cuda:0") for asked in ("fp32", "bf16", "fp16")] == ["fp32", "bf16", "fp16"]


def test_a_fingerprint_knows_the_arithmetic_and_not_the_device(two_gpus: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fingerprints(device: str, *overrides: str) -> dict[str, str]:
        return {stage.name: stage.fingerprint for stage in plan(load_recipe(SMOKE, list(overrides)), runs=tmp_path, device=device)}

    monkeypatch.setattr(placement, "has_bf16", lambda: True)
    here = fingerprints("cpu")
    assert here == fingerprints("cuda:0") == fingerprints("auto", "distill.train.precision=fp32")
    monkeypatch.setattr(placement, "has_bf16", lambda: False)
    assert fingerprints("cpu")["features"] != here["features"] == fingerprints("cuda:1")["features"]


def test_a_precision_left_to_the_device_is_an_ingredient(two_gpus: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(placement, "has_bf16", lambda: True)  # so that features are the same on both
    recipe = load_recipe(SMOKE, ["distill.train.precision=auto"])
    here, there = ({s.name: s.fingerprint for s in plan(recipe, runs=tmp_path, device=device)} for device in ("cpu", "cuda:0"))
    assert {name for name in here if here[name] != there[name]} == {
        "alone",
        "distill",
        "quantize",
        "export",
        "benchmark",
        "report",
        "bundle",
        "engine",
    }


def test_move_keeps_the_form() -> None:
    outputs = Outputs(torch.zeros(2, 3), None, {"mid": torch.ones(2)})
    moved = move(({"a": torch.zeros(1)}, outputs, None, 0.5), torch.device("meta"))
    assert moved[0]["a"].is_meta and moved[1].logits.is_meta and moved[1].embedding is None and moved[1].taps["mid"].is_meta
    assert moved[2:] == (None, 0.5)


def test_a_model_is_asked_on_its_own_device() -> None:
    model = nn.Linear(2, 3).to("meta")
    assert ask(model, torch.zeros(1, 2)).is_meta and device_of(model).type == "meta"
    assert device_of(nn.ReLU()).type == "cpu"


def test_all_of_a_run_lies_on_one_device_and_no_step_waits_for_it(tmp_path: Path) -> None:
    """Features, teacher, targets, distillation by a live teacher, calibration, int8 training and scoring, in a process of their own."""
    program = [sys.executable, str(ROOT / "tests" / "support" / "toy_run.py"), str(tmp_path)]
    done = subprocess.run(
        program, capture_output=True, text=True, check=False, cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert {name.split("/")[0] for name in told["files"]} == {"features", "teacher", "targets", "distill", "quantize"}
    assert told["differing"] == []  # the same numbers as on the processor, bit for bit
    assert told["waits"] == {}
