"""A student that ends in its teacher's last layer."""

from __future__ import annotations

import pytest
import torch
from ports import io_spec
from torch import nn

from compress.io_spec import Outputs
from compress.models.classifier import Classifier, Head, LinearHead
from compress.models.reuse import ReusedClassifier, last_layer
from compress.models.saved import load_model, save_model
from compress.models.student import student


def features(rows: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {m: torch.randn(rows, 5, generator=generator) for m in ("image", "text")}


def heads() -> list[nn.Module]:
    torch.manual_seed(0)
    return [LinearHead("image", 5, 3), Head({"image": 5, "text": 5}, hidden=7, classes=3)]


@pytest.mark.parametrize("number", [0, 1], ids=["one modality", "two"])
def test_embedding_is_what_the_kept_layer_reads_and_the_layer_is_not_trained(number: int) -> None:
    model = ReusedClassifier(heads()[number], width=4, classes=3)
    outputs = model(features())
    assert outputs.embedding.shape == (6, 4)
    torch.testing.assert_close(outputs.logits, model.output(outputs.embedding))
    outputs.logits.square().sum().backward()
    assert all(p.grad is None for p in model.output.parameters())
    assert model.project[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("number", [0, 1], ids=["one modality", "two"])
def test_last_layer_of_our_teachers_is_found(number: int) -> None:
    head = heads()[number]
    teacher = Classifier({}, head).eval()
    found = last_layer(teacher, head(features()))
    assert torch.equal(found.weight, head.output.weight) and torch.equal(found.bias, head.output.bias)


class Foreign(nn.Module):
    """Four logits of which the data has labels for the last and the first."""

    def __init__(self) -> None:
        super().__init__()
        self.other, self.classifier = nn.Linear(5, 4), nn.Linear(5, 4, bias=False)
        self.columns = torch.tensor([3, 0])


def test_last_layer_is_cut_to_the_labels_of_the_data() -> None:
    teacher, x = Foreign(), features()["image"]
    found = last_layer(teacher, Outputs(teacher.classifier(x)[:, [3, 0]], x))
    assert torch.equal(found.weight, teacher.classifier.weight[[3, 0]]) and not found.bias.any()


def test_teacher_that_does_more_behind_its_last_layer_has_none_to_keep() -> None:
    teacher, x = Foreign(), features()["image"]
    assert last_layer(teacher, Outputs(teacher.classifier(x)[:, [3, 0]].tanh(), x)) is None
    assert last_layer(teacher, Outputs(x[:, :2], None)) is None


def test_saved_student_that_ends_in_a_teachers_layer_loads(tmp_path) -> None:
    io = io_spec(text_length=4, vocabulary=9, classes=3)
    text = {"model": "distilbert", "options": {"layers": 1, "width": 8, "heads": 2, "feedforward": 8}}
    options = {"encoders": {"text": text}, "head_width": 8, "teacher_width": 11}
    model = student(io, **options).eval()
    save_model(model, tmp_path, name="student", options=options, io=io)
    inputs = {"text": torch.tensor([[1, 2, 0, 0]])}
    assert torch.equal(load_model(tmp_path)(inputs).embedding, model(inputs).embedding)
    assert model(inputs).embedding.shape == (1, 11)
