"""Several heads: labels of which a row may lack some, figures and losses equal to those of each head alone, and the same on a device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from compress.data.columns import join_answers
from compress.device import tasks as on_device
from compress.errors import DataError
from compress.io_spec import ABSENT, IOSpec, Outputs
from compress.losses.objective import Objective, labels_of, starting_scales
from compress.recipe.terms import Loss
from compress.tables import LOSSES, resolve
from compress.tasks.labels import known
from compress.tasks.several import Several
from compress.tasks.task import task
from compress.training.teaching import count_labels

STATES: list[Any] = ["up", "down", "up", None, "up", None]
PRICES: list[Any] = [1.0, 3.0, None, 5.0, None, None]
TAGS: list[Any] = ["hot|wet", "hot", "wet", None, None, None]
HEADS = {
    "state": {"task": "single_label", "task_options": {}, "column": "state", "weight": 1.0},
    "price": {"task": "regression", "task_options": {}, "column": "cost", "weight": 0.5},
    "tags": {"task": "multi_label", "task_options": {}, "column": "tags", "weight": 2.0},
}
ROOM: Any = task("several", options={"data_heads": HEADS})


def column(states: list[Any] = STATES, prices: list[Any] = PRICES, tags: list[Any] = TAGS) -> pa.ChunkedArray:
    given = {"state": pa.array(states, pa.string()), "price": pa.array(prices, pa.float64()), "tags": pa.array(tags, pa.string())}
    table = join_answers(pa.table({f"answer {name}": cells for name, cells in given.items()}))
    return ROOM.cells(table.column("label"), "here")


NAMES = ROOM.names(column())
TOLD: Any = ROOM.with_facts(ROOM.learn(column(), NAMES))
LABELS, BLANK = TOLD.encode(column(), NAMES)
STATE, PRICE, TAG = TOLD.heads


def draw(rows: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 5)).astype(np.float32)


def alone(name: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """The same head as a task of its own: the task, its labels of the rows that have one, and which those are."""
    cells = {"state": pa.array(STATES, pa.string()), "price": pa.array(PRICES, pa.float64()), "tags": pa.array(TAGS, pa.string())}[name]
    room = task(HEADS[name]["task"])
    found = room.cells(pa.chunked_array([cells]), "here")
    names = room.names(found)
    room = room.with_facts(room.learn(found, names))
    labels, _ = room.encode(found, names)
    return room, labels[known(labels)], known(labels)


def test_names_and_labels_stand_head_behind_head() -> None:
    assert NAMES == ["state: down", "state: up", "price", "tags: hot", "tags: wet"]
    assert BLANK.tolist() == [False] * 5 + [True] and known(LABELS).tolist() == [True] * 5 + [False]
    assert LABELS[:, 0].tolist()[:5] == [1, 0, 1, ABSENT, 1] and np.isnan(LABELS[5]).all()
    assert LABELS[:, 2:].tolist()[:3] == [[1, 1], [1, 0], [0, 1]]
    assert TAG.labels(LABELS).tolist() == [[1, 1], [1, 0], [0, 1], [-1, -1], [-1, -1], [-1, -1]]
    assert [part.there(LABELS).sum() for part in TOLD.heads] == [4, 3, 3]


def test_port_names_the_heads_and_comes_back_from_json() -> None:
    port = TOLD.port(NAMES)
    assert port.shape == (5,) and [(head.name, head.logits, head.labels) for head in port.heads] == [
        ("state", slice(0, 2), slice(0, 1)), ("price", slice(2, 3), slice(1, 2)), ("tags", slice(3, 5), slice(2, 4))
    ]  # fmt: skip
    io = IOSpec((), (port,))
    assert IOSpec.from_json(io.to_json()) == io


def test_unknown_answer_of_one_head_makes_the_row_unusable() -> None:
    labels, blank = TOLD.encode(column(["sideways", "up"], [1.0, math.nan], ["hot", "wet"]), NAMES)
    assert np.isnan(labels).all() and not blank.any()
    cells = column(["sideways", "up"], [1.0, math.nan], ["hot", "wet"]).to_pylist()
    assert TOLD.fault(cells[0], NAMES) == "data.heads.state: 'sideways' is no label of the training split"
    assert TOLD.fault(cells[1], NAMES) == "data.heads.price: [nan] is not a number"


def test_head_that_no_row_has_a_label_of_is_named() -> None:
    with pytest.raises(DataError, match="data.heads.state: no row of the training split has a label of this head; is column 'state' meant"):
        ROOM.names(column([None] * 6))
    with pytest.raises(DataError, match="data.heads.price: none of the 0 labels of the training split is a number"):
        ROOM.names(column(STATES, [None] * 6))
    with pytest.raises(DataError, match="data.heads.tags: no row of the training split has a tag"):
        ROOM.names(column(STATES, PRICES, [None] * 6))
    with pytest.raises(DataError, match=r"data.heads.price: no row of test has a label of this head"):
        TOLD.check(NAMES, {"train": LABELS, "test": LABELS[2:3]})
    with pytest.raises(DataError, match="here is string, but each head needs a label of its own"):
        ROOM.cells(pa.chunked_array([["up"]]), "here")
    with pytest.raises(DataError, match="here has nothing for data.heads.price; there are state"):
        ROOM.cells(pa.chunked_array([pa.array([{"state": "up"}])]), "here")


@pytest.mark.parametrize("name", HEADS)
def test_figures_of_a_head_are_those_of_the_head_alone(name: str) -> None:
    room, labels, there = alone(name)
    (part,) = [one for one in TOLD.heads if one.name == name]
    logits = draw()
    own = part.logits(logits)[there]
    fitted = TOLD.with_facts(TOLD.fit(logits, LABELS))
    room = room.with_facts(room.fit(own, labels))
    (told,) = [one for one in fitted.heads if one.name == name]
    assert told.task.facts == room.facts
    assert np.array_equal(told.labels(fitted.answers(logits))[there], room.answers(own))
    assert np.array_equal(
        told.task.gains(told.labels(fitted.answers(logits))[there], told.labels(LABELS)[there]), room.gains(room.answers(own), labels)
    )
    for metric, computed in room.metrics.items():
        if metric != room.metric:
            assert fitted.metrics[f"{name}_{metric}"].compute(logits, LABELS) == pytest.approx(computed.compute(own, labels), nan_ok=True)
            assert fitted.metrics[f"{name}_{metric}"].of(LABELS).tolist() == there.tolist()
    assert np.allclose(
        TOLD.guess(LABELS[:5], np.zeros(5, int), 1)[0, part.place.logits], room.guess(labels, np.zeros(len(labels), int), 1)[0]
    )
    assert TOLD.account(LABELS, NAMES)["heads"][name] == {"labelled_rows": len(labels), **room.account(labels, part.names)}


def test_mean_gain_is_the_mean_over_the_heads_of_their_own() -> None:
    answers = LABELS.copy()
    answers[0, 0] = 0  # one of four states is wrong; no price and no tag is
    answers[answers == ABSENT] = 1
    gains = TOLD.gains(answers[:5], LABELS[:5])
    assert gains.mean() == pytest.approx((3 / 4 + 1 + 1) / 3)
    assert gains[4] == pytest.approx(5 / 4 / 3)  # the state alone, which 4 of 5 rows have
    assert TOLD.right(answers[:5], LABELS[:5]).tolist() == [False, True, True, True, True]
    assert TOLD.gains(answers[4:5], LABELS[4:5]).tolist() == [1]  # heads that none of the rows has have no say
    assert TOLD.score(draw(), LABELS) == pytest.approx(TOLD.metrics["mean_of_heads"].compute(draw(), LABELS))


def test_rows_that_lack_a_label_are_never_right_and_logits_that_are_not_finite_answer_nothing() -> None:
    logits = draw()
    logits[1, 2] = np.inf
    answers = TOLD.answers(logits)
    assert known(answers).tolist() == [True, False, True, True, True, True]
    assert TOLD.gains(answers, LABELS)[1] == 0 and not TOLD.right(LABELS, LABELS)[5]
    assert TOLD.show(LABELS[2], NAMES) == "state: up; price: -; tags: wet" and "not a number" in TOLD.show(answers[1], NAMES)


def test_strata_are_those_of_the_first_head_of_a_row() -> None:
    strata = TOLD.strata(LABELS)
    assert strata[:3].tolist() == [1, 0, 1] and strata[4] == 1 and strata[3] >= 2 and strata[5] == -1


def test_guess_takes_the_best_answer_to_all_where_a_code_lacks_the_head() -> None:
    found = TOLD.guess(LABELS[:5], np.array([0, 0, 1, 2, 2]), 3)
    assert found[:, 2].tolist() == pytest.approx([(2 - 3) / math.sqrt(8 / 3), 0, 2 / math.sqrt(8 / 3)])  # of 1 and 3; of all; of 5
    assert TOLD.answers(found)[2, 0] == 1 and TAG.labels(TOLD.answers(found))[2].tolist() == [1, 0]


def objective(losses: list[dict[str, Any]], **more: Any) -> Objective:
    return Objective([Loss.model_validate(loss) for loss in losses], heads=TOLD.port(NAMES).heads, **more)


TERMS = [
    {"name": "cross_entropy", "head": "state"}, {"name": "kd", "head": "state", "options": {"temperature": 2.0}},
    {"name": "squared_error", "head": "price"}, {"name": "number_kd", "head": "price", "weight": 3.0},
    {"name": "binary_cross_entropy", "head": "tags"}, {"name": "binary_kd", "head": "tags"},
]  # fmt: skip


def test_loss_is_the_weighted_sum_of_the_losses_of_each_head_alone() -> None:
    student, teacher = (Outputs(torch.from_numpy(draw(seed=seed))) for seed in (1, 2))
    total, parts = objective(TERMS)(student, teacher, torch.from_numpy(LABELS))
    wanted = 0.0
    for term in TERMS:
        (head,) = [part.place for part in TOLD.heads if part.name == term["head"]]
        own = {"state": torch.tensor([1, 0, 1, -1, 1, -1]), "tags": torch.from_numpy(TAG.labels(LABELS)).long()}
        labels = own.get(head.name, torch.from_numpy(PRICE.labels(LABELS)))
        assert torch.equal(labels_of(head, torch.from_numpy(LABELS)).nan_to_num(-9), labels.nan_to_num(-9))
        cut = [one._replace(logits=one.logits[:, head.logits]) for one in (student, teacher)]
        value = resolve(LOSSES[str(term["name"])])(*cut, labels, **term.get("options", {}))
        assert parts[f"{term['name']} of {head.name}"] == value
        wanted += term.get("weight", 1.0) * HEADS[head.name]["weight"] * float(value)
    assert float(total) == pytest.approx(wanted, rel=1e-6)


def test_row_without_a_heads_label_moves_that_head_by_the_teacher_alone() -> None:
    logits = torch.from_numpy(draw()).requires_grad_()
    objective([term for term in TERMS if "kd" not in str(term["name"])], with_teacher=False)(
        Outputs(logits), None, torch.from_numpy(LABELS)
    )[0].backward()
    moved = (logits.grad != 0).numpy()
    assert moved[:, :2].any(1).tolist() == STATE.there(LABELS).tolist()
    assert moved[:, 2].tolist() == PRICE.there(LABELS).tolist() and moved[:, 3:].any(1).tolist() == TAG.there(LABELS).tolist()


def test_terms_are_scaled_to_the_labels_of_their_own_head() -> None:
    made = objective(TERMS)
    parts = {name: torch.tensor(value) for name, value in zip([t.name for t in made.terms], (1.0, 4.0, 8.0, 2.0, 0.5, 5.0), strict=True)}
    assert starting_scales(made, parts) == pytest.approx({"kd of state": 0.25, "binary_kd of tags": 0.1})


def test_rows_of_a_heads_labels_are_counted_for_losses_that_weigh_them() -> None:
    counts = count_labels(LABELS, TOLD.port(NAMES).heads, 5)
    assert counts is not None and counts.tolist() == [1, 3, 0, 0, 0]
    logits, labels = torch.from_numpy(draw()), torch.from_numpy(LABELS)
    weighed = objective([{"name": "weighted_cross_entropy", "head": "state"}], counts=counts)(Outputs(logits), None, labels)[0]
    own = resolve(LOSSES["weighted_cross_entropy"])(Outputs(logits[:, :2]), None, torch.tensor([1, 0, 1, -1, 1, -1]), counts=counts[:2])
    assert weighed == own


def test_device_answers_each_head_by_its_own_task() -> None:
    module, facts = on_device.answerer("several"), TOLD.facts
    logits = np.array([[-2, 2, 0.5, 3, -3]], np.float32)
    answer = module.answer({"logits": logits}, NAMES, facts=facts)
    assert answer["heads"]["state"]["label"] == "up" and answer["heads"]["tags"]["tags"] == ["hot"]
    assert answer["heads"]["price"] == {"task": "regression", "value": pytest.approx(3 + 0.5 * math.sqrt(8 / 3))}  # of 1, 3, 5
    assert module.lines(answer)[0] == "state: up  0.982" and module.lines(answer)[3].startswith("price: 3.8")
    for found in (module.decisions(logits, facts), TOLD.decisions(logits)):
        assert found[0].tolist() == [2, 3, 3] and found[1].tolist() == [1, 1, 0]


def test_room_is_made_again_from_its_facts_alone() -> None:
    again = task("several", facts=TOLD.facts)
    assert isinstance(again, Several) and again.port(NAMES) == TOLD.port(NAMES)
    assert again.sentence(NAMES) == "3 heads: state, classification into 2 labels; price, a number; tags, any of 2 tags"
    assert [term["head"] for term in again.on_labels] == [*HEADS]
