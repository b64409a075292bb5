"""Half precision: the network's convolutions and weights in 16 bits, what places boxes in 32.

Half the size; on a GPU with half-precision units about twice the speed, on a CPU none gained. A coordinate of 640
pixels has a grain of half a pixel in 16 bits, so everything behind the last convolutions stays in 32, and so does the
first convolution, whose weights carry a division by 255 and would lose their last bits.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a model with its middle in half precision; inputs and outputs keep their types."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _name_every_node(copy.graph.node)
    kept = _nodes_to_keep(copy.graph)
    half = convert_float_to_float16(
        copy, keep_io_types=True, disable_shape_infer=False, node_block_list=kept, op_block_list=["NonMaxSuppression"]
    )
    # The casts that were put in stand at the end; ONNX asks for each node to come after what it uses.
    OnnxModel(half).topological_sort()
    del half.graph.value_info[:]  # types from before the conversion; they are inferred again by whoever wants them
    onnx.checker.check_model(half, full_check=True)
    return half


def _name_every_node(nodes: Iterable[onnx.NodeProto]) -> None:
    for index, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type}_{index}"


def _nodes_to_keep(graph: onnx.GraphProto) -> list[str]:
    """Names the nodes up to and with the first convolution, and those behind the last ones."""
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    between = _reached(graph, convolutions[:1], forwards=True) & _reached(graph, convolutions, forwards=False)
    inner = between | {node.name for node in convolutions[1:]}
    return [node.name for node in graph.node if node.name not in inner]


def _reached(graph: onnx.GraphProto, starts: Iterable[onnx.NodeProto], *, forwards: bool) -> set[str]:
    """Names the nodes that come after (or before) the given ones."""
    names: set[str] = set()
    values = {value for node in starts for value in (node.output if forwards else node.input)}
    for node in graph.node if forwards else reversed(graph.node):
        touched, passed_on = (node.input, node.output) if forwards else (node.output, node.input)
        if values.intersection(touched):
            names.add(node.name)
            values.update(passed_on)
    return names
