"""How a student is taught: terms of one size, losses that a pilot chose, a stored or a live teacher, and that a killed run keeps its choice."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sections import distill_section
from torch import Tensor, nn

from compress.context import Context
from compress.io_spec import Outputs
from compress.losses.objective import Objective
from compress.models.classifier import Classifier, LinearHead
from compress.recipe.grammar import load_recipe
from compress.recipe.sections import Loss
from compress.tasks.task import task
from compress.training import teaching
from compress.training.batches import Batch, Batches, LiveTeacher, Rows
from compress.training.teaching import balance, choose_losses, choose_teaching, load_projections, objective_for, rivals_of, save_projections
from compress.training.views import draw_views

CE, MSE = Loss(name="cross_entropy"), Loss(name="logit_mse")
DATA: Any = SimpleNamespace(task=task("single_label"), split=lambda name: None)
LN2 = math.log(2)

RIVALS = {name: Loss.model_validate(loss) for name, loss in task("single_label").rivals.items()}


class Fresh(nn.Module):
    """A student of two classes that knows nothing: all its logits are 0."""

    def forward(self, inputs: dict, rows: dict) -> Outputs:
        return Outputs(torch.zeros(len(rows["text"]), 2))


def one_batch(size: float, labels: list[int]) -> Batch:
    """Rows of which the teacher says (size, -size)."""
    count = len(labels)
    rows = {"text": torch.arange(count)}
    teacher = Outputs(torch.tensor([[size, -size]]).repeat(count, 1))
    return Batch({"text": torch.zeros(count, 1)}, rows, torch.tensor(labels), teacher, np.arange(count), np.arange(count))


def test_term_that_starts_larger_than_the_cross_entropy_is_scaled_to_its_size() -> None:
    # cross-entropy of even odds: ln 2, whatever the share of labelled rows; mean of (0 - 3)^2 and (0 + 3)^2: 9
    batch = one_batch(3.0, [0, 1, -1])
    objective = Objective([CE, MSE])
    scales = objective.scales = balance(Fresh(), batch, objective)
    assert scales == {"logit_mse": pytest.approx(LN2 / 9)}
    total, _ = objective(Outputs(torch.zeros(3, 2)), batch.teacher, batch.labels)
    assert float(total) == pytest.approx(2 * LN2)


@pytest.mark.parametrize(
    ("size", "labels", "losses"),
    [(0.5, [0, 1], [CE, MSE]), (3.0, [-1, -1], [CE, MSE]), (3.0, [0, 1], [MSE])],
    ids=["a smaller term", "a batch without labels", "losses without labels"],
)
def test_nothing_is_scaled_where_nothing_drowns_the_labels(size: float, labels: list[int], losses: list[Loss]) -> None:
    assert balance(Fresh(), one_batch(size, labels), Objective(losses)) == {}  # 0.5^2 < ln 2


class Bag(nn.Module):
    """Token ids (M, T) to the mean of their vectors (M, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 8)

    def forward(self, text: Tensor) -> Tensor:
        return self.words(text).mean(1)


def fresh() -> Classifier:
    torch.manual_seed(0)
    return Classifier({"text": Bag()}, LinearHead("text", 8, 2))


def truth(text: np.ndarray) -> np.ndarray:
    return (text == 5).any(1).astype(np.int64)  # whether token 5 occurs


@pytest.fixture
def rows() -> Rows:
    """100 texts that the teacher knows, of which 4 have a label, and a wrong one."""
    text = np.random.default_rng(0).integers(1, 6, (100, 4))
    labels = np.where(np.arange(100) < 4, 1 - truth(text), -1)
    return Rows({"text": text}, {"text": np.arange(100)}, labels, (8.0 * np.eye(2, dtype=np.float16)[truth(text)])[None])


def check_of(count: int) -> Batches:
    """So many validation texts with the true labels."""
    text = np.random.default_rng(1).integers(1, 6, (count, 4))
    return Batches(Rows({"text": text}, {"text": np.arange(count)}, truth(text)), 512, shuffle=False)


def choose(
    rows: Rows, out: Path, losses: list[dict], *, objective: str, validation: int, data: Any = DATA, steps: int = 700
) -> tuple[list[Loss], dict, list[str]]:
    train = {"epochs": 1, "min_steps": steps, "batch_size": 8, "learning_rate": 0.05, "trackers": []}
    recipe: Any = SimpleNamespace(modalities=(), distill=distill_section(losses=losses, objective=objective, train=train))
    said: list[str] = []
    batch, check = Batches(rows, 64).collect(np.arange(64)), check_of(validation)
    found, told = choose_losses(recipe, fresh, rows, check, batch, data=data, ctx=Context(out, say=said.append))
    return found, told, said


class Whole:
    """A split whose rows stand for themselves."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels, self.clusters = labels, np.arange(len(labels))

    def __len__(self) -> int:
        return len(self.labels)


def test_list_is_taken_as_it_is_unless_a_choice_is_asked_for(rows: Rows, tmp_path: Path) -> None:
    assert choose(rows, tmp_path, [{"name": "cross_entropy"}], objective="losses", validation=300) == ([CE], {}, [])


def test_few_validation_rows_do_not_choose(rows: Rows, tmp_path: Path) -> None:
    losses, told, said = choose(rows, tmp_path, [{"name": "cross_entropy"}], objective="auto", validation=199)
    why = "199 validation rows and 4 training rows are too few to choose by"
    assert losses == [CE] and said[-1] == f"distill: the recipe's losses teach: {why}" and not list(tmp_path.iterdir())
    assert told == {"objective": f"the recipe's losses, because {why}"}


def test_few_validation_rows_leave_the_choice_to_training_rows_that_are_held_out(tmp_path: Path) -> None:
    """300 labelled rows: two folds of three. The labels are right, so all lists learn; the recipe's own, which learns nothing, does not win."""
    text = np.random.default_rng(2).integers(1, 6, (300, 4))
    answers = (8.0 * np.eye(2, dtype=np.float16)[truth(text)])[None]
    labelled = Rows({"text": text}, {"text": np.arange(300)}, truth(text), answers)
    data: Any = SimpleNamespace(task=task("single_label"), split=lambda name: Whole(truth(text)))
    nothing = [{"name": "kd", "weight": 0.0}]
    losses, told, said = choose(labelled, tmp_path, nothing, objective="auto", validation=57, data=data, steps=1400)
    assert losses[-1] in RIVALS.values() and told["pilots"]["the recipe's"] < max(told["pilots"].values())
    assert "in pilots of 61 steps on 2 of 3 folds of the training rows, because validation has 57" in told["objective"]
    assert len(list((tmp_path / "checkpoint").glob("pilot*"))) == 4 * 2 and said[-1].endswith("teaches")


def test_losses_that_taught_best_in_the_pilots_are_chosen(rows: Rows, tmp_path: Path) -> None:
    """Labels alone teach what is wrong; every rival learns from all rows."""
    losses, told, said = choose(rows, tmp_path, [{"name": "cross_entropy"}], objective="auto", validation=300)
    pilots = told["pilots"]
    assert list(pilots) == ["the recipe's", *RIVALS]
    best = max(pilots, key=lambda name: pilots[name])
    assert pilots[best] > 0.75 > 0.5 > pilots["the recipe's"]
    assert losses == [CE, RIVALS[best]]
    assert said[-1].startswith("distill: pilots of 60 steps: the recipe's ") and said[-1].endswith(f"; {best} teaches")


def test_the_recipes_own_losses_win_where_all_teach_alike(rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "train", lambda *args, **settings: SimpleNamespace(best=0.5))
    losses, told, _ = choose(rows, tmp_path, [{"name": "dkd"}], objective="auto", validation=300)
    assert [loss.name for loss in losses] == ["dkd"] and len(set(told["pilots"].values())) == 1


def test_list_that_is_a_rival_competes_once(rows: Rows) -> None:
    own = [CE, Loss(name="kd", options={"temperature": 4.0})]
    assert list(rivals_of(own, DATA)) == ["the recipe's", "kd, T = 1", "dist"]


IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3)).astype(np.uint8)


class Pixels(nn.Module):
    """An image student of two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(48, 2)

    def forward(self, inputs: dict, rows: dict) -> Outputs:
        return Outputs(self.body(inputs["image"].float().flatten(1) / 255)[rows["image"]])


@pytest.fixture
def teach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`choose_teaching` where a live teacher and the student take so many seconds a batch."""
    live = LiveTeacher(lambda inputs, rows: Outputs(torch.ones(len(rows["image"]), 2)), {"image": IMAGES})
    monkeypatch.setattr(teaching, "open_live", lambda *arguments, device: live)

    def run(*overrides: str, teacher: float = 1.0, student: float = 2.0, which: list[int] | None = None, said: list | None = None):
        monkeypatch.setattr(teaching, "teacher_seconds", lambda rows: teacher)
        monkeypatch.setattr(teaching, "student_seconds", lambda model, rows: student)
        recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "smoke.yaml", overrides).recipe
        used = np.arange(12) if which is None else np.array(which)
        targets = np.tile(np.array([8, -8], np.float16), (2, len(used), 1))
        rows = Rows({"image": IMAGES}, {"image": used}, np.zeros(len(used), int), targets, draw_views(recipe))
        ctx = Context(tmp_path, say=(said if said is not None else []).append)
        return choose_teaching(recipe, Pixels, rows, check_of(1), teacher=tmp_path, targets=tmp_path, data=DATA, ctx=ctx), live

    return run


ENDLESS = "distill.augment.image.shift=2"


def test_stored_answers_teach_unless_another_teacher_is_asked_for(teach) -> None:
    found, _ = teach(ENDLESS)
    assert found.rows.live is None and found.rows.targets is not None
    assert "teacher" not in found.notes


@pytest.mark.parametrize(("teacher", "student", "live"), [(1.0, 2.0, True), (2.0, 2.0, True), (2.1, 2.0, False)])
def test_live_teacher_teaches_where_it_takes_no_longer_than_the_student(teach, teacher: float, student: float, live: bool) -> None:
    said: list[str] = []
    found, one = teach("distill.teacher=auto", ENDLESS, teacher=teacher, student=student, said=said)
    assert (found.rows.live is one, found.rows.targets is None, found.rows.views.fresh is not None) == (
        (live,) * 3 if live else (False, False, True)
    )
    name = "live" if live else "stored"
    assert said == [f"distill: {name} teacher: the teacher takes {1000 * teacher:.0f} ms a batch where the student takes 2000"]
    assert found.notes["teacher"] == name


def test_live_teacher_that_is_asked_for_is_not_weighed(teach) -> None:
    found, one = teach("distill.teacher=live", ENDLESS, teacher=99.0)
    assert found.rows.live is one and found.notes["why"] == "the recipe says so"


def test_mixed_inputs_are_answered_live_whatever_that_costs(teach, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "mixes", lambda words: True)
    found, one = teach("distill.teacher=auto", ENDLESS, teacher=99.0)
    assert found.rows.live is one and found.notes["why"] == "mixed inputs have no stored answers"


@pytest.mark.parametrize("asked", ["auto", "live"])
def test_inputs_that_do_not_vary_without_end_have_stored_answers(teach, asked: str) -> None:
    found, _ = teach(f"distill.teacher={asked}")
    assert found.rows.live is None
    assert found.notes["teacher"] == "stored" and found.notes["why"] == "inputs have no variants without end"


def test_killed_run_goes_on_with_what_was_measured(teach) -> None:
    first, _ = teach("distill.teacher=auto", ENDLESS, teacher=1.0)
    again, one = teach("distill.teacher=auto", ENDLESS, teacher=99.0)
    assert again.rows.live is one
    assert (again.objective.scales, again.notes) == (first.objective.scales, first.notes)


def test_terms_are_balanced_unless_the_recipe_says_no(teach, tmp_path: Path) -> None:
    losses = "distill.losses=[{name: cross_entropy}, {name: logit_mse}]"
    assert teach(losses, "distill.balance=false")[0].objective.scales == {}
    (tmp_path / "checkpoint" / "teaching.json").unlink()
    assert 0 < teach(losses)[0].objective.scales["logit_mse"] < 1 / 32  # about ln 2 / 8^2


def test_image_without_rows_is_not_asked_for(teach) -> None:
    found, _ = teach(which=[0, 1, 2, 2, 11])
    assert len(found.rows.labels) == 5


def with_embedding(rows: Rows, width: int) -> Rows:
    return replace(rows, hidden={"embedding": np.zeros((1, len(rows.labels), width), np.float16)})


@pytest.mark.parametrize(("width", "made"), [(5, ["projections.hint.weight", "projections.hint.bias"]), (8, [])])
def test_objective_has_projections_where_student_and_teacher_differ_in_width(rows: Rows, width: int, made: list[str]) -> None:
    objective = objective_for([Loss(name="hint")], fresh(), with_embedding(rows, width))
    assert [name for name, _ in objective.named_parameters()] == made


def test_objective_counts_the_labels(rows: Rows) -> None:
    """Labels of the four that have one: the wrong one each."""
    objective = objective_for([Loss(name="weighted_cross_entropy")], fresh(), rows)
    known = torch.from_numpy(np.asarray(rows.labels)[:4])
    counts = torch.bincount(known, minlength=2)
    total, _ = objective(Outputs(torch.zeros(4, 2)), None, known)
    assert float(total) == pytest.approx(LN2) and counts.min() > 0  # the mean weight of these rows is 1


def test_projections_are_written_beside_the_student_and_read_back(rows: Rows, tmp_path: Path) -> None:
    taught, again = (objective_for([Loss(name="hint")], fresh(), with_embedding(rows, 5)) for _ in range(2))
    nn.init.normal_(taught.projections["hint"].weight)
    save_projections(taught, tmp_path)
    load_projections(again, tmp_path)
    assert torch.equal(taught.projections["hint"].weight, again.projections["hint"].weight)
    same = objective_for([Loss(name="hint")], fresh(), with_embedding(rows, 8))
    load_projections(same, tmp_path)  # the student teaches itself: there is nothing to put back
    save_projections(same, tmp_path / "none")  # and nothing to write
    assert not (tmp_path / "none").exists()
