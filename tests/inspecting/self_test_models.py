"""The bundled models with a new self-test, unchanged or with the errors that a faulty runtime could make.

The models are int8; the expected outputs come from the same graph with all tensors converted back to float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from mlcycle.artifact import self_test as self_tests
from mlcycle.artifact.bundled import FOLDER
from mlcycle.artifact.contract import CONTRACT_KEY, Contract, from_json
from mlcycle.artifact.packing import pack
from mlcycle.artifact.seal import SealedBytes, write_sealed
from mlcycle.exporting.export import LEAST_TOLERANCE, MOST_DIFFERENCE
from mlcycle.inference.session import Session, open_session

ABOUT = {"licence": "Apache-2.0", "intended_use": "counting faces", "limits": "faces of less than 8 pixels"}


def opened(name: str) -> tuple[onnx.ModelProto, Contract]:
    """Returns the graph of a bundled model, and its contract."""
    model = onnx.load(FOLDER / f"{name}.onnx")
    texts = {entry.key: entry.value for entry in model.metadata_props}
    return model, from_json(texts[CONTRACT_KEY])


def write_with_self_test(
    path: Path,
    name: str = "face-nano",
    *,
    precision: str = "int8",
    about: dict[str, str] | None = None,
    change: Callable[[onnx.ModelProto], None] = lambda model: None,
) -> Path:
    """Writes a bundled model with its self-test, and then changed, so that it fails the self-test."""
    data, self_test = _with_expected_output(name, precision)
    model, contract = onnx.ModelProto.FromString(data), opened(name)[1]
    parent = contract.parent if precision == "int8" else None
    change(model)
    contract = replace(contract, precision=precision, parent=parent, about=about or {})
    write_sealed(pack(model, contract, self_test), path)
    return path


@cache
def _with_expected_output(name: str, precision: str) -> tuple[bytes, self_tests.SelfTest]:
    """Returns a serialised graph, and its self-test."""
    model, contract = opened(name)
    floats = in_floats(model)
    session = _session(floats, contract, None)
    arrays = session.run(self_tests.image(self_tests.HEIGHT, self_tests.WIDTH, 0)[None])
    self_test = self_tests.make_self_test(*(array[0] for array in arrays))
    if precision == "float32":
        return floats.SerializeToString(), self_test
    distance = _session(model, contract, self_test).distance()
    tolerance = self_tests.tolerance_of(distance, MOST_DIFFERENCE[precision], LEAST_TOLERANCE[precision])
    return model.SerializeToString(), replace(self_test, tolerance=tolerance)


def _session(model: onnx.ModelProto, contract: Contract, self_test: self_tests.SelfTest | None) -> Session:
    return open_session(
        SealedBytes(pack(model, contract, self_test), "", Path("model.onnx")), provider="cpu", threads=1
    )


def in_floats(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a graph without its QuantizeLinear and DequantizeLinear nodes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {each.name: numpy_helper.to_array(each) for each in copy.graph.initializer}
    same: dict[str, str] = {}
    pixels = {"images"}  # and what follows until they are cast
    nodes = []
    for node in copy.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            weights[node.output[0]] = _dequantised(node, weights)
        elif node.op_type == "DequantizeLinear" and node.input[0] in pixels:
            nodes += _pixels_as_floats(node, weights)
        elif node.op_type == "QuantizeLinear":
            nodes.append(_only_clipped(node, weights))
        elif node.op_type == "DequantizeLinear":
            same[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
            pixels |= set(node.output) if set(node.input) & pixels and node.op_type != "Cast" else set()
    used = {name for node in nodes for name in node.input}
    kept = [numpy_helper.from_array(values, name) for name, values in weights.items() if name in used]
    nodes = [
        onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes
    ]  # copies, independent of their graph
    del copy.graph.node[:], copy.graph.initializer[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(kept)
    return copy


def _pixels_as_floats(node: onnx.NodeProto, weights: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """Replaces the DequantizeLinear of the pixels, which are bytes already, by a cast and a scale."""
    assert not weights[node.input[2]].any()
    cast = onnx.helper.make_node("Cast", [node.input[0]], [f"{node.output[0]}_cast"], to=onnx.TensorProto.FLOAT)
    return [cast, onnx.helper.make_node("Mul", [cast.output[0], node.input[1]], [node.output[0]])]


def _only_clipped(node: onnx.NodeProto, weights: dict[str, np.ndarray]) -> onnx.NodeProto:
    """Replaces a QuantizeLinear by its clipping, which the graph uses as its activation."""
    _, scale, zero = node.input
    limits = np.iinfo(weights[zero].dtype)
    names = [f"{node.output[0]}_{end}" for end in ("least", "most")]
    for name, value in zip(names, (limits.min, limits.max), strict=True):
        weights[name] = ((value - weights[zero].astype(np.float32)) * weights[scale]).astype(np.float32)
    return onnx.helper.make_node("Clip", [node.input[0], *names], [node.output[0]])


def _dequantised(node: onnx.NodeProto, weights: dict[str, np.ndarray]) -> np.ndarray:
    values, scale, zero = (weights[name] for name in node.input)
    if scale.ndim:
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        shape = [-1 if place == axis else 1 for place in range(values.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return ((values.astype(np.float64) - zero) * scale).astype(np.float32)


def change_weights(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Replaces the values of a tensor."""
    tensor = next(each for each in model.graph.initializer if each.name == name)
    changed = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(changed), name))


def flip_largest(model: onnx.ModelProto) -> None:
    """Flips the sign of the largest weight of the first convolution."""

    def flip(weights: np.ndarray) -> np.ndarray:
        place = np.unravel_index(np.abs(weights.astype(float)).argmax(), weights.shape)
        weights[place] = -max(weights[place], -127)  # -128 has no positive counterpart in int8
        return weights

    change_weights(model, first_convolution(model), flip)


def first_convolution(model: onnx.ModelProto) -> str:
    """Returns the name of the weights of the first convolution, before their DequantizeLinear."""
    makers = {output: node for node in model.graph.node for output in node.output}
    name = next(node for node in model.graph.node if node.op_type == "Conv").input[1]
    while name in makers:
        name = makers[name].input[0]
    return name


def swap_colours(model: onnx.ModelProto) -> None:
    """Makes the graph read its pixels as blue, green, red."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "colours"))
    nodes = [onnx.NodeProto.FromString(each.SerializeToString()) for each in model.graph.node]
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = "swapped" if name == "images" else name
    del model.graph.node[:]
    model.graph.node.extend([onnx.helper.make_node("Gather", ["images", "colours"], ["swapped"], axis=3), *nodes])


def spoil_scales(model: onnx.ModelProto) -> None:
    """Makes the scales of one convolution's weights a quarter larger."""
    names = [each.name for each in model.graph.initializer if each.name.endswith("weight_scale")]
    change_weights(model, names[len(names) // 2], lambda scales: scales * np.float32(1.25))
