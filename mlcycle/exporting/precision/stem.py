"""Makes the first convolution read four pixels at once: the same sums, in a form that is fast in int8.

An int8 convolution is fast if its channels are a multiple of four, and a pixel has three. Four adjacent pixels have
twelve, and grouping them is free, given the memory layout of rows. A stride of two gives two output positions for each
four pixels, a stride of one gives four. They become additional channels, which a transpose separates again.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

PIXELS, COLOURS = 4, 3
# The supported form: 3x3 with a stride of 1 or 2, over rows of R G B R G B ...
KERNEL, STRIDES, PADS = [3, 9], ([1, 3], [2, 6]), [1, 3, 1, 3]
# Stride → number of groups that an output position reads: the previous, its own, and for stride 1 the next.
GROUPS_READ = {1: 3, 2: 2}
CHAIN = ("Cast", "Reshape", "Unsqueeze", "Conv", "Relu")


def group_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a model whose first convolution reads four pixels at once, or the model if it has another form.

    The results are the same, except for the rounding of sums.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    chain = _chain(copy.graph)
    if chain is None:
        return model
    cast, convolution, rectifier = chain[0], chain[3], chain[4]
    weights, bias = _arrays(copy.graph, convolution)
    stride = _settings(convolution)["strides"][0]
    constants = {
        "stem_weights": _grouped(weights, stride),
        "stem_bias": np.tile(bias, PIXELS // stride),
        "stem_by_fours": np.array([0, 0, -1, PIXELS * COLOURS]),
        "stem_one_by_one": np.array([0, 0, -1, len(bias)]),
    }
    nodes = _nodes(cast.input[0], rectifier.output[0], stride)
    first = list(copy.graph.node).index(cast)
    others = [node for node in copy.graph.node if node not in chain]
    kept = [each for each in copy.graph.initializer if each.name not in convolution.input]
    del copy.graph.node[:], copy.graph.initializer[:]
    copy.graph.node.extend([*others[:first], *nodes, *others[first:]])
    copy.graph.initializer.extend(kept)
    copy.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return copy


def _nodes(pixels: str, result: str, stride: int) -> list[onnx.NodeProto]:
    node, groups = helper.make_node, GROUPS_READ[stride]
    return [
        node("Reshape", [pixels, "stem_by_fours"], ["stem_fours"]),
        node("Transpose", ["stem_fours"], ["stem_channels"], perm=[0, 3, 1, 2]),
        node("Cast", ["stem_channels"], ["stem_pixels"], to=onnx.TensorProto.FLOAT),
        node(
            "Conv", ["stem_pixels", "stem_weights", "stem_bias"], ["stem_sums"],
            kernel_shape=[3, groups], strides=[stride, 1], pads=[1, 1, 1, groups - 2],
        ),
        node("Relu", ["stem_sums"], ["stem_places"]),
        node("Transpose", ["stem_places"], ["stem_rows"], perm=[0, 2, 3, 1]),
        node("Reshape", ["stem_rows", "stem_one_by_one"], ["stem_single"]),
        node("Transpose", ["stem_single"], [result], perm=[0, 3, 1, 2]),
    ]  # fmt: skip


def _grouped(weights_O139: np.ndarray, stride: int) -> np.ndarray:
    """Returns weights [positions O, 12, 3, groups], for all output positions of a group of four pixels."""
    outputs, positions, groups = len(weights_O139), PIXELS // stride, GROUPS_READ[stride]
    taps_OYXC = weights_O139.reshape(outputs, 3, 3, COLOURS)
    grouped = np.zeros((positions, outputs, 3, groups, PIXELS, COLOURS), np.float32)
    for place in range(positions):
        for tap in range(3):
            group, pixel = divmod(PIXELS + stride * place + tap - 1, PIXELS)
            grouped[place, :, :, group, pixel] = taps_OYXC[:, :, tap]
    rows = grouped.reshape(positions * outputs, 3, groups, PIXELS * COLOURS)
    return np.ascontiguousarray(rows.transpose(0, 3, 1, 2))


def _chain(graph: onnx.GraphProto) -> list[onnx.NodeProto] | None:
    """Finds the nodes from the pixels to the ReLU after the first convolution, if they form a chain."""
    convolution = next((node for node in graph.node if node.op_type == "Conv"), None)
    if convolution is None:
        return None
    settings = _settings(convolution)
    weights, _ = _arrays(graph, convolution)
    is_known = settings.get("strides") in STRIDES and settings.get("pads") == PADS
    if not is_known or list(weights.shape[1:]) != [1, *KERNEL]:
        return None
    made_by = {name: node for node in graph.node for name in node.output}
    chain = [convolution]
    while len(chain) < 4 and chain[0].input[0] in made_by:
        chain.insert(0, made_by[chain[0].input[0]])
    readers = [node for node in graph.node if convolution.output[0] in node.input]
    chain += readers
    return chain if tuple(node.op_type for node in chain) == CHAIN else None


def _settings(convolution: onnx.NodeProto) -> dict[str, list[int]]:
    return {each.name: list(each.ints) for each in convolution.attribute}


def _arrays(graph: onnx.GraphProto, convolution: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weights and bias of a convolution; a missing bias is zero."""
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    weights, *bias = (arrays[name] for name in convolution.input[1:])
    return weights, bias[0] if bias else np.zeros(len(weights), np.float32)
