"""What each input is worth for an answer, on models whose probabilities are known by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from compress.device.errors import DeviceError
from compress.device.explain import explain, lines, weigh_inputs
from compress.device.predictor import Predictor
from compress.device.tasks import single_label
from compress.stages.bundle import write_bundle

probability = partial(single_label.explained, labels=["a", "b"], facts={})
QUESTION = "what colour is the square ?"


def run(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """logits (log(a + b), 0): the probability of the first label is (a + b) / (a + b + 1)."""
    total = feeds["a"] + feeds["b"]
    return {"logits": np.stack([np.log(total), np.zeros(len(total))], 1)}


def weigh(run, feeds: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is lost of the one number that there is."""
    ((number, lost),) = weigh_inputs(run, feeds, others, explain=probability)
    assert number.what == "its probability" and number.unit == "points"
    return lost


def test_an_input_is_worth_what_the_answer_loses_when_others_stand_in_for_it() -> None:
    feeds, others = {"a": np.array([8.0]), "b": np.array([1.0])}, {"a": np.array([1.0, 3.0]), "b": np.array([1.0, 1.0])}
    lost = weigh(run, feeds, others)
    # 9 / 10 as it is; with a = 1 and 3: 2 / 3 and 4 / 5; b is the same everywhere
    assert lost["a"] == pytest.approx([0.9 - (2 / 3 + 4 / 5) / 2]) and lost["b"] == pytest.approx([0.0])


def test_each_row_meets_every_other_once() -> None:
    feeds = {"a": np.array([8.0, 8.0, 8.0]), "b": np.array([1.0, 1.0, 1.0])}
    lost = weigh(run, feeds, {"a": np.array([1.0, 3.0]), "b": np.ones(2)})
    assert lost["a"] == pytest.approx([lost["a"][0]] * 3)


def test_the_answer_that_is_weighed_is_the_rows_own() -> None:
    # alone the row has label 1 with 1 / 1.5 = 2 / 3; with a = 4 label 1 has 1 / 5.25
    feeds = {"a": np.array([0.25]), "b": np.array([0.25])}
    lost = weigh(run, feeds, {"a": np.array([4.0]), "b": np.array([0.25])})
    assert lost["a"] == pytest.approx([2 / 3 - 1 / 5.25])


def test_an_input_is_left_out_where_the_model_reads_which_are_there() -> None:
    def gated(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return run({name: np.where(feeds["present"][:, i] > 0, feeds[name], 0.5) for i, name in enumerate(("a", "b"))})

    feeds = {"a": np.array([8.0, 8.0]), "b": np.array([1.0, 1.0]), "present": np.array([[1.0, 1.0], [1.0, 0.0]])}
    lost = weigh(gated, feeds, {})
    assert lost["a"][0] == pytest.approx(0.9 - 1.5 / 2.5) and lost["b"][0] == pytest.approx(0.9 - 8.5 / 9.5)
    assert np.isnan(lost["a"][1]) and np.isnan(lost["b"][1])  # all there is, and not there at all
    assert feeds["present"].tolist() == [[1, 1], [1, 0]]


def test_explain_gives_the_answer_of_predict_and_what_each_input_was_worth(bundle: Path, picture: Path) -> None:
    predictor = Predictor(bundle)
    explained = explain(predictor, {"image": picture, "text": QUESTION})
    (number,) = explained.pop("explained")
    assert explained == predictor.predict(image=picture, text=QUESTION) and set(number["lost"]) == {"image", "text"}
    assert number["value"] == pytest.approx(explained["probability"])
    told = lines({**explained, "explained": [{**number, "lost": {"image": 0.25, "text": -0.01}}]}, "single_label")
    assert (
        told[0].startswith(explained["label"]) and told[1].split()[:2] == ["image", "+0.250"] and told[2].split()[:2] == ["text", "-0.010"]
    )


def test_explain_says_what_was_missing_and_what_is_all_there_is(tmp_path: Path, bundle_arguments, picture: Path) -> None:
    write_bundle(tmp_path / "gaps", **bundle_arguments(("image", "text", "present")))
    explained = explain(Predictor(tmp_path / "gaps"), {"image": picture})
    assert explained["explained"][0]["lost"] == {"image": None, "text": None}
    assert [line.split(maxsplit=1)[1] for line in lines(explained, "single_label")[1:]] == ["is all there is", "was missing"]


def test_explain_refuses_a_task_whose_answers_inputs_have_no_part_in(bundle: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(single_label, "explained")
    with pytest.raises(DeviceError, match="'single_label' has no number that inputs could be weighed by"):
        explain(Predictor(bundle), {"image": picture, "text": QUESTION})


def test_each_head_and_each_number_has_lines_of_its_own() -> None:
    lost = {"image": 2.0, "text": -1.5}
    answer = {
        "heads": {
            "kind": {"task": "single_label", "label": "cat", "probability": 0.75, "top": []},
            "price": {"task": "regression", "value": 8.0},
        },
        "explained": [
            {"what": "its probability", "head": "kind", "unit": "points", "value": 0.75, "lost": {"image": None, "text": 0.5}},
            {"what": "value", "head": "price", "unit": "the data's unit", "value": 8.0, "lost": lost},
        ],
        "missing": ["image"],
    }
    assert lines(answer, "several") == [
        "kind: cat  0.750",
        "  text       +0.500 of its probability come from it: 0.250 without",
        "  image      was missing",
        "price: 8",
        "  image      +2.000 of value come from it: 6.000 without",
        "  text       -1.500 of value come from it: 9.500 without",
    ]
    numbers = [{"what": name, "head": "", "unit": "the data's unit", "value": 1.0, "lost": {"text": 1.0}} for name in ("x", "y")]
    assert lines({"x": 1.0, "y": 1.0, "explained": numbers}, "regression") == [
        "x  1",
        "  text       +1.000 of x come from it: 0.000 without",
        "  text       +1.000 of y come from it: 0.000 without",
    ]
