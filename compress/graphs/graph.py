"""`Graph`: the one place that keeps track of who makes and who reads each tensor of an `onnx.ModelProto`.

It edits the model in place; take a copy first (`Graph.copy_of`) where the caller's model must stay as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or the default where the node does not carry it."""
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


class Graph:
    """An index over the main graph of one model; node order is kept topological by its callers."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.proto = model.graph
        self.refresh()

    @staticmethod
    def copy_of(model: onnx.ModelProto) -> Graph:
        """A graph over a copy, so that edits leave the caller's model alone."""
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return Graph(copy)

    def refresh(self) -> None:
        """Rebuilds the index; needed after edits of `proto` that did not go through the methods below."""
        self.producers = {name: node for node in self.proto.node for name in node.output if name}
        self._consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.proto.node:
            self._register(node)
        self._tensors = {tensor.name: tensor for tensor in self.proto.initializer}
        for node in self.proto.node:
            if node.op_type == "Constant" and (value := attribute(node, "value")) is not None:
                self._tensors.setdefault(node.output[0], value)
        self._values: dict[str, np.ndarray] = {}
        self._names = set(self.producers) | set(self._tensors) | {i.name for i in self.proto.input}

    def _register(self, node: onnx.NodeProto) -> None:
        for name in dict.fromkeys(node.input):
            if name:
                self._consumers.setdefault(name, []).append(node)

    @property
    def output_names(self) -> list[str]:
        """The names of the graph's outputs."""
        return [output.name for output in self.proto.output]

    def quantizers(self) -> list[onnx.NodeProto]:
        """The QuantizeLinear nodes of computed tensors, in graph order: those of activations."""
        return [node for node in self.proto.node if node.op_type == "QuantizeLinear" and self.value(node.input[0]) is None]

    def reads(self, node: onnx.NodeProto) -> list[str]:
        """The tensors of this graph that the node reads, by itself or in the bodies of If, Loop and Scan."""
        return [*filter(None, node.input), *sorted(_outer_reads(node))]

    def producer(self, tensor: str, *, op_type: str | None = None) -> onnx.NodeProto | None:
        """The node that makes the tensor; None for inputs and initialisers, and where it is of another type."""
        node = self.producers.get(tensor)
        return node if node is not None and op_type in (None, node.op_type) else None

    def consumers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read the tensor, in graph order."""
        return list(self._consumers.get(tensor, ()))

    def sole_consumer(self, tensor: str) -> onnx.NodeProto | None:
        """The only reader of the tensor; None where there are none or several, or where the tensor is an output."""
        readers = self._consumers.get(tensor, ())
        return readers[0] if len(readers) == 1 and tensor not in self.output_names else None

    def value(self, tensor: str) -> np.ndarray | None:
        """The array of an initialiser or Constant; None where the tensor is computed."""
        if tensor not in self._tensors:
            return None
        if tensor not in self._values:
            self._values[tensor] = numpy_helper.to_array(self._tensors[tensor])
        return self._values[tensor]

    def input_value(self, node: onnx.NodeProto, index: int) -> np.ndarray | None:
        """The constant behind a node's input; None where the input is absent or computed."""
        return self.value(node.input[index]) if len(node.input) > index and node.input[index] else None

    def unique(self, base: str) -> str:
        """A tensor name that nothing in the graph bears: `base`, or `base` with a number."""
        name, count = base, 0
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name

    def add_initializer(self, base: str, array: np.ndarray | np.generic) -> str:
        """Adds a constant under a unique name and returns that name."""
        name = self.unique(base)
        tensor = numpy_helper.from_array(np.asarray(array), name)
        self.proto.initializer.append(tensor)
        self._tensors[name] = tensor
        return name

    def set_input(self, node: onnx.NodeProto, index: int, tensor: str) -> None:
        """Makes input `index` of the node read `tensor`; appends where the node has exactly `index` inputs."""
        if index == len(node.input):
            node.input.append(tensor)
        else:
            old = node.input[index]
            node.input[index] = tensor
            if old and old not in node.input:
                self._consumers[old] = [reader for reader in self._consumers[old] if reader is not node]
        readers = self._consumers.setdefault(tensor, [])
        if all(reader is not node for reader in readers):
            readers.append(node)

    def replace_uses(self, old: str, new: str) -> None:
        """Lets every node that reads `old` read `new`; graph outputs keep their names."""
        for node in self.consumers(old):
            for index, name in enumerate(node.input):
                if name == old:
                    self.set_input(node, index, new)

    def insert_before(self, anchor: onnx.NodeProto, node: onnx.NodeProto) -> onnx.NodeProto:
        """Puts the node in front of the anchor and returns the node as the graph holds it."""
        position = next(i for i, other in enumerate(self.proto.node) if other is anchor)
        self.proto.node.insert(position, node)
        held = self.proto.node[position]
        self.producers.update(dict.fromkeys(held.output, held))
        self._names.update(held.output)
        self._register(held)
        return held

    def forget_types(self, tensors: list[str]) -> None:
        """Drops the recorded types of tensors whose type an edit has changed."""
        stale = set(tensors)
        kept = [info for info in self.proto.value_info if info.name not in stale]
        del self.proto.value_info[:]
        self.proto.value_info.extend(kept)

    def remove_dead(self) -> int:
        """Removes nodes and initialisers that no output needs, and returns how many nodes went."""
        needed, alive = set(self.output_names), []
        for node in reversed(self.proto.node):
            if any(name in needed for name in node.output):
                needed.update(self.reads(node))
                alive.append(node)
        removed = len(self.proto.node) - len(alive)
        nodes = [_copied(node) for node in reversed(alive)]
        kept = [tensor for tensor in self.proto.initializer if tensor.name in needed]
        infos = [info for info in self.proto.value_info if info.name in needed]
        for field, items in ((self.proto.node, nodes), (self.proto.initializer, kept), (self.proto.value_info, infos)):
            del field[:]
            field.extend(items)
        self.refresh()
        return removed


def _outer_reads(node: onnx.NodeProto) -> set[str]:
    """Tensors of the outer graph that the bodies of If, Loop and Scan may read."""
    bodies = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    names: set[str] = set()
    for body in bodies:
        names.update(output.name for output in body.output)
        for inner in body.node:
            names.update(inner.input)
            names |= _outer_reads(inner)
    return names


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
