"""Overrides change the data before validation, and say which of them stands behind a place."""

from sections import RECIPE

from compress.recipe.overrides import apply_overrides


def test_sections_that_are_left_out_are_made():
    data = {}
    origins, faults = apply_overrides(data, ["quantize.train.epochs=2", "data.options.train=a.csv"], RECIPE)
    assert data == {"quantize": {"train": {"epochs": 2}}, "data": {"options": {"train": "a.csv"}}}
    assert origins == {("quantize", "train", "epochs"): "quantize.train.epochs=2", ("data", "options", "train"): "data.options.train=a.csv"}
    assert not faults


def test_a_list_that_is_left_out_starts_from_its_default():
    data = {}
    apply_overrides(data, ["distill.losses[1].weight=0.5"], RECIPE)
    assert data["distill"]["losses"] == [{"name": "cross_entropy"}, {"name": "kd", "options": {"temperature": 2.0}, "weight": 0.5}]


def test_a_later_override_wins():
    data = {"data": {"inputs": {"image": {"size": 64}}}}
    origins, _ = apply_overrides(data, ["data.inputs.image.size=32", "data={source: hub}"], RECIPE)
    assert data == {"data": {"source": "hub"}}
    assert list(origins) == [("data",)]


def test_values_are_yaml():
    data = {}
    apply_overrides(data, ["a=null", "b=1e-3", "c=[1, 8]", "d=x=y", "e="], RECIPE)
    assert data == {"a": None, "b": 1e-3, "c": [1, 8], "d": "x=y", "e": None}
