import numpy as np
from onnx import helper

from compress.graphs.graph import Graph, attribute


def test_graph_knows_producers_consumers_and_values(int8_convnet):
    graph = Graph(int8_convnet)
    assert graph.producer("stem").op_type == "Conv" and graph.producer("image") is None
    assert graph.producer("stem", op_type="Gemm") is None
    assert [node.name for node in graph.consumers("stem_relu_dq")] == ["left", "total"]
    assert graph.sole_consumer("stem_relu_dq") is None and graph.sole_consumer("stem").name == "stem_relu"
    assert graph.value("deep_zero") is None and graph.value("left_zero") == 0
    assert attribute(graph.producer("deep"), "group") == 8 and attribute(graph.producer("deep"), "none", 7) == 7


def test_output_has_no_sole_consumer(float_convnet):
    assert Graph(float_convnet).sole_consumer("logits") is None


def test_constant_nodes_are_values(float_convnet):
    value = helper.make_tensor("v", 1, [2], [1.0, 2.0])
    float_convnet.graph.node.insert(0, helper.make_node("Constant", [], ["pair"], value=value))
    assert np.array_equal(Graph(float_convnet).value("pair"), [1, 2])


def test_added_names_are_unique(float_convnet):
    graph = Graph(float_convnet)
    names = [graph.add_initializer("stem_b", np.float32(i)) for i in range(3)]
    assert len({*names, "stem_b"}) == 4 and [graph.value(name) for name in names] == [0, 1, 2]


def test_replace_uses_and_remove_dead(float_convnet):
    graph = Graph.copy_of(float_convnet)
    graph.replace_uses("stem_relu", "stem")
    assert graph.remove_dead() == 1 and "stem_relu" not in graph.producers
    assert [node.name for node in graph.consumers("stem")] == ["left", "total"]
    assert "stem_relu" in Graph(float_convnet).producers  # the copy alone was edited


def test_remove_dead_drops_unread_initialisers(float_convnet):
    graph = Graph.copy_of(float_convnet)
    graph.add_initializer("unread", np.zeros(3))
    graph.remove_dead()
    assert graph.value("unread") is None and graph.value("stem_w") is not None


def test_inserted_node_stands_before_its_anchor(float_convnet):
    graph = Graph.copy_of(float_convnet)
    held = graph.insert_before(graph.producer("left"), helper.make_node("Identity", ["stem_relu"], ["same"], name="same"))
    order = [node.name for node in graph.proto.node]
    assert order.index("same") == order.index("left") - 1
    assert graph.producer("same") is held and held in graph.consumers("stem_relu")


def test_remove_dead_keeps_what_a_branch_reads(float_convnet):
    graph = Graph.copy_of(float_convnet)
    body = helper.make_graph(
        [helper.make_node("Identity", ["stem"], ["inner"])], "body", [], [helper.make_empty_tensor_value_info("inner")]
    )
    graph.proto.node.append(helper.make_node("If", ["condition"], ["picked"], then_branch=body, else_branch=body))
    graph.proto.output[0].name = "picked"
    graph.refresh()
    graph.remove_dead()
    assert set(graph.producers) == {"stem", "picked"}
