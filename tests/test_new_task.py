"""The proof of the house, for tasks: one that the program does not know (grades in an order) comes in two files, and the chain runs on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compress.device.manifest import read_manifest
from compress.recipe.grammar import load_recipe

TRAINING = '''"""Grades from worst to best: a plugin that brings a task and its losses. One logit for each step that a grade may pass."""

from compress.tasks.task import Task

raise_when_run = open({marker!r}, "a").close()


class Grades(Task):
    """Labels are places in `order`; logits (R, K - 1): that grade k + 1 is reached."""

    losses = ("steps", "steps_kd")
    objective = ({{"name": "steps"}}, {{"name": "steps_kd"}})
    metric = "nearness"
    measure = "nearness of grades"
    device = "grades_runner.py"

    def __init__(self, name: str, *, order: list):
        super().__init__(name)
        self.order = order

    def cells(self, column, place):
        import pyarrow as pa

        return column.cast(pa.string())

    def names(self, column):
        return list(self.order)

    def encode(self, column, names):
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        codes = pc.fill_null(pc.index_in(column, pa.array(names)), -1).to_numpy()
        return codes.astype(np.int32), pc.is_null(column).to_numpy().astype(bool)

    def fault(self, cell, names):
        return f"{{cell!r}} is no grade; there are {{', '.join(names)}}"

    def strata(self, labels):
        return labels

    def account(self, labels, names):
        return {{"label_counts": {{name: int((labels == k).sum()) for k, name in enumerate(names)}}}}

    def port(self, names):
        from compress.io_spec import Port

        return Port("logits", "float32", (len(names) - 1,))

    def guess(self, labels, codes, count):
        import numpy as np

        medians = np.array([np.median(labels[codes == c]) if (codes == c).any() else 0 for c in range(count)])
        return np.where(np.arange(len(self.order) - 1) < medians[:, None], 1.0, -1.0)

    @property
    def metrics(self):
        from compress.measures.metrics import Metric

        return {{
            "nearness": Metric(self.score, "fraction", True),
            "exact": Metric(lambda logits, labels: float((self.answers(logits) == labels).mean()), "fraction", True),
        }}

    def answers(self, logits):
        import numpy as np

        return np.where(np.isfinite(logits).all(1), (logits > 0).sum(1), -1).astype(np.int32)

    def gains(self, answers, labels):
        import numpy as np

        return np.where(answers >= 0, 1 - np.abs(answers - labels) / (len(self.order) - 1), 0.0)

    def parts(self, answers, labels, names):
        return {{name: self.gains(answers, labels)[labels == k] for k, name in enumerate(names) if (labels == k).any()}}

    def show(self, answer, names):
        return names[int(answer)] if answer >= 0 else "none"

    def sentence(self, names):
        return f"{{len(names)}} grades, {{names[0]}} to {{names[-1]}}"


def _reached(labels, logits):
    import torch

    return (labels[:, None] > torch.arange(logits.shape[1])).to(logits.dtype)


def steps(student, teacher: "Outputs | None", labels):
    """mean over labelled rows and steps of the binary cross-entropy that a step is passed."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    known = labels >= 0
    parts = binary_cross_entropy_with_logits(student.logits, _reached(labels, student.logits), reduction="none").mean(1)
    return (parts * known).sum() / known.sum().clamp(min=1)


def steps_kd(student, teacher, labels):
    """mean over rows and steps of the squared difference of the logits."""
    from torch.nn.functional import mse_loss

    return mse_loss(student.logits, teacher.logits.detach())


TASKS = {{"grades": Grades}}
LOSSES = {{"steps": steps, "steps_kd": steps_kd}}
'''
RUNNER = '''"""Grades on a device."""

import numpy as np


def answer(outputs, labels, *, facts, top=3):
    return {"grade": labels[int((outputs["logits"][0] > 0).sum())]}


def lines(answer):
    return [answer["grade"]]


def decisions(logits, facts):
    return np.abs(logits).reshape(-1), (logits > 0).reshape(-1)
'''
RECIPE = """\
name: grades
plugins: [grades.py]
data:
  source: manifest
  task: grades
  task_options: {order: [poor, fair, good, superb]}
  options: {train: train.csv, test: test.csv, columns: {numbers: sensor, label: grade}}
  inputs: {numbers: {size: 3}}
teacher:
  source: fit
  encoders: {numbers: {model: raw}}
  head_width: 32
  train: {epochs: 20, batch_size: 16, learning_rate: 5.0e-3}
student: {encoders: {numbers: {options: {width: 16}}}}
distill: {train: {epochs: 20, batch_size: 16, learning_rate: 1.0e-2}, compare_alone: true}
quantize: {calibration_batches: 2, train: {epochs: 1, batch_size: 16}}
export: {targets: [onnxruntime_x86], parity: {samples: 16}}
benchmark: {batches: [1], rounds: 10, warmup: 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files of the plugin, a recipe, and 160 + 60 rows whose grade is how many of three numbers are above zero."""
    folder = tmp_path_factory.mktemp("grades")
    (folder / "grades.py").write_text(TRAINING.format(marker=str(folder / "was_run")))
    (folder / "grades_runner.py").write_text(RUNNER)
    (folder / "grades.yaml").write_text(RECIPE)
    draw = np.random.default_rng(0)
    for split, count in (("train", 160), ("test", 60)):
        rows = [draw.normal(size=3) for _ in range(count)]
        grades = [["poor", "fair", "good", "superb"][int((row > 0).sum())] for row in rows]
        lines = [f"{' '.join(f'{v:.3f}' for v in row)},{grade}" for row, grade in zip(rows, grades)]
        (folder / f"{split}.csv").write_text("\n".join(["sensor,grade", *lines]) + "\n")
    return folder


def compress(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "compress", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_it_is_checked_and_planned_and_nothing_of_it_is_run(folder: Path) -> None:
    loaded = load_recipe(folder / "grades.yaml")
    assert [loss.name for loss in loaded.recipe.distill.losses] == ["steps", "steps_kd"]
    assert compress("check", folder / "grades.yaml").returncode == 0
    assert not (folder / "was_run").exists()
    done = compress("plan", folder / "grades.yaml", "--runs", folder / "none")
    assert done.returncode == 0 and "distill" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.task=grade", "unknown task 'grade' (did you mean 'grades'?)"),
        ("data.task_options.order=3", "data.task_options.order=3: 3 is int, but list is needed"),
        ("data.task_options={}", "order: missing; Grades needs it"),
        ("distill.losses=[{name: kd}]", "kd is a loss of another task; grades takes steps, steps_kd"),
    ],
)
def test_its_mistakes_are_told_with_their_place(folder: Path, override: str, message: str) -> None:
    assert message in compress("check", folder / "grades.yaml", "-o", override).stderr


def test_the_chain_runs_on_it_to_a_bundle_that_answers(folder: Path) -> None:
    from compress.pipeline import run

    result = run(load_recipe(folder / "grades.yaml"), runs=folder / "runs", threads=1, say=lambda _: None)
    assert result.summary["measure"] == "nearness of grades"
    assert result.summary["shipped_accuracy"] > result.summary["majority_accuracy"] + 0.1
    bundle = result.bundle.resolve()
    assert (bundle / "device" / "tasks" / "grades.py").read_text() == RUNNER
    assert "device/tasks/grades.py" in read_manifest(bundle)["files"]
    arguments = [sys.executable, "-I", "run.py"]
    done = subprocess.run([*arguments, "predict", "--numbers", "2 2 2", "--json"], cwd=bundle, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["grade"] == "superb", done.stderr
    assert subprocess.run([*arguments, "verify"], cwd=bundle, check=False, capture_output=True).returncode == 0
    page = result.report.read_text()
    assert "nearness of grades shipped" in page and "exact" in page
