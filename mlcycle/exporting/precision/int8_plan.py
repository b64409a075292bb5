"""Chooses the nodes that become int8: all from the first convolution up to the output convolutions.

The output convolutions and everything after them stay float32: they place a box to a fraction of a pixel, and cost
almost nothing. So does a first convolution that reads one pixel at a time: with three channels int8 is slower (see
`mlcycle.exporting.precision.stem`, which makes it read four).
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from mlcycle.errors import ModelFileError

COMPUTED = ("Conv", "Add")
COPIED = ("Resize", "Reshape", "Transpose")


@dataclass(frozen=True, slots=True)
class Plan:
    """The nodes that become int8, each named by its first output.

    Attributes:
        computed: nodes that compute in int8.
        rectified: computed nodes that only a ReLU reads → the output of the ReLU.
        copied: nodes that only move data → the value that they move.
        pixels: casts of pixels, which are uint8 already.
        measured: values whose range must be measured, in the order of the graph.
    """

    computed: frozenset[str]
    rectified: dict[str, str]
    copied: dict[str, str]
    pixels: frozenset[str]
    measured: tuple[str, ...]

    def source(self, value: str) -> str:
        """Returns the value from which a value is copied, or the value itself."""
        while value in self.copied:
            value = self.copied[value]
        return value


def plan_of(model: onnx.ModelProto) -> Plan:
    """Plans a model whose convolutions follow one another, or are in branches that are added.

    Raises:
        ModelFileError: no convolution can become int8.
    """
    graph = model.graph
    first = next((node for node in graph.node if node.op_type == "Conv"), None)
    pixels = {
        node.output[0] for node in graph.node if first and node.op_type == "Cast" and node.output[0] in first.input
    }
    inner = [node for node in _between_convolutions(graph) if node is not first or pixels]
    computing = [node for node in inner if node.op_type in COMPUTED]
    if not computing:
        raise ModelFileError("the model has no convolution that can be computed in int8", "try another precision")
    rectified = _rectified(graph, computing)
    read = {name for node in computing for name in data_of(node)} - pixels
    values = read | {rectified.get(node.output[0], node.output[0]) for node in computing}
    copied: dict[str, str] = {}
    for node in inner:
        if node.op_type in COPIED and node.input[0] in values | set(copied):
            copied[node.output[0]] = node.input[0]
    order = [name for node in graph.node for name in node.output]
    return Plan(
        computed=frozenset(node.output[0] for node in computing),
        rectified=rectified,
        copied=copied,
        pixels=frozenset(pixels),
        measured=tuple(name for name in order if name in values and name not in copied),
    )


def data_of(node: onnx.NodeProto) -> list[str]:
    """Returns the inputs of a node without weights and bias."""
    return list(node.input[:1] if node.op_type == "Conv" else node.input)


def _between_convolutions(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Returns the first convolution and all nodes between it and another convolution."""
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    after = {name for node in convolutions[:1] for name in node.output}
    before = {name for node in convolutions for name in node.input}
    for node in graph.node:
        if after.intersection(node.input):
            after.update(node.output)
    for node in reversed(graph.node):
        if before.intersection(node.output):
            before.update(node.input)
    return [node for node in graph.node if node.output[0] in after & before]


def _rectified(graph: onnx.GraphProto, computing: list[onnx.NodeProto]) -> dict[str, str]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    single = {node.output[0]: readers[node.output[0]][0] for node in computing if len(readers[node.output[0]]) == 1}
    return {name: reader.output[0] for name, reader in single.items() if reader.op_type == "Relu"}
