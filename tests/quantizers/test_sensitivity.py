import pytest
import torch

from compress.quantizers import calibrate, layer_sensitivity, prepare, quantized_modules, restore_layers, set_float
from compress.quantizers.sensitivity import int8_layers
from compress.recipe.sections import Quantize


@pytest.fixture
def spoiled(make_student, batches, draw):
    """A prepared student with two planted bad layers, and a score: share of rows, in points, that agree with the float student."""
    student, inputs = make_student(), draw(64, seed=11)
    with torch.no_grad():
        expected = student(inputs).argmax(1)
    model = prepare(student, Quantize())
    calibrate(model, batches)
    for name in ("encoders.image.depthwise", "encoders.text.value"):
        layer = quantized_modules(model)[name]
        layer.weight_quant.levels = 1
    return model, lambda m: float((m(inputs).argmax(1) == expected).float().mean()) * 100


def test_layer_sensitivity_finds_the_planted_layers(spoiled) -> None:
    model, score = spoiled
    layers = layer_sensitivity(model, score)
    assert {layer.name for layer in layers} == set(quantized_modules(model))
    assert {layer.name for layer in layers[:2]} == {"encoders.image.depthwise", "encoders.text.value"}
    assert layers[1].drop_points > layers[2].drop_points
    assert all(layer.drop_points == pytest.approx(100 - layer.score) for layer in layers)
    assert int8_layers(model) == list(quantized_modules(model))  # left as it was


def test_layer_sensitivity_leaves_float_layers_out(spoiled) -> None:
    model, score = spoiled
    set_float(model, ["head"], True)
    assert "head" not in {layer.name for layer in layer_sensitivity(model, score)}
    assert quantized_modules(model)["head"].floating.on


def test_layer_sensitivity_restores_the_model_when_the_score_fails(spoiled) -> None:
    model, _ = spoiled
    model.train()
    with pytest.raises(ZeroDivisionError):
        layer_sensitivity(model, lambda m: 1 / 0)
    assert int8_layers(model) == list(quantized_modules(model)) and model.training


def test_restore_layers_restores_the_bad_ones_alone(spoiled) -> None:
    model, score = spoiled
    found = restore_layers(model, score, reference=100.0, max_drop_points=6.0)
    assert found.names == ["encoders.image.depthwise", "encoders.text.value"]
    assert found.reached and found.drop_points <= 6
    assert found.score == score(model.eval())
    assert set(int8_layers(model)) == set(quantized_modules(model)) - set(found.names)


def test_restore_layers_takes_back_what_is_not_needed(make_student, batches) -> None:
    model = prepare(make_student(), Quantize())
    calibrate(model, batches)
    cost = {"head": 3.0, "encoders.image.stem": 2.0, "encoders.text.mix": 4.0}  # alone
    together = {"encoders.image.stem"}  # what really matters once several are in int8

    def score(m) -> float:
        active = set(int8_layers(m))
        if len(active) == 1:
            return 100 - cost.get(next(iter(active)), 0.0)
        return 100 - 5.0 * len(active & together)

    found = restore_layers(model, score, reference=100.0, max_drop_points=1.0)
    assert found.names == ["encoders.image.stem"]


def test_restore_layers_does_nothing_within_the_limit(spoiled) -> None:
    model, score = spoiled
    found = restore_layers(model, score, reference=score(model.eval()), max_drop_points=0.0)
    assert (found.names, found.drop_points, found.reached) == ([], 0.0, True)


def test_restore_layers_says_when_no_layer_is_to_blame(spoiled) -> None:
    model, score = spoiled
    found = restore_layers(model, score, reference=200.0, max_drop_points=1.0)
    assert not found.reached and found.names == []
    assert int8_layers(model) == list(quantized_modules(model))
