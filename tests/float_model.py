"""A model file in 32 bits that finds faces: the network of the bundled face-nano, its bytes made real numbers again."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from mlcycle.artifact import bundled
from mlcycle.artifact.contract import CONTRACT_KEY, Contract, from_json
from mlcycle.artifact.packing import pack
from mlcycle.artifact.seal import SealedBytes, write_sealed
from mlcycle.artifact.self_test import HEIGHT, WIDTH, SelfTest, image, make_self_test
from mlcycle.inference.session import open_session


@cache
def _bundled() -> tuple[bytes, str]:
    model = onnx.load(bundled.FOLDER / "face-nano.onnx")
    contract = next(entry.value for entry in model.metadata_props if entry.key == CONTRACT_KEY)
    del model.metadata_props[:]
    return _without_bytes(model).SerializeToString(), contract


def float_model() -> onnx.ModelProto:
    """Returns the graph alone, which may be changed."""
    return onnx.load_model_from_string(_bundled()[0])


def float_contract() -> Contract:
    """Returns the contract of a frozen file: no parent, 32 bits."""
    return replace(from_json(_bundled()[1]), precision="float32", parent=None, reduced_jpeg=None)


def self_test_of(model: onnx.ModelProto) -> SelfTest:
    """Returns a self-test whose expected output is the graph's own."""
    session = open_session(
        SealedBytes(pack(model, float_contract()), "", Path("model.onnx")), provider="cpu", threads=1
    )
    boxes_1N4, scores_1N, landmarks_1N52 = session.run(image(HEIGHT, WIDTH, 0)[None])
    assert landmarks_1N52 is not None
    return make_self_test(boxes_1N4[0], scores_1N[0], landmarks_1N52[0])


@cache
def _sealed() -> bytes:
    model = float_model()
    return pack(model, float_contract(), self_test_of(model))


def write_float_model(path: Path) -> Path:
    """Writes the sealed file, with its self-test, and returns its path."""
    write_sealed(_sealed(), path)
    return path


def _without_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Computes weights from their bytes, and takes out what would round values to bytes."""
    graph = model.graph
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    real: dict[str, np.ndarray] = {}
    same: dict[str, str] = {}
    nodes = []
    unrectified = _unrectified(graph)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)
        if node.op_type == "QuantizeLinear":
            same[node.output[0]] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in arrays:
            whole, scale = arrays[node.input[0]].astype(np.float32), arrays[node.input[1]]
            same[node.output[0]] = f"float_{len(real)}"
            real[f"float_{len(real)}"] = whole * scale.reshape(-1, *[1] * (whole.ndim - 1))
        elif node.op_type == "DequantizeLinear" and arrays[node.input[1]].size == 1 and arrays[node.input[1]] == 1:
            nodes.append(onnx.helper.make_node("Cast", [node.input[0]], [node.output[0]], to=onnx.TensorProto.FLOAT))
        elif node.op_type == "DequantizeLinear":
            same[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
            if node.op_type == "Conv" and node.output[0] not in unrectified:
                nodes.append(onnx.helper.make_node("Relu", [node.output[0]], [f"{node.output[0]}_rectified"]))
                same[node.output[0]] = f"{node.output[0]}_rectified"
    used = {name for node in nodes for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    kept += [numpy_helper.from_array(array, name) for name, array in real.items()]
    del graph.node[:], graph.initializer[:], model.opset_import[1:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    onnx.checker.check_model(model, full_check=True)
    return model


def _unrectified(graph: onnx.GraphProto) -> set[str]:
    """Names what convolutions put out that no byte's own limit rectifies: bytes with a zero point, or none at all."""
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    limited = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear" and not arrays[node.input[2]]}
    return {node.output[0] for node in graph.node if node.op_type == "Conv" and node.output[0] not in limited}
