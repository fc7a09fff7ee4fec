"""Multiply-adds of a model: golden numbers, the report's own count of the exported file, and the least that a recipe tells."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from compress.graphs.coverage import int8_coverage
from compress.io_spec import IOSpec, Port
from compress.modalities.student_cost import least_cost
from compress.models.classifier import ByPort
from compress.models.cost import multiply_adds
from compress.models.saved import count_parameters
from compress.models.student import student
from compress.recipe.grammar import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "mobile_vqa.yaml"
IO = IOSpec((Port("image", "uint8", (32, 32, 3), 0, 255), Port("text", "int64", (8,), 0, 99)), (Port("logits", "float32", (13,)),))
ENCODERS = {
    "image": {"model": "mobilenet_v4", "options": {"width": 0.5, "out": 32}},
    "text": {"model": "distilbert", "options": {"layers": 1, "width": 32, "heads": 2, "feedforward": 64}},
}


def test_a_convolution_and_a_product_cost_what_they_multiply() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.product = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)

        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.product(self.convolution(inputs["image"].float().permute(0, 3, 1, 2)).mean((2, 3)))

    model = Two().train()
    assert multiply_adds(model, IOSpec((Port("image", "uint8", (6, 8, 3)),), ())) == 6 * 8 * 4 * 3 * 3 * 3 + 4 * 5
    assert model.training


@pytest.mark.parametrize("fusion", ["product", "cross_attention"])
def test_a_student_costs_what_the_report_counts_in_its_exported_file(fusion: str, tmp_path: Path) -> None:
    model = student(IO, encoders=ENCODERS, head_width=24, fusion={"name": fusion, "options": {}}).eval()
    inputs = (torch.zeros((1, 32, 32, 3), dtype=torch.uint8), torch.ones((1, 8), dtype=torch.int64))
    names = [port.name for port in IO.inputs]
    torch.onnx.export(ByPort(model, IO), inputs, tmp_path / "a.onnx", input_names=names, dynamo=True, verbose=False)
    assert multiply_adds(model, IO) == int8_coverage(tmp_path / "a.onnx", threads=1).multiply_adds


def test_the_least_cost_is_that_of_the_encoders_and_no_more_than_the_whole() -> None:
    loaded = load_recipe(RECIPE)
    least, described = least_cost(loaded), loaded.recipe.student
    encoders = {m: described.encoders.get(m) for m in ("image", "text")}
    ports = (Port("image", "uint8", (64, 64, 3), 0, 255), Port("text", "int64", (16,), 0, 99))
    options = {m: {"model": one.model, "options": one.options} for m, one in encoders.items()}
    whole = student(IOSpec(ports, IO.outputs), encoders=options, head_width=described.head_width)
    head, words = count_parameters(whole.head), 98 * 64  # of 100 tokens least_cost knows two
    assert least["parameters"] == count_parameters(whole) - head - words
    assert 0.9 * multiply_adds(whole, IOSpec(ports, IO.outputs)) < least["multiply_adds"] < multiply_adds(whole, IOSpec(ports, IO.outputs))
