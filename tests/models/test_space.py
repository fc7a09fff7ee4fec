"""Heads that end in a vector of length 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ports import io_spec
from torch import nn

from compress.errors import RecipeError
from compress.io_spec import IOSpec, Outputs, Port
from compress.models.classifier import LinearHead
from compress.models.space import OwnSpace, Unit, own_space, unit
from compress.models.student import fitted_teacher, student


def asked(size: int, *modalities: str) -> IOSpec:
    inputs = [Port("numbers", "float32", (6,)), Port("audio", "int32", (3200,))][: len(modalities)]
    return IOSpec(tuple(inputs), (Port("logits", "float32", (size,), unit=True),))


def test_outputs_have_length_1_and_the_embedding_stays() -> None:
    torch.manual_seed(0)
    head = LinearHead("numbers", 6, 4)
    x = {"numbers": torch.randn(5, 6)}
    outputs = Unit(head)(x)
    torch.testing.assert_close(outputs.logits.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(outputs.logits, head(x).logits / head(x).logits.norm(dim=1, keepdim=True))
    assert outputs.embedding is x["numbers"]


def test_zeros_stay_and_have_a_gradient() -> None:
    x = torch.zeros(1, 3, requires_grad=True)
    unit(x).sum().backward()
    assert not unit(x).any() and torch.isfinite(x.grad).all()


def test_teacher_of_one_encoder_gives_its_own_vectors() -> None:
    teacher = fitted_teacher(asked(6, "numbers"), encoders={"numbers": {"model": "raw", "options": {}}}, hidden=8)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)) + 3
    teacher.encoders["numbers"][1].fit(x.numpy())  # a space has its own origin: nothing is taken off
    torch.testing.assert_close(teacher({"numbers": x}).logits, nn.functional.normalize(x))
    assert not list(teacher.parameters()) and own_space(teacher) is not None


def test_fewer_numbers_start_at_the_principal_directions() -> None:
    draw = np.random.default_rng(0)
    plane = draw.normal(size=(50, 2)) @ np.linalg.qr(draw.normal(size=(6, 2)))[0].T  # of 6 numbers only 2 are free
    space = OwnSpace("numbers", 6, 2)
    space.fit(plane)
    x = torch.tensor(plane, dtype=torch.float32)
    kept, whole = (nn.functional.normalize(v) for v in (space({"numbers": x}).logits, x))
    torch.testing.assert_close(kept @ kept.T, whole @ whole.T, rtol=1e-4, atol=1e-5)  # every cosine is kept


def test_more_numbers_than_the_encoder_has_are_refused() -> None:
    with pytest.raises(
        RecipeError, match=r"data.task_options.size: 7 numbers are more than the 6 that the teacher's numbers encoder gives"
    ):
        OwnSpace("numbers", 6, 7)


def test_outputs_of_other_tasks_are_not_normalised() -> None:
    encoders = {"image": {"model": "mobilenet_v4", "options": {"width": 0.25}}}
    made = student(io_spec(image_size=32, classes=3), encoders=encoders, head_width=8)
    assert not any(isinstance(part, Unit) for part in made.modules()) and own_space(made) is None


def test_student_ends_in_a_vector_whatever_its_head() -> None:
    made = student(asked(4, "numbers"), encoders={"numbers": {"model": "mlp", "options": {"width": 8}}}, head_width=8).eval()
    outputs: Outputs = made({"numbers": torch.randn(3, 6)})
    torch.testing.assert_close(outputs.logits.norm(dim=1), torch.ones(3))
