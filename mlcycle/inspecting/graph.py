"""What a graph is made of, in figures: operators, parameters, and bytes of weights by their type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlcycle.artifact import protobuf
from mlcycle.artifact.structure import Structure, Tensor

# Of ModelProto, GraphProto and NodeProto: the graph, a node, and a node's inputs and operator.
_GRAPH, _NODE, _INPUT, _OPERATOR = 7, 1, 1, 4
_SCALING = (b"QuantizeLinear", b"DequantizeLinear")
# Whole numbers of 64 bits are shapes and axes, and truths are switches.
_NO_PARAMETERS = ("int64", "bool", "?")


def figures(structure: Structure, data: bytes) -> dict[str, Any]:
    """Returns the figures of a graph, as JSON has them.

    A parameter is a value of the weights that the network computes with: not one of shapes and axes, and not the scales
    and offsets of an int8 file, so that such a file has as many as its parent, or nearly.

    Args:
        data: the bytes of the file that the structure was read from.
    """
    scales = set(_scales(data))
    learned = (each for name, each in structure.tensors.items() if name not in scales)
    return {
        "ir_version": structure.ir_version,
        "opsets": {domain or "ai.onnx": version for domain, version in structure.opsets.items()},
        "operators": {_called(domain, name): count for (domain, name), count in structure.operators.most_common()},
        "parameters": sum(each.count for each in learned if each.type not in _NO_PARAMETERS),
        "weights": _by_type(structure.tensors),
    }


def _called(domain: str, name: str) -> str:
    return f"{domain}.{name}" if domain else name


def _by_type(tensors: dict[str, Tensor]) -> dict[str, dict[str, int]]:
    """Returns of each type how many tensors there are, how many values in them and how many bytes these take."""
    found: dict[str, dict[str, int]] = {}
    for each in tensors.values():
        sums = found.setdefault(each.type, {"tensors": 0, "values": 0, "bytes": 0})
        sums["tensors"] += 1
        sums["values"] += each.count
        sums["bytes"] += _size(each)
    return dict(sorted(found.items(), key=lambda item: -item[1]["bytes"]))


def _size(tensor: Tensor) -> int:
    try:
        return tensor.count * np.dtype(tensor.type).itemsize
    except TypeError:  # numpy has no such type
        return tensor.end - tensor.begin


def _scales(data: bytes) -> Iterator[str]:
    """Yields the names of the scales and offsets by which values become bytes, and bytes values."""
    for graph in protobuf.fields(data, 0, len(data)):
        if graph.number != _GRAPH:
            continue
        for node in protobuf.fields(data, graph.value, graph.end):
            if node.number == _NODE:
                parts = list(protobuf.fields(data, node.value, node.end))
                texts = [(each.number, data[each.value : each.end]) for each in parts if each.kind == protobuf.LENGTH]
                if any(number == _OPERATOR and text in _SCALING for number, text in texts):
                    inputs = [text.decode("utf-8", "replace") for number, text in texts if number == _INPUT]
                    yield from inputs[1:]
