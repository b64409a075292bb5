"""float16 and bfloat16: convolutions and weights in 16 bits, box decoding in float32.

Halves the size. float16 is about twice as fast on a GPU with half-precision units; bfloat16, the upper half of a
float32, is for accelerators that support it. A CPU gains nothing. At a coordinate of 640 pixels the resolution is half
a pixel in float16 and four pixels in bfloat16, so everything after the last convolutions stays in float32. So does the
first convolution, whose weights include the division by 255 and would lose precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

Kind = Literal["float16", "bfloat16"]
FLOAT = onnx.TensorProto.FLOAT
TYPES = {"float16": onnx.TensorProto.FLOAT16, "bfloat16": onnx.TensorProto.BFLOAT16}
# Only the data input of these is converted; by ONNX's definition, the other inputs stay float32.
DATA_ONLY = ("Resize",)


def to_half(model: onnx.ModelProto, kind: Kind) -> onnx.ModelProto:
    """Returns a copy of a model with its convolutions in 16 bits; inputs and outputs keep their types.

    bfloat16 needs opset 22 or newer: convolutions of older opsets do not support it.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    writer = _Writer(copy, kind)
    nodes = [each for node in copy.graph.node for each in writer.convert(node)]
    del copy.graph.node[:], copy.graph.value_info[:]
    copy.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [each for each in copy.graph.initializer if each.name in used]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend([*kept, *writer.weights.values()])
    onnx.checker.check_model(copy, full_check=True)
    return copy


class _Writer:
    """Converts nodes in the order of the graph; casts come before the first node that reads them."""

    def __init__(self, model: onnx.ModelProto, kind: Kind) -> None:
        self.kind = kind
        self.inner = _inner(model.graph)
        self.floats = {each.name: each for each in model.graph.initializer if each.data_type == FLOAT}
        typed = onnx.shape_inference.infer_shapes(model).graph
        self.float_values = {each.name for each in typed.value_info if each.type.tensor_type.elem_type == FLOAT}
        self.halved: set[str] = set()
        self.cast: dict[tuple[str, int], str] = {}
        self.weights: dict[str, onnx.TensorProto] = {}

    def convert(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Returns the node with inputs of its type, after the casts that it needs."""
        casts: list[onnx.NodeProto] = []
        is_inner = node.output[0] in self.inner
        for place, name in enumerate(node.input):
            if not is_inner:
                if name in self.halved:
                    node.input[place] = self._cast(name, FLOAT, casts)
            elif place == 0 or node.op_type not in DATA_ONLY:
                node.input[place] = self._half(name, casts)
        if is_inner:
            self.halved.update(node.output)
        return [*casts, node]

    def _half(self, name: str, casts: list[onnx.NodeProto]) -> str:
        if name in self.floats:
            half = f"{name}_half"
            self.weights.setdefault(half, _halved(self.floats[name], half, self.kind))
            return half
        if name in self.float_values and name not in self.halved:
            return self._cast(name, TYPES[self.kind], casts)
        return name

    def _cast(self, name: str, to: int, casts: list[onnx.NodeProto]) -> str:
        if (name, to) not in self.cast:
            self.cast[name, to] = f"{name}_{'float' if to == FLOAT else 'half'}"
            casts.append(helper.make_node("Cast", [name], [self.cast[name, to]], to=to))
        return self.cast[name, to]


def _halved(tensor: onnx.TensorProto, name: str, kind: Kind) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    if kind == "float16":
        return numpy_helper.from_array(values.astype(np.float16), name)
    bits = np.ascontiguousarray(values).view(np.uint32)
    # The upper half, rounded to nearest, ties to even.
    upper = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return helper.make_tensor(name, TYPES[kind], values.shape, upper.tobytes(), raw=True)


def _inner(graph: onnx.GraphProto) -> set[str]:
    """Returns the first outputs of the nodes after the first convolution, up to and including the last ones."""
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    between = _reached(graph, convolutions[:1], forwards=True) & _reached(graph, convolutions, forwards=False)
    return between | {node.output[0] for node in convolutions[1:]}


def _reached(graph: onnx.GraphProto, starts: Iterable[onnx.NodeProto], *, forwards: bool) -> set[str]:
    """Returns the first outputs of the nodes after (or before) the given ones."""
    names: set[str] = set()
    values = {value for node in starts for value in (node.output if forwards else node.input)}
    for node in graph.node if forwards else reversed(graph.node):
        touched, passed_on = (node.input, node.output) if forwards else (node.output, node.input)
        if values.intersection(touched):
            names.add(node.output[0])
            values.update(passed_on)
    return names
