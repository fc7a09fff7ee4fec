"""Trainings that are killed and run again end with the same weights, bit for bit, as one that was left alone.

Run as a program, this file makes such trainings: `python tests/test_resume.py FOLDER` prints what each of LINES ended with.
A training kills itself at a chosen call, so that nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

STEPS = 9  # of each training: 3 epochs of 3 batches
QUANTIZED = {"quantized": {}, "histogram": {"observer": "histogram"}, "learned": {"learned_step_size": True}}
# the model, and where its training dies, time after time: before a step's gradient, or between writing and renaming a checkpoint
LINES: dict[str, tuple[str, list[tuple[str, int]]]] = {
    "left alone": ("float", []),
    "before the first step": ("float", [("step", 0)]),
    "twice": ("float", [("step", 3), ("step", 7)]),  # the first of them at the start of an epoch
    "while writing": ("float", [("write", 5)]),
    "after the last step": ("float", [("write", STEPS)]),
    "quantized left alone": ("quantized", []),
    "quantized before its ranges freeze": ("quantized", [("step", 4)]),
    "quantized in the step that freezes": ("quantized", [("step", 6)]),  # ceil(0.6 * 9)
    "quantized after its ranges froze": ("quantized", [("step", 7)]),
    "histogram left alone": ("histogram", []),
    "histogram twice": ("histogram", [("step", 2), ("step", 7)]),
    "learned left alone": ("learned", []),
    "learned twice": ("learned", [("step", 2), ("step", 7)]),
}


def build(name: str) -> tuple[Any, Any]:
    """A student with dropout and batch norm and its rows; one of QUANTIZED is prepared and calibrated as the stage does it."""
    import numpy as np
    import torch
    from torch import nn

    from compress.models.classifier import Classifier, Head
    from compress.models.layers import ConvNorm, Pixels
    from compress.quantizers import calibrate, prepare
    from compress.recipe.sections import Quantize
    from compress.training.batches import Batches, Rows
    from compress.training.views import Views

    torch.manual_seed(0)
    image = nn.Sequential(Pixels((0.5,) * 3, (0.2,) * 3), ConvNorm(3, 8, kernel=3, stride=4), ConvNorm(8, 8, relu=False), nn.Flatten())
    text = nn.Sequential(nn.Embedding(12, 4), nn.Flatten(), nn.Linear(20, 8))
    head = Head({"image": 128, "text": 8}, hidden=8, classes=3, dropout=0.2)
    model, rng = Classifier({"image": image, "text": text}, head), np.random.default_rng(0)
    rows = Rows(
        {"image": rng.integers(0, 256, (12, 16, 16, 3)).astype(np.uint8), "text": rng.integers(0, 12, (7, 5))},
        {"image": np.repeat(np.arange(12), 3), "text": rng.integers(0, 7, 36)},
        rng.integers(0, 3, 36),
        rng.normal(size=(2, 36, 3)).astype(np.float16),
        Views("image", ((), (0, 1, True, 0, 1.0, 0.0, 0.0, 0.0))),
    )
    if name in QUANTIZED:
        model = prepare(model, Quantize(**QUANTIZED[name]))
        calibrate(model, ((batch.inputs, batch.rows) for batch in Batches(rows, 4).epoch(0)))
    return model, rows


def train_once(name: str, out: Path, kill: tuple[str, int] | None) -> None:
    """Trains to the end and writes result.json, or dies at `kill`."""
    import torch

    from compress.context import Context
    from compress.losses.objective import Objective
    from compress.quantizers import freeze_ranges
    from compress.recipe.sections import Loss, Train
    from compress.tasks.task import task
    from compress.training import checkpoint
    from compress.training.batches import Batches
    from compress.training.loop import predict, train

    torch.set_num_threads(1)
    model, rows = build(name)
    check, done = Batches(rows, 12, shuffle=False), 0
    path = out / "checkpoint" / "toy.pt"

    class StepOrDie(Objective):
        def forward(self, *arguments: Any, **keywords: Any) -> Any:
            nonlocal done
            if kill == ("step", done + before):
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return super().forward(*arguments, **keywords)

    def rename_or_die(source: Path, target: Path) -> None:
        if kill == ("write", done + before) and target == path:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    before = torch.load(path, weights_only=True)["history"]["steps"] if path.is_file() else 0
    rename, checkpoint.os.replace = os.replace, rename_or_die  # type: ignore[assignment]
    history = train(
        model,
        Batches(rows, 4, seed=3),
        objective=StepOrDie([Loss(name="cross_entropy"), Loss(name="kd")]),
        config=Train(epochs=3, batch_size=4, checkpoint_seconds=0, trackers=[]),
        ctx=Context(out, seed=3, say=lambda line: None),
        validate=lambda m: task("single_label").marks(predict(m, check), rows.labels),
        label="toy",
        freeze=(0.6, freeze_ranges) if name in QUANTIZED else None,
    )
    state = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    told = {"steps": done, "resumed_at": history.resumed_at, "curve": history.curve, "best_step": history.best_step}
    (out / "result.json").write_text(json.dumps({"sha256": hashlib.sha256(state).hexdigest(), **told}))


def in_child(work: Callable[[], None]) -> int:
    """Runs `work` in a process of its own; gives the number of the signal that ended it, or 0."""
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def follow_lines(folder: Path) -> dict[str, Any]:
    """For each of LINES the signals its processes ended with, and its result."""
    for slow in ("torch._dynamo", "compress.quantizers", "compress.training.loop"):
        importlib.import_module(slow)  # once, before the forks: no child pays for it again
    found = {}
    for number, (line, (name, kills)) in enumerate(LINES.items()):
        out = folder / str(number)
        out.mkdir()
        signals = [in_child(lambda o=out, n=name, k=kill: train_once(n, o, k)) for kill in [*kills, None]]
        found[line] = {"signals": signals, **json.loads((out / "result.json").read_text())}
    return found


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command = [sys.executable, __file__, str(tmp_path_factory.mktemp("lines"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", [line for line in LINES if "left alone" not in line])
def test_killed_training_ends_with_the_same_weights(lines: dict[str, Any], line: str) -> None:
    name, kills = LINES[line]
    killed, alone = lines[line], lines["left alone" if name == "float" else f"{name} left alone"]
    assert killed["signals"] == [signal.SIGKILL] * len(kills) + [0]
    assert killed["sha256"] == alone["sha256"]
    assert killed["curve"] == alone["curve"]
    assert killed["best_step"] == alone["best_step"]


@pytest.mark.parametrize(
    ("line", "resumed_at"), [("before the first step", 0), ("twice", 7), ("while writing", 4), ("after the last step", 8)]
)
def test_killed_training_repeats_only_the_step_that_was_lost(lines: dict[str, Any], line: str, resumed_at: int) -> None:
    assert lines[line]["resumed_at"] == resumed_at
    assert lines[line]["steps"] == STEPS - resumed_at


def test_quantized_lines_differ_from_each_other(lines: dict[str, Any]) -> None:
    assert len({found["sha256"] for found in lines.values()}) == 1 + len(QUANTIZED)


DEADLY = """\
import os, signal
from pathlib import Path

CALLS = 0


def deadly(student, teacher, labels):
    global CALLS
    CALLS += 1
    marker = Path(__file__).with_name("marker")
    if marker.exists():
        name, call = marker.read_text().split()
        if CALLS == int(call):
            os.kill(os.getpid(), getattr(signal, name))
    return student.logits.sum() * 0


LOSSES = {"deadly": deadly}
"""
OVERRIDES = [
    "plugins=[deadly.py]",
    "distill.losses=[{name: cross_entropy}, {name: kd}, {name: deadly}]",
    "distill.train.checkpoint_seconds=0",
    "quantize.train.checkpoint_seconds=0",
]


def restore_interrupt() -> None:
    """Gives the child the usual meaning of SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def interrupted(whole_run, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run that is killed in `distill`, interrupted there, goes on, is killed in `quantize` and goes on; and the same run left alone.

    The loss is called once more in each stage before its first step, to balance the terms; a stage that goes on has them noted.
    """
    folder = tmp_path_factory.mktemp("interrupted")
    shutil.copyfile(whole_run.recipe, folder / "small.yaml")
    (folder / "deadly.py").write_text(DEADLY)
    shutil.copytree(whole_run.runs, folder / "alone", symlinks=True, copy_function=os.link)

    def call(runs: str, *arguments: str, marker: str = "") -> subprocess.CompletedProcess:
        (folder / "marker").unlink(missing_ok=True)
        if marker:
            (folder / "marker").write_text(marker)
        settings = [part for override in OVERRIDES for part in ("-o", override)]
        program = [sys.executable, "-m", "compress", *arguments, str(folder / "small.yaml"), "--runs", str(folder / runs), "--threads", "1"]
        # Tests that run in the background inherit an ignored SIGINT; a terminal's user does not.
        return subprocess.run([*program, *settings], capture_output=True, text=True, check=False, preexec_fn=restore_interrupt)

    until = ("run", "--until", "quantize")
    alone = call("alone", *until)
    shutil.copytree(folder / "alone", folder / "killed", symlinks=True, copy_function=os.link)
    for stage in ("distill", "quantize"):
        shutil.rmtree(folder / "killed" / ".store" / stage)
    steps = {
        "alone": alone,
        "killed": call("killed", *until, marker="SIGKILL 5"),
        "planned": call("killed", "plan"),
        "interrupted": call("killed", *until, marker="SIGINT 4"),
        "killed in quantize": call(
            "killed", *until, marker="SIGKILL 37"
        ),  # 36 steps of distill less 6, a balancing call, then 6 of quantize
        "finished": call("killed", *until),
    }
    return SimpleNamespace(folder=folder, **{name.replace(" ", "_"): done for name, done in steps.items()})


def test_killed_run_is_planned_to_go_on(interrupted: SimpleNamespace) -> None:
    assert interrupted.alone.returncode == 0, interrupted.alone.stderr
    assert interrupted.killed.returncode == -signal.SIGKILL
    lines = {line.split()[0]: line for line in interrupted.planned.stdout.splitlines()}
    assert "goes on from its checkpoint" in lines["6-distill"]
    assert "reuse" in lines["5-targets"]


def test_interrupted_run_ends_with_130_and_says_how_to_go_on(interrupted: SimpleNamespace) -> None:
    assert interrupted.interrupted.returncode == 130
    assert interrupted.interrupted.stderr.splitlines()[-1] == "interrupted; run the same command again to go on"
    assert "Traceback" not in interrupted.interrupted.stderr
    assert "student: going on from step 3 of" in interrupted.interrupted.stdout


def test_run_goes_on_in_every_stage_that_was_killed(interrupted: SimpleNamespace) -> None:
    assert "student: going on from step 6 of" in interrupted.killed_in_quantize.stdout
    assert interrupted.killed_in_quantize.returncode == -signal.SIGKILL
    assert re.search(r"^ 6-distill +made", interrupted.killed_in_quantize.stdout, re.M)
    assert re.search(r"^ 6-distill +reused", interrupted.finished.stdout, re.M)
    assert "quantize: going on from step" in interrupted.finished.stdout
    assert interrupted.finished.returncode == 0, interrupted.finished.stderr


@pytest.mark.parametrize(
    "file",
    [
        "6-distill/model.safetensors",
        "6-distill/alone/model.safetensors",
        "7-quantize/ptq/model.safetensors",
        "7-quantize/qat/model.safetensors",
    ],
)
def test_killed_run_ends_with_the_same_files(interrupted: SimpleNamespace, file: str) -> None:
    alone, killed = ((interrupted.folder / runs / "small" / file).read_bytes() for runs in ("alone", "killed"))
    assert alone == killed


def test_finished_run_leaves_no_checkpoint(interrupted: SimpleNamespace) -> None:
    store = interrupted.folder / "killed" / ".store"
    beside = "export_teacher-"  # ended with the run, which ends before anything waits for it
    assert not [folder for folder in (store / "partial").iterdir() if not folder.name.startswith(beside)]
    assert not list(store.rglob("checkpoint"))


if __name__ == "__main__":
    print(json.dumps(follow_lines(Path(sys.argv[1]))))
