"""The training loop: it learns, its rate follows the schedule, the best weights stay, and it fails early and in words."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.context import Context
from compress.errors import CompressError, DependencyError
from compress.io_spec import Outputs
from compress.losses.objective import Objective
from compress.models.classifier import Classifier, LinearHead
from compress.recipe.sections import Loss, Train
from compress.tasks.task import task
from compress.training.batches import Batches, Rows
from compress.training.loop import describe_fault, parameter_groups, predict, set_rate, train

CLASSES, TOKENS = 2, 4
accuracy, marks = task("single_label").score, task("single_label").marks
ROWS = 10  # validation rows where a test says how good the answers are


def gains(share: float) -> np.ndarray:
    """(n,) each row's gain the same, so that no error is in their mean."""
    return np.full(ROWS, share)


class Bag(nn.Module):
    """Token ids (M, T) to the mean of their vectors (M, 8), with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.dropout = nn.Embedding(6, 8), nn.Dropout(0.1)

    def forward(self, text: Tensor) -> Tensor:
        return self.dropout(self.words(text).mean(1))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def build_model() -> Classifier:
    torch.manual_seed(0)
    return Classifier({"text": Bag()}, LinearHead("text", 8, CLASSES))


def toy_rows(count: int = 64) -> Rows:
    """Texts of 4 tokens; the label says whether token 5 occurs."""
    text = np.random.default_rng(0).integers(1, 6, (count, TOKENS))
    return Rows({"text": text}, {"text": np.arange(count)}, (text == 5).any(1).astype(np.int32))


def config(**changes) -> Train:
    return Train(**{"epochs": 10, "batch_size": 16, "learning_rate": 0.03, "trackers": [], **changes})


def fit(
    out: Path,
    model: nn.Module | None = None,
    *,
    validate: Callable[[nn.Module], np.ndarray] | None = None,
    freeze=None,
    known=None,
    **changes,
):
    rows, model = toy_rows(), model or build_model()
    check = Batches(rows, 64, shuffle=False)
    history = train(
        model,
        Batches(rows, 16),
        objective=Objective([Loss(name="cross_entropy")], with_teacher=False),
        config=config(**changes),
        ctx=Context(out, say=lambda line: None),
        validate=validate or (lambda m: marks(predict(m, check), rows.labels)),
        label="toy",
        freeze=freeze,
        known=known,
    )
    return model, history


def test_layers_calculate_in_the_precision_asked_for_and_weights_stay_float32(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []
    model = build_model()
    model.head.register_forward_hook(lambda *given: seen.append(given[2].logits.dtype))
    fit(tmp_path, model, precision="bf16", max_steps=3, validate=lambda m: gains(0.0))
    assert set(seen) == {torch.bfloat16} and {p.dtype for p in model.parameters()} == {torch.float32}
    assert predict(model, Batches(toy_rows(), 64, shuffle=False)).dtype == np.float32 and seen[-1] == torch.float32


def test_a_model_learns_as_well_in_bfloat16(tmp_path: Path) -> None:
    (_, exact), (_, quick) = fit(tmp_path / "exact"), fit(tmp_path / "quick", precision="bf16")
    assert quick.best >= exact.best - 0.05 and quick.curve != exact.curve


def test_train_learns_a_toy_problem(tmp_path: Path) -> None:
    model, history = fit(tmp_path, epochs=30)
    assert history.steps == history.planned_steps == 30 * 4
    assert history.best >= 0.95 > history.curve[0]["accuracy"]
    rows = toy_rows()
    assert accuracy(predict(model, Batches(rows, 7, shuffle=False)), rows.labels) == history.best


def test_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, second = fit(tmp_path / "a")[0].state_dict(), fit(tmp_path / "b")[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (0, 1 / 4),  # warm-up of round(0.2 * 20) = 4 steps
        (3, 1.0),
        (4, 1.0),  # cos(0)
        (12, 0.5),  # half of the 16 steps left: (1 + cos(pi / 2)) / 2
        (19, 0.5 * (1 + math.cos(math.pi * 15 / 16))),
    ],
)
def test_rate_climbs_and_falls_as_a_cosine(step: int, share: float) -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=9.0)
    set_rate(optimizer, config(learning_rate=0.4, warmup_fraction=0.2), step, 20)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.4 * share)


def test_rate_without_warm_up_starts_at_its_peak() -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=9.0)
    set_rate(optimizer, config(learning_rate=0.4, warmup_fraction=0.0), 0, 20)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.4)


def test_best_weights_stay_and_not_the_last(tmp_path: Path) -> None:
    scores, seen = iter([0.2, 0.9, 0.5, 0.4]), []

    def validate(model: nn.Module) -> np.ndarray:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return gains(next(scores))

    model, history = fit(tmp_path, epochs=4, validate=validate)
    assert (history.best, history.best_step) == (pytest.approx(0.9), 8)
    assert [point["step"] for point in history.curve] == [4, 8, 12, 16]
    for name, value in model.state_dict().items():
        assert torch.equal(value, seen[1][name])
    assert not torch.equal(seen[1]["head.output.weight"], seen[3]["head.output.weight"])


def test_first_weights_stay_where_training_only_does_harm(tmp_path: Path) -> None:
    model = build_model()
    first = {name: value.clone() for name, value in model.state_dict().items()}
    model, history = fit(tmp_path, model, epochs=2, validate=lambda m: gains(0.5), known=gains(0.6))
    assert (history.best, history.best_step) == (pytest.approx(0.6), 0)
    for name, value in model.state_dict().items():
        assert torch.equal(value, first[name])


def test_later_of_two_equally_good_weights_stay(tmp_path: Path) -> None:
    _, history = fit(tmp_path, epochs=3, validate=lambda model: gains(0.5))
    assert history.best_step == 12


def test_training_stops_after_patience_validations_without_a_gain(tmp_path: Path) -> None:
    scores = iter([0.5, 0.6, 0.3, 0.2, 1.0])
    _, history = fit(tmp_path, epochs=5, patience=2, validate=lambda model: gains(next(scores)))
    assert history.stopped_early
    assert history.steps == 16
    assert history.best == pytest.approx(0.6)


def test_stopped_training_stays_stopped_when_run_again(tmp_path: Path) -> None:
    scores = iter([0.5, 0.4])
    first, _ = fit(tmp_path, epochs=5, patience=1, validate=lambda model: gains(next(scores)))
    second, history = fit(tmp_path, epochs=5, patience=1, validate=lambda model: gains(next(scores)))
    assert history.stopped_early
    assert history.steps == 8
    assert torch.equal(first.head.output.weight, second.head.output.weight)


def test_patience_counts_on_over_an_interruption(tmp_path: Path) -> None:
    scores: list[float] = [0.5, 0.4]

    def validate(model: nn.Module) -> np.ndarray:
        if not scores:
            raise KeyboardInterrupt
        return gains(scores.pop(0))

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, epochs=9, patience=3, checkpoint_seconds=0, validate=validate)
    scores += [0.3, 0.2, 0.9]
    _, history = fit(tmp_path, epochs=9, patience=3, checkpoint_seconds=0, validate=validate)
    assert [point["accuracy"] for point in history.curve] == pytest.approx([0.5, 0.4, 0.3, 0.2])
    assert history.stopped_early


@pytest.mark.parametrize("bad_step", [0, 7, 19])  # logged, between two logs, the last
def test_loss_that_is_no_number_ends_the_run_and_names_the_rate(tmp_path: Path, bad_step: int) -> None:
    model, count = build_model(), 0

    def spoil(module: nn.Module, args: tuple, outputs: Outputs) -> Outputs:
        nonlocal count
        count += module.training
        return Outputs(outputs.logits * float("nan")) if module.training and count == bad_step + 1 else outputs

    model.register_forward_hook(spoil)
    where = rf"toy: step {bad_step}: .*\(cross_entropy nan\); the student gives none in 16 of 16 rows, .*learning_rate \(now 0.03\)"
    with pytest.raises(CompressError, match=where):
        fit(tmp_path, model, epochs=5)


def test_rows_that_are_no_number_are_named_and_whose_they_are() -> None:
    fine, torn = Outputs(torch.zeros(3, 2), torch.zeros(3, 4)), Outputs(torch.zeros(3, 2), torch.tensor([[0.0], [math.inf], [0.0]]))
    parts = {"cross_entropy": torch.tensor(1.0), "hint": torch.tensor(math.inf)}
    index = np.array([7, 5, 3])
    assert describe_fault(parts, fine, torn, index) == (
        "the loss is no number (hint inf); the teacher gives none in 1 of 3 rows, such as [5]"
    )
    assert describe_fault(parts, fine, None, index).endswith("though student and teacher are, in 3 rows, such as [7, 5, 3]")


def with_states(rows: Rows) -> Rows:
    """Rows with a teacher whose embedding says how often each token occurs."""
    counts = np.stack([(rows.inputs["text"] == token).sum(1) for token in range(1, 6)], 1).astype(np.float16)
    return replace(rows, targets=np.zeros((1, len(counts), CLASSES), np.float16), hidden={"embedding": counts[None]})


def hint_run(out: Path, **changes) -> tuple[nn.Module, Objective, list]:
    rows = with_states(toy_rows())
    objective, shares = Objective([Loss(name="hint")], widths={"embedding": (8, 5)}), []
    objective.register_forward_pre_hook(lambda module, args, given: shares.append(given["done"]), with_kwargs=True)
    model, ctx = build_model(), Context(out, say=lambda line: None)
    history = train(
        model, Batches(rows, 16), objective=objective, config=config(**changes), ctx=ctx, validate=lambda m: gains(0.5), label="toy"
    )
    return model, objective, [history, shares]


def test_projection_is_trained_beside_the_model_and_each_term_has_a_curve(tmp_path: Path) -> None:
    model, objective, (history, shares) = hint_run(tmp_path, epochs=20)
    terms = [point["terms"]["hint"] for point in history.curve]
    assert terms[-1] < 0.2 * terms[0]
    assert "hint" not in "".join(model.state_dict())  # and is no part of it
    assert not torch.equal(
        objective.projections["hint"].weight, Objective([Loss(name="hint")], widths={"embedding": (8, 5)}).projections["hint"].weight
    )
    assert shares[0] == 0.0 and shares[-1] == 1.0 and shares == sorted(shares)


def test_projection_of_a_finished_training_comes_back_with_the_model(tmp_path: Path) -> None:
    first, again = hint_run(tmp_path, epochs=2), hint_run(tmp_path, epochs=2)
    assert again[2][1] == []  # no step is made
    assert torch.equal(first[1].projections["hint"].weight, again[1].projections["hint"].weight)


def test_tracker_that_is_not_installed_ends_the_run_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "wandb" else real(name, *rest))
    model = build_model()
    model.register_forward_pre_hook(lambda module, args: pytest.fail("a step was made"))
    with pytest.raises(DependencyError, match="'wandb' is not installed"):
        fit(tmp_path, model, trackers=["tensorboard", "wandb"])


def test_scalars_reach_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(tmp_path, epochs=6, trackers=["tensorboard"])
    events = EventAccumulator(str(tmp_path / "logs" / "toy"))
    events.Reload()
    assert {"loss", "cross_entropy", "rate", "validation_accuracy"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss")] == [0, 20]
    assert len(events.Scalars("validation_accuracy")) == 6
    assert events.Scalars("loss")[0].value == pytest.approx(events.Scalars("cross_entropy")[0].value)


@pytest.mark.parametrize(("share", "step"), [(0.0, 0), (0.5, 4), (0.6, 5), (1.0, None)])  # ceil(share * 8 steps); 1.0: never
def test_freeze_is_called_once_at_its_step(tmp_path: Path, share: float, step: int | None) -> None:
    model, steps, calls = build_model(), 0, []

    def count(module: nn.Module, args: tuple) -> None:
        nonlocal steps
        steps += module.training

    model.register_forward_pre_hook(count)
    fit(tmp_path, model, epochs=2, freeze=(share, lambda m: calls.append(steps)))
    assert calls == ([] if step is None else [step])


def test_matrices_decay_and_vectors_do_not() -> None:
    model = build_model()
    model.encoders["text"].words.weight.requires_grad_(False)
    decayed, spared = parameter_groups(model, 0.1)
    assert [p.shape for p in decayed["params"]] == [(CLASSES, 8)]
    assert [p.shape for p in spared["params"]] == [(CLASSES,)]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_gentle_parameters_learn_at_their_share_of_the_rate() -> None:
    model = build_model()
    slow = [*model.encoders.parameters()]
    groups = parameter_groups(model, 0.1, (0.25, slow))
    optimizer = torch.optim.AdamW(groups)
    set_rate(optimizer, config(learning_rate=0.2, warmup_fraction=0.0), 0, 10)  # at its peak
    assert [(len(g["params"]), g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (1, 0.2, 0.1),  # the head's matrix and bias
        (1, 0.2, 0.0),
        (1, 0.05, 0.1),  # the words
        (0, 0.05, 0.0),
    ]


def test_predict_keeps_the_rows_order_and_the_models_mode() -> None:
    rows, model = toy_rows(), build_model().train()
    got = predict(model, Batches(rows, 7, shuffle=False))
    assert model.training
    with torch.no_grad():
        expected = model.eval()({"text": torch.from_numpy(rows.inputs["text"])}).logits.numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_accuracy_counts_labelled_rows_alone() -> None:
    logits = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert accuracy(logits, np.array([1, 1, 0, -1])) == pytest.approx(2 / 3)


def test_accuracy_of_no_labelled_row_is_an_error() -> None:
    with pytest.raises(CompressError, match="no labelled row"):
        accuracy(np.zeros((2, 2)), np.array([-1, -1]))
