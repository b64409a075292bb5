"""What of a network becomes bytes: from its first convolution on bytes to before the convolutions that answer.

What gives the answers, the last convolutions and all behind them, keeps 32 bits: it says where a face is to the
fraction of a pixel, and costs next to nothing. So does a first convolution that looks at one pixel at a time: on three
colours whole numbers are slower (see `mlcycle.exporting.precision.stem`, which makes it look at four).
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from mlcycle.errors import ModelFileError

COMPUTED = ("Conv", "Add")
COPIED = ("Resize", "Reshape", "Transpose")


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes bytes; values and nodes are named by what a node puts out first.

    Attributes:
        computed: nodes that compute on bytes.
        rectified: of these, the ones that a rectifier alone reads, each with what the rectifier puts out.
        copied: nodes that only move bytes about, each with the value that it moves.
        pixels: casts of pixels, which are bytes already.
        measured: values whose least and most must be known, in the order of the graph.
    """

    computed: frozenset[str]
    rectified: dict[str, str]
    copied: dict[str, str]
    pixels: frozenset[str]
    measured: tuple[str, ...]

    def source(self, value: str) -> str:
        """Names the value that a value is a copy of: itself, if it is none."""
        while value in self.copied:
            value = self.copied[value]
        return value


def plan_of(model: onnx.ModelProto) -> Plan:
    """Plans for a model whose convolutions lie one behind the other, or in branches that are added.

    Raises:
        ModelFileError: it has no convolution between others.
    """
    graph = model.graph
    first = next((node for node in graph.node if node.op_type == "Conv"), None)
    pixels = {
        node.output[0] for node in graph.node if first and node.op_type == "Cast" and node.output[0] in first.input
    }
    inner = [node for node in _between_convolutions(graph) if node is not first or pixels]
    computing = [node for node in inner if node.op_type in COMPUTED]
    if not computing:
        raise ModelFileError("the model has no convolution that could be computed on bytes", "try another precision")
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
    """Names the values that a node computes with, but for weights and bias."""
    return list(node.input[:1] if node.op_type == "Conv" else node.input)


def _between_convolutions(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Returns the first convolution and all nodes behind it that another convolution is behind."""
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    behind = {name for node in convolutions[:1] for name in node.output}
    before = {name for node in convolutions for name in node.input}
    for node in graph.node:
        if behind.intersection(node.input):
            behind.update(node.output)
    for node in reversed(graph.node):
        if before.intersection(node.output):
            before.update(node.input)
    return [node for node in graph.node if node.output[0] in behind & before]


def _rectified(graph: onnx.GraphProto, computing: list[onnx.NodeProto]) -> dict[str, str]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    alone = {node.output[0]: readers[node.output[0]][0] for node in computing if len(readers[node.output[0]]) == 1}
    return {name: reader.output[0] for name, reader in alone.items() if reader.op_type == "Relu"}
