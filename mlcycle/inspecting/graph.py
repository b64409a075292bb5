"""Statistics of a graph: operators, parameters, and the size of its weights by type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlcycle.artifact import protobuf
from mlcycle.artifact.structure import Structure, Tensor

# Field numbers of ModelProto (graph), GraphProto (node) and NodeProto (inputs, operator).
_GRAPH, _NODE, _INPUT, _OPERATOR = 7, 1, 1, 4
_SCALING = (b"QuantizeLinear", b"DequantizeLinear")
# int64 tensors are shapes and axes, bool tensors are switches.
_NO_PARAMETERS = ("int64", "bool", "?")


def statistics(structure: Structure, data: bytes) -> dict[str, Any]:
    """Returns the statistics of a graph for a JSON document.

    Parameters are the values of the weights, without shapes and axes, and without the scales and zero points of an int8
    file. Such a file has about as many parameters as its parent.

    Args:
        data: the bytes of the file from which the structure was read.
    """
    scales = set(_scales(data))
    learned = (each for name, each in structure.tensors.items() if name not in scales)
    return {
        "ir_version": structure.ir_version,
        "opsets": {domain or "ai.onnx": version for domain, version in structure.opsets.items()},
        "operators": {_full_name(domain, name): count for (domain, name), count in structure.operators.most_common()},
        "parameters": sum(each.count for each in learned if each.type not in _NO_PARAMETERS),
        "weights": _by_type(structure.tensors),
    }


def _full_name(domain: str, name: str) -> str:
    return f"{domain}.{name}" if domain else name


def _by_type(tensors: dict[str, Tensor]) -> dict[str, dict[str, int]]:
    """Returns the number of tensors, values and bytes of each type."""
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
    """Yields the names of the scales and zero points of QuantizeLinear and DequantizeLinear."""
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
