"""Layers compared one by one: a faithful graph has no fault, a planted one is found at its own layer."""

import numpy as np
import onnx
import pytest

from compress.errors import ParityError
from compress.graphs.diverge import Grid, by_order, compare_layers, compare_outputs, reference_of, relative_difference
from compress.graphs.graph import Graph
from compress.graphs.half import to_float16
from compress.graphs.retarget import retarget


def faults(reference, other, feeds, *, layer=5e-3):
    gaps = compare_layers(reference_of(reference, feeds), other, feeds)
    return {gap.tensor: fault for gap in gaps if (fault := gap.fault(layer=layer, steps=1.05))}


def test_equal_graphs_have_no_fault(int8_convnet, images):
    gaps = compare_layers(reference_of(int8_convnet, images), int8_convnet, images)
    assert {gap.tensor for gap in gaps} >= {"stem", "left_dq", "total_dq", "logits"}
    assert all(gap.off == 0 and gap.steps in (0, None) and not gap.wrong_grid for gap in gaps)


@pytest.mark.parametrize("target", ["onnxruntime_x86", "onnxruntime_arm", "tensorrt"])
def test_faithful_retargeting_has_no_fault(int8_convnet, images, target):
    assert faults(int8_convnet, retarget(int8_convnet, target), images) == {}


def test_finer_grid_is_off_by_at_most_three_quarters_of_a_step(int8_convnet, images):
    gaps = compare_layers(reference_of(int8_convnet, images), retarget(int8_convnet, "onnxruntime_x86"), images)
    # half a step of the reference's grid, and half of one that is 127/255 as wide: 0.5 + 0.249
    assert 0.6 < max(gap.steps for gap in gaps if gap.steps is not None) <= 0.7495


def test_float16_has_no_fault_and_float16_layers_are_off_by_their_last_bit(float_convnet, images):
    gaps = compare_layers(reference_of(float_convnet, images), to_float16(float_convnet), images)
    assert len(gaps) > 10
    assert 1e-4 < max(gap.off for gap in gaps) < 2e-3


def test_masks_may_be_cut_to_what_float16_holds(builder, images):
    b = builder(quantized=False)
    b.node(
        "Where",
        [b.constant("never", np.array([True, False])), b.constant("one", np.float32(1)), b.constant("mask", np.float32(-3e38))],
        "bias",
    )
    b.node("Add", [b.node("Flatten", ["image"], "flat"), b.node("ReduceSum", ["bias"], "total", keepdims=0)], "sum")
    b.node("Softmax", ["sum"], "logits")
    model = b.model({"image": (onnx.TensorProto.FLOAT, ["batch", 3, 16, 16])})
    cut = onnx.load_from_string(model.SerializeToString())
    next(t for t in cut.graph.initializer if t.name == "mask").CopyFrom(onnx.numpy_helper.from_array(np.float32(-65504), "mask"))
    assert faults(model, cut, images) == {}


@pytest.mark.parametrize("name", ["stem_relu", "left", "total", "last_relu"])
@pytest.mark.parametrize("factor", [0.25, 2])
def test_wrong_activation_scale_is_found_at_its_quantizer_alone(int8_convnet, images, edit, name, factor):
    faulty = retarget(int8_convnet, "tensorrt")
    edit(faulty, f"{name}_scale", Graph(faulty).value(f"{name}_scale") * np.float32(factor))
    found = faults(int8_convnet, faulty, images)
    assert list(found) == [f"{name}_dq"]
    assert "its int8 codes stand for" in found[f"{name}_dq"]


@pytest.mark.parametrize("target", ["onnxruntime_x86", "tensorrt"])
@pytest.mark.parametrize("name", ["left", "last_relu"])
def test_zero_point_that_is_off_by_three_is_found_though_quantizer_and_dequantizer_share_it(int8_convnet, images, edit, target, name):
    faulty = retarget(int8_convnet, target)
    zero = next(node for node in faulty.graph.node if node.op_type == "DequantizeLinear" and node.output[0] == f"{name}_dq").input[2]
    value = Graph(faulty).value(zero)
    edit(faulty, zero, (value + 3).astype(value.dtype))
    assert f"{name}_dq" in faults(int8_convnet, faulty, images)


def test_wrong_weight_scale_is_found_at_its_weight_alone(int8_convnet, images, edit):
    faulty = retarget(int8_convnet, "tensorrt")
    edit(faulty, "deep_w_scale", Graph(faulty).value("deep_w_scale") * 1.5)
    assert list(faults(int8_convnet, faulty, images)) == ["deep_w"]


def test_transposed_weight_is_found_at_its_layer(int8_convnet, images, edit):
    faulty = retarget(int8_convnet, "tensorrt")
    edit(faulty, "left_w_codes", Graph(faulty).value("left_w_codes").transpose(1, 0, 2, 3))
    assert list(faults(int8_convnet, faulty, images)) == ["left_w"]


def test_wrong_quantization_axis_is_found_at_its_layer(int8_convnet, images):
    faulty = retarget(int8_convnet, "tensorrt")
    next(n for n in faulty.graph.node if n.name == "left_w").attribute[0].i = 1  # 8 x 8 weight: the shapes do not tell
    assert list(faults(int8_convnet, faulty, images)) == ["left_w"]


def test_bias_that_is_dropped_is_found_at_its_layer_alone(float_convnet, images, edit):
    faulty = onnx.load_from_string(float_convnet.SerializeToString())
    edit(faulty, "left_b", np.zeros(8, np.float32))
    assert list(faults(float_convnet, faulty, images)) == ["left"]


def test_lost_relu_is_found_at_its_node_alone(int8_convnet, images):
    faulty = retarget(int8_convnet, "tensorrt")
    node = next(n for n in faulty.graph.node if n.op_type == "Relu")
    node.op_type = "Identity"
    assert list(faults(int8_convnet, faulty, images)) == [node.output[0]]


def test_values_of_quantizers_are_matched_by_order(int8_convnet, images):
    known = reference_of(int8_convnet, images)
    order = [n.output[0] for n in int8_convnet.graph.node if n.op_type == "DequantizeLinear" and n.output[0] in known.grids]
    made = by_order([(known.values[name], known.grids[name]) for name in order], int8_convnet)
    assert list(made.values) == order
    assert all(gap.fault(layer=5e-3, steps=1.05) is None for gap in compare_layers(made, int8_convnet, images))
    assert by_order([(known.values[order[0]], Grid(1, -128, 127))], int8_convnet) is None


def test_few_codes_over_an_edge_are_rounding_and_many_are_not(int8_convnet, images):
    known = reference_of(int8_convnet, images)
    for flips, sound in ((3, True), (400, False)):
        values = known.values["left_dq"].copy()
        values.ravel()[:flips] += np.float32(known.grids["left_dq"].step)
        gaps = compare_layers(type(known)({**known.values, "left_dq": values}, known.grids), int8_convnet, images)
        found = next(gap for gap in gaps if gap.tensor == "left_dq")
        assert found.steps == pytest.approx(1, abs=1e-3)
        # of B x 8 x 16 x 16 codes, three forgiven
        assert found.off == pytest.approx((flips - 3) / values.size)
        assert (found.fault(layer=1e-3, steps=1.05) is None) == sound


def test_compare_outputs_golden_numbers():
    a, b = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 1.0]])
    found = compare_outputs(a, b)
    # gaps 0 0 1 1; ||b - a|| = sqrt 2, ||a|| = sqrt 26; row 1 changed its argmax
    assert found == {"max_difference": 1.0, "relative": pytest.approx((2 / 26) ** 0.5), "mean_difference": 0.5, "agreement": 0.5}


def test_compare_outputs_refuses_nan_and_other_shapes():
    with pytest.raises(ParityError, match="1 values of other"):
        compare_outputs(np.zeros((1, 2)), np.array([[0, np.nan]]))
    with pytest.raises(ParityError, match="shapes"):
        compare_outputs(np.zeros((1, 2)), np.zeros((2, 2)))


def test_relative_difference_takes_equal_infinities_as_equal():
    masks = np.array([-np.inf, 1.0])
    assert relative_difference(masks, masks.copy()) == 0.0
    assert relative_difference(masks, np.array([0.0, 1.0])) == float("inf")
