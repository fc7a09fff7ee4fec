"""Integrated gradients: golden shares, what adds up, texts along their vectors, and rows that lack inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from ports import io_spec
from torch import Tensor, nn

from compress.io_spec import PRESENT, Outputs, Port
from compress.models.gradients import STEPS, Attribution, integrated_gradients
from compress.models.student import student
from compress.tasks.task import task

LENGTH, TOKENS = 6, 50


class Line(nn.Module):
    """logits (2 a + b - ignored * 0, 0), so that p = sigmoid((2 a + b) / T) for the first label."""

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        score = 2 * inputs["a"][:, 0] + inputs["b"][:, 0]
        return Outputs(torch.stack([score, torch.zeros_like(score)], 1))


def gradients(model: nn.Module, feeds: dict, others: dict, *, temperature: float = 1.0, steps: int = STEPS) -> Attribution:
    """Of the probability of one of K labels."""
    room = task("single_label", facts={"temperature": temperature})
    (found,) = integrated_gradients(model, feeds, others, explain=partial(room.explained, names=[], xp=torch), steps=steps)
    return found


def rows(a: list[float], b: list[float], c: list[float]) -> dict[str, np.ndarray]:
    return {name: np.array(values, np.float32)[:, None] for name, values in (("a", a), ("b", b), ("c", c))}


class WithIgnored(Line):
    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        outputs = super().forward(inputs)
        return Outputs(outputs.logits + 0 * inputs["c"])


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_along_one_slope_an_input_gets_its_share_of_the_way(temperature: float) -> None:
    found = gradients(WithIgnored(), rows([1.0], [1.0], [9.0]), rows([0.0, 0.0], [-2.0, 0.0], [0.0, 0.0]), temperature=temperature)
    # from b = -1 to 1 and a = 0 to 1 the score goes from -1 to 3, half of it by each; c is not looked at
    start, end = 1 / (1 + np.exp(1 / temperature)), 1 / (1 + np.exp(-3 / temperature))
    assert found.answered == pytest.approx([end]) and found.baseline == pytest.approx([start])
    assert found.points["a"] == pytest.approx([(end - start) / 2], rel=1e-5) and found.points["b"] == pytest.approx(
        [(end - start) / 2], rel=1e-5
    )
    assert found.points["c"].tolist() == [0.0] and found.error[0] < 1e-6


def test_answer_is_the_rows_own() -> None:
    found = gradients(WithIgnored(), rows([-1.0], [-1.0], [0.0]), rows([0.0], [0.0], [0.0]))
    assert found.answered == pytest.approx([1 - 1 / (1 + np.exp(3))]) and found.points["a"][0] > 0  # of the second label


def inputs(seed: int, count: int = 4) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    text = draw.integers(1, TOKENS, (count, LENGTH))
    text[0, 3:] = 0
    image = draw.integers(0, 256, (count, 1, 1, 3)) + draw.integers(-40, 40, (count, 16, 16, 3))  # of a colour each
    return {"image": image.clip(0, 255).astype(np.uint8), "text": text}


@pytest.fixture(scope="module")
def make() -> Callable[..., nn.Module]:
    """A student of images and texts whose answers are far from even."""

    def made(*, gaps: bool = False, text: str = "distilbert", fusion: str = "product") -> nn.Module:
        torch.manual_seed(0)
        io = io_spec(image_size=16, text_length=LENGTH, vocabulary=TOKENS, classes=3)
        io = replace(io, inputs=(*io.inputs, Port(PRESENT, "float32", (2,), 0, 1))) if gaps else io
        encoders = {
            "image": {"model": "mobilenet_v4", "options": {"width": 0.25, "out": 16, "stem_stride": 1}},
            "text": {"model": text, "options": {"width": 16} | ({"layers": 1} if text == "distilbert" else {})},
        }
        model = student(io, encoders=encoders, head_width=16, fusion={"name": fusion, "options": {}})
        with torch.no_grad():
            for _ in range(30):  # running statistics of its norms
                model.encoders["image"](torch.from_numpy(inputs(7, 64)["image"]))
            model.head.output.weight.mul_(2)
        return model.eval()

    return made


@pytest.mark.parametrize("options", [{}, {"text": "bag"}, {"fusion": "cross_attention"}], ids=str)
def test_sum_over_modalities_is_what_the_path_adds(make: Callable, options: dict) -> None:
    model, feeds, others = make(**options), inputs(0), inputs(1)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    found = gradients(model, feeds, others)
    with torch.no_grad():
        p = model({m: torch.from_numpy(x) for m, x in feeds.items()}).logits.softmax(1).amax(1)
    assert found.answered == pytest.approx(p.double().numpy(), abs=1e-5)
    assert np.abs(found.answered - found.baseline).max() > 0.05  # there is something to share out
    assert found.error.max() < 0.03  # three points of probability
    assert gradients(model, feeds, others, steps=2).error.max() > 2 * found.error.max()  # that is what the steps are for
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_text_is_moved_from_the_mean_vector_of_the_words_and_padding_stays(make: Callable) -> None:
    model, feeds, others = make(text="bag"), inputs(0), inputs(1)
    others["text"][:, 1:] = 0
    found = gradients(model, feeds, others)
    table = model.encoders["text"].words.weight.detach()
    mean = table[torch.from_numpy(others["text"][:, 0])].mean(0)
    with torch.no_grad():  # the start of the path by hand: what the bag gives for mean words is their mean, for any length
        features = {
            "image": model.encoders["image"](torch.from_numpy(others["image"]).float().mean(0, keepdim=True)),
            "text": mean[None],
        }
        start = model.head(features).logits.softmax(1)[0]
        answers = model({m: torch.from_numpy(x) for m, x in feeds.items()}).logits.argmax(1)
    assert found.baseline == pytest.approx(start[answers].double().numpy(), abs=1e-5)


def test_what_a_row_lacks_says_nothing_and_the_rest_adds_up(make: Callable) -> None:
    model, feeds = make(gaps=True), {**inputs(0), PRESENT: np.array([[1, 1], [0, 1], [1, 0], [1, 1]], np.float32)}
    found = gradients(model, feeds, {**inputs(1), PRESENT: np.ones((4, 2), np.float32)})
    assert np.isnan(found.points["image"]).tolist() == [False, True, False, False]
    assert np.isnan(found.points["text"]).tolist() == [False, False, True, False]
    assert found.error.max() < 0.03


class Numbers(nn.Module):
    """logits (2 a + b, a b): a linear number, and one that is not."""

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        a, b = inputs["a"][:, 0], inputs["b"][:, 0]
        return Outputs(torch.stack([2 * a + b, a * b], 1))


def test_each_number_of_an_answer_is_told_apart_in_its_own_unit() -> None:
    room = task("regression", facts={"mean": [5.0, 0.0], "deviation": [10.0, 1.0]})
    explain = partial(room.explained, names=["price", "area"], xp=torch)
    price, area = integrated_gradients(Numbers(), rows([1.0], [2.0], [0.0]), rows([0.0], [0.0], [0.0]), explain=explain)
    assert (price.of.what, area.of.what) == ("price", "area")
    assert price.answered == pytest.approx([45]) and price.baseline == pytest.approx([5])
    assert price.points["a"] == pytest.approx([20]) and price.points["b"] == pytest.approx([20])
    # along (s, 2 s) the slope of a b is 2 s by a and s by b: integrals 1 and 1 / 2, times the way of 1 and 2
    assert area.points["a"] == pytest.approx([1]) and area.points["b"] == pytest.approx([1]) and area.error[0] < 1e-5
