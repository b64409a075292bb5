"""int8: static quantisation of the network's convolutions.

Uses ONNX's portable QDQ form, QuantizeLinear and DequantizeLinear around quantised nodes: real = scale * (q - zero
point). Weights are int8 with a scale per output channel, activations uint8 with one scale per tensor (Jacob et al.
2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"). A ReLU after a
convolution is free: it is the lower limit of uint8.

x86 processors without VNNI add two products in 16 bits, which can overflow: a variant can be less accurate there than
on the machine on which it was exported and compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from mlcycle.exporting.precision.int8_plan import Plan

MOST_UINT8, MOST_INT8 = 255, 127
# A bias is added to the products of a convolution in int32; it uses at most half of that range.
MOST_BIAS = 2**30


def to_int8(model: onnx.ModelProto, plan: Plan, ranges: Mapping[str, tuple[float, float]]) -> onnx.ModelProto:
    """Returns a copy of a model with the nodes of the plan in int8; inputs and outputs keep their types.

    Args:
        ranges: minimum and maximum of each of the plan's measured values; values outside are clipped.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    writer = _Writer(plan, ranges, {each.name: numpy_helper.to_array(each) for each in graph.initializer})
    nodes = [each for node in graph.node for each in writer.convert(node)]
    nodes, used = _needed(nodes, {value.name for value in graph.output})
    kept = [each for each in graph.initializer if each.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in writer.constants.items())
    onnx.checker.check_model(copy, full_check=True)
    return copy


class _Writer:
    """Converts nodes in the order of the graph, and collects their new initializers in `constants`."""

    def __init__(self, plan: Plan, ranges: Mapping[str, tuple[float, float]], arrays: Mapping[str, np.ndarray]) -> None:
        self.plan, self.arrays = plan, arrays
        self.scales = {name: scale_and_zero_point(*ranges[name]) for name in plan.measured}
        self.scales |= dict.fromkeys(plan.pixels, (np.float32(1), np.uint8(0)))
        self.constants: dict[str, np.ndarray] = {}
        for name, (scale, zero_point) in self.scales.items():
            self._keep(name, scale, zero_point)

    def convert(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Returns the nodes that replace a node."""
        output = node.output[0]
        if output in self.plan.pixels:
            return [_dequantise(node.input[0], output, output)]
        if output in self.plan.copied:
            node.input[0], node.output[0] = f"{node.input[0]}_bytes", f"{output}_bytes"
            return [node, _dequantise(f"{output}_bytes", f"{output}_real", self.plan.source(output))]
        if node.op_type == "Relu" and node.input[0] in self.plan.rectified:
            return []
        before = self._weights(node) if node.op_type == "Conv" and output in self.plan.computed else []
        node.output[0] = self.plan.rectified.get(output, output)
        for place, name in enumerate(node.input):
            if name in self.plan.measured or name in self.plan.copied:
                node.input[place] = f"{name}_real"
        return [*before, node, *self._quantise(node.output[0])]

    def _quantise(self, value: str) -> list[onnx.NodeProto]:
        if value not in self.plan.measured:
            return []
        constants = [f"{value}_scale", f"{value}_zero_point"]
        quantise = helper.make_node("QuantizeLinear", [value, *constants], [f"{value}_bytes"])
        return [quantise, _dequantise(f"{value}_bytes", f"{value}_real", value)]

    def _weights(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Quantises the weights and bias of a convolution. Convolutions can share weights, but not a bias."""
        weights, nodes = node.input[1], []
        if f"{weights}_int8" not in self.constants:
            self.constants[f"{weights}_int8"], scale_O = quantised_weights(self.arrays[weights])
            self._keep(weights, scale_O, np.zeros(len(scale_O), np.int8))
            nodes.append(_dequantise(f"{weights}_int8", f"{weights}_real", weights, axis=0))
        node.input[1] = f"{weights}_real"
        return [*nodes, self._bias(node, weights)] if len(node.input) == 3 else nodes

    def _bias(self, node: onnx.NodeProto, weights: str) -> onnx.NodeProto:
        """Quantises a bias with the scale of the products to which it is added."""
        data_scale, _ = self.scales[self.plan.source(node.input[0])]
        scale_O = self.constants[f"{weights}_scale"] * data_scale
        name, bias_O = f"{node.output[0]}_bias", self.arrays[node.input[2]]
        quantised_O = np.clip(np.rint(bias_O / scale_O.astype(np.float64)), -MOST_BIAS, MOST_BIAS)
        self.constants[f"{name}_int32"] = quantised_O.astype(np.int32)
        self._keep(name, scale_O, np.zeros(len(scale_O), np.int32))
        node.input[2] = f"{name}_real"
        return _dequantise(f"{name}_int32", f"{name}_real", name, axis=0)

    def _keep(self, name: str, scale: np.ndarray | np.float32, zero_point: np.ndarray | np.uint8) -> None:
        self.constants[f"{name}_scale"] = np.asarray(scale)
        self.constants[f"{name}_zero_point"] = np.asarray(zero_point)


def scale_and_zero_point(least: float, most: float) -> tuple[np.float32, np.uint8]:
    """Returns scale and zero point for a range of values. 0 is exact, because padding consists of zeros."""
    least, most = min(least, 0.0), max(most, 0.0)
    scale = np.float32((most - least) / MOST_UINT8) or np.float32(1)
    return scale, np.uint8(np.rint(-least / scale))


def quantised_weights(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights [O, ...] as int8, and the scale_O of each output channel."""
    largest_O = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scale_O = np.where(largest_O > 0, largest_O / MOST_INT8, 1).astype(np.float32)
    by_channel = scale_O.reshape(-1, *[1] * (weights.ndim - 1))
    return np.clip(np.rint(weights / by_channel), -MOST_INT8, MOST_INT8).astype(np.int8), scale_O


def _dequantise(quantised: str, real: str, constants: str, axis: int | None = None) -> onnx.NodeProto:
    """Returns a DequantizeLinear node; `axis` is for a scale per channel."""
    inputs = [quantised, f"{constants}_scale", f"{constants}_zero_point"]
    node = helper.make_node("DequantizeLinear", inputs, [real])
    if axis is not None:
        node.attribute.append(helper.make_attribute("axis", axis))
    return node


def _needed(nodes: list[onnx.NodeProto], outputs: set[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """Returns the nodes that the outputs depend on, in the same order, and all values that are read."""
    kept: list[onnx.NodeProto] = []
    read = set(outputs)
    for node in reversed(nodes):
        if read.intersection(node.output):
            read.update(node.input)
            kept.append(node)
    return kept[::-1], read
