"""The bundled models packed anew with a known answer, whole and spoilt in ways in which a runtime could spoil them.

They are in eight bits, and what they know was found in floats: by the same graph with all numbers made floats again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from mlcycle.artifact import self_test as known
from mlcycle.artifact.bundled import FOLDER
from mlcycle.artifact.contract import CONTRACT_KEY, Contract, from_json
from mlcycle.artifact.packing import pack
from mlcycle.artifact.seal import SealedBytes, write_sealed
from mlcycle.inference.session import Session, open_session

# What a variant may be apart from its parent.
MOST = known.Tolerance(3.0, 0.05)
ABOUT = {"licence": "Apache-2.0", "intended_use": "counting faces", "limits": "faces of less than 8 pixels"}


def opened(name: str) -> tuple[onnx.ModelProto, Contract]:
    """Returns the graph of a bundled model, and its contract."""
    model = onnx.load(FOLDER / f"{name}.onnx")
    texts = {entry.key: entry.value for entry in model.metadata_props}
    return model, from_json(texts[CONTRACT_KEY])


def write_known(
    path: Path,
    name: str = "face-nano",
    *,
    precision: str = "int8",
    about: dict[str, str] | None = None,
    change: Callable[[onnx.ModelProto], None] = lambda model: None,
) -> Path:
    """Writes a bundled model with what it must find, and then changed, so that it no longer finds it."""
    data, answer = _known(name, precision)
    model, contract = onnx.ModelProto.FromString(data), opened(name)[1]
    parent = contract.parent if precision == "int8" else None
    change(model)
    contract = replace(contract, precision=precision, parent=parent, about=about or {})
    write_sealed(pack(model, contract, answer), path)
    return path


@cache
def _known(name: str, precision: str) -> tuple[bytes, known.SelfTest]:
    """Returns a graph, and what it must find."""
    model, contract = opened(name)
    floats = in_floats(model)
    session = _session(floats, contract, None)
    arrays = session.run(known.image(known.HEIGHT, known.WIDTH, 0)[None])
    answer = known.make_self_test(*(array[0] for array in arrays))
    if precision == "float32":
        return floats.SerializeToString(), answer
    distance = _session(model, contract, answer).distance()
    return model.SerializeToString(), replace(answer, tolerance=known.tolerance_of(distance, MOST))


def _session(model: onnx.ModelProto, contract: Contract, answer: known.SelfTest | None) -> Session:
    return open_session(SealedBytes(pack(model, contract, answer), "", Path("model.onnx")), provider="cpu", threads=1)


def in_floats(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a graph without the nodes that make bytes of values and values of bytes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {each.name: numpy_helper.to_array(each) for each in copy.graph.initializer}
    same: dict[str, str] = {}
    pixels = {"images"}  # and what they become as long as they are bytes
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
    nodes = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]  # apart from their graph
    del copy.graph.node[:], copy.graph.initializer[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(kept)
    return copy


def _pixels_as_floats(node: onnx.NodeProto, weights: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """Pixels are bytes by themselves; what follows would have made floats of them."""
    assert not weights[node.input[2]].any()
    cast = onnx.helper.make_node("Cast", [node.input[0]], [f"{node.output[0]}_cast"], to=onnx.TensorProto.FLOAT)
    return [cast, onnx.helper.make_node("Mul", [cast.output[0], node.input[1]], [node.output[0]])]


def _only_clipped(node: onnx.NodeProto, weights: dict[str, np.ndarray]) -> onnx.NodeProto:
    """Bytes end at 0 and 255, and by that stand for an activation; floats have to be cut off."""
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
    """Puts other values in the place of a tensor's."""
    tensor = next(each for each in model.graph.initializer if each.name == name)
    changed = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(changed), name))


def flip_largest(model: onnx.ModelProto) -> None:
    """Turns the sign of the largest weight of the first convolution, and of no other."""

    def flip(weights: np.ndarray) -> np.ndarray:
        place = np.unravel_index(np.abs(weights.astype(float)).argmax(), weights.shape)
        weights[place] = -max(weights[place], -127)  # of bytes, -128 has no other side
        return weights

    change_weights(model, first_convolution(model), flip)


def first_convolution(model: onnx.ModelProto) -> str:
    """Returns the name of the weights of the first convolution, behind what makes values of bytes."""
    makers = {output: node for node in model.graph.node for output in node.output}
    name = next(node for node in model.graph.node if node.op_type == "Conv").input[1]
    while name in makers:
        name = makers[name].input[0]
    return name


def swap_colours(model: onnx.ModelProto) -> None:
    """Lets the graph take its pixels for blue, green and red."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "colours"))
    nodes = [onnx.NodeProto.FromString(each.SerializeToString()) for each in model.graph.node]
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = "turned" if name == "images" else name
    del model.graph.node[:]
    model.graph.node.extend([onnx.helper.make_node("Gather", ["images", "colours"], ["turned"], axis=3), *nodes])


def spoil_scales(model: onnx.ModelProto) -> None:
    """Makes the scales of one convolution's weights a quarter larger."""
    names = [each.name for each in model.graph.initializer if each.name.endswith("weight_scale")]
    change_weights(model, names[len(names) // 2], lambda scales: scales * np.float32(1.25))
