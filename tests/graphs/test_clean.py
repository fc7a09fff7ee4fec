import numpy as np
import pytest
from onnx import TensorProto, helper

from compress.errors import CompressError
from compress.graphs.clean import set_ir_version, size_report, strip_metadata, weights_on_disk
from compress.graphs.trace import run_model


def _note(item):
    item.doc_string = "/home/someone/model.py"
    item.metadata_props.add(key="stack", value="/home/someone/model.py:3")


def test_strip_metadata_leaves_no_local_path(float_convnet, images):
    graph = float_convnet.graph
    graph.value_info.append(helper.make_tensor_value_info("stem", TensorProto.FLOAT, None))
    for item in (float_convnet, graph, graph.node[0], graph.initializer[0], graph.input[0], graph.output[0], graph.value_info[0]):
        _note(item)
    clean = strip_metadata(float_convnet)
    assert b"/home/someone" not in clean.SerializeToString() and b"/home/someone" in float_convnet.SerializeToString()
    assert np.array_equal(run_model(clean, images)["logits"], run_model(float_convnet, images)["logits"])
    assert len(clean.graph.value_info) == 1 and not strip_metadata(float_convnet, value_info=True).graph.value_info


def test_set_ir_version_lowers_a_newer_one(float_convnet):
    float_convnet.ir_version = 13
    assert set_ir_version(float_convnet, 10).ir_version == 10


def test_set_ir_version_refuses_an_operator_set_that_needs_more(float_convnet):
    float_convnet.opset_import[0].version = 24
    with pytest.raises(CompressError, match="10 cannot hold ai.onnx 24"):
        set_ir_version(float_convnet, 10)


def test_weights_on_disk_counts_bytes_by_dtype(int8_mixer):
    sizes = weights_on_disk(int8_mixer)
    assert sizes["int8"] == (32 * 16 + 16 * 32 + 4 * 16) + (32 + 16 + 4) + 3  # codes, weights' zero points, activations' zero points
    assert sizes["float32"] == 4 * ((32 + 16 + 4) * 2 + 3)  # scales and biases, activations' scales
    assert sizes["int64"] == 8


def test_size_report_adds_up(float_convnet):
    report = size_report(float_convnet, largest=1)
    assert report["file_bytes"] == float_convnet.ByteSize() == sum(report["weight_bytes"].values()) + report["other_bytes"]
    assert report["largest"][0]["name"] == "last_w" and report["largest"][0]["shape"] == [16, 8, 3, 3]
