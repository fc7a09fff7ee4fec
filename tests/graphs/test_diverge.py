import numpy as np
import pytest

from compress.errors import ParityError
from compress.graphs.diverge import compare_outputs, first_divergence, relative_difference
from compress.graphs.graph import Graph
from compress.graphs.retarget import retarget


def test_equal_graphs_do_not_diverge(int8_convnet, images):
    assert first_divergence(int8_convnet, int8_convnet, images) is None


def test_faithful_retargeting_does_not_diverge(int8_convnet, images):
    assert first_divergence(int8_convnet, retarget(int8_convnet, "onnxruntime_x86"), images) is None


def test_quantized_graph_stays_near_its_float_graph(float_convnet, int8_convnet, images):
    assert first_divergence(float_convnet, int8_convnet, images, threshold=0.15) is None


@pytest.mark.parametrize("name", ["stem_relu", "left", "total", "last_relu"])
def test_wrong_activation_scale_is_found_at_its_quantizer(int8_convnet, images, edit, name):
    faulty = retarget(int8_convnet, "tensorrt")
    edit(faulty, f"{name}_scale", Graph(faulty).value(f"{name}_scale") / 4)
    found = first_divergence(int8_convnet, faulty, images)
    assert found.node == f"{name}_dq"
    assert found.scale == pytest.approx([float(Graph(faulty).value(f"{name}_scale"))])


def test_wrong_activation_scale_is_found_against_the_float_graph(float_convnet, int8_convnet, images, edit):
    edit(int8_convnet, "left_scale", np.float32(4 / 127 / 8))
    found = first_divergence(float_convnet, int8_convnet, images, threshold=0.15)
    assert found.node == "left_dq" and found.reference_tensor == "left"
    assert found.range[1] < found.reference_range[1]  # saturated


def test_wrong_weight_scale_is_found_at_its_layer(int8_convnet, images, edit):
    faulty = retarget(int8_convnet, "tensorrt")
    edit(faulty, "deep_w_scale", Graph(faulty).value("deep_w_scale") * 1.5)
    found = first_divergence(int8_convnet, faulty, images)
    assert (found.node, found.layer) == ("deep_w", "deep") and "layer deep" in str(found)


def test_transposed_weight_axis_is_found_at_its_layer(int8_convnet, images, edit):
    faulty = retarget(int8_convnet, "tensorrt")
    edit(faulty, "left_w_codes", Graph(faulty).value("left_w_codes").transpose(1, 0, 2, 3))
    assert first_divergence(int8_convnet, faulty, images).layer == "left"


def test_wrong_quantization_axis_is_found_at_its_layer(int8_convnet, images):
    faulty = retarget(int8_convnet, "tensorrt")
    node = next(n for n in faulty.graph.node if n.name == "left_w")
    node.attribute[0].i = 1  # 8 x 8 weight: the shapes do not tell
    assert first_divergence(int8_convnet, faulty, images).layer == "left"


def test_renamed_layers_are_matched_by_order(float_convnet, images, edit):
    renamed = retarget(float_convnet, "tensorrt")
    for node in renamed.graph.node:
        node.input[:] = [n if n in ("image",) or Graph(float_convnet).value(n) is not None else f"{n}_x" for n in node.input]
        node.output[:] = [n if n == "logits" else f"{n}_x" for n in node.output]
    assert first_divergence(float_convnet, renamed, images) is None
    edit(renamed, "deep_w", Graph(renamed).value("deep_w") * 2)
    found = first_divergence(float_convnet, renamed, images)
    assert (found.node, found.reference_tensor) == ("deep", "deep")


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
