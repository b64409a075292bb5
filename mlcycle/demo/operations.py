"""Counts the multiply-adds of a model file."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

# A backward pass computes two gradients of the size of the forward pass: that of the weights and that of the input.
PASSES_OF_TRAINING = 3


def multiply_adds(model: Path, height: int, width: int) -> int:
    """Returns the multiply-adds of a model's convolutions for one image; its other operations are negligible.

    For each output value a convolution does one multiply-add for each weight of one of its filters. The model runs on a
    black image with every feature map as an output, so that the sizes are measured.
    """
    import onnx
    import onnxruntime

    graph = onnx.load(model)
    weights = {each.name: each.dims for each in graph.graph.initializer}
    filters = {node.output[0]: weights[node.input[1]][1:] for node in graph.graph.node if node.op_type == "Conv"}
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in filters)
    options = onnxruntime.SessionOptions()
    # Fusion would remove feature maps.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image_1HW3 = np.zeros((1, height, width, 3), np.uint8)
    maps = session.run(list(filters), {session.get_inputs()[0].name: image_1HW3})
    return sum(each.size * prod(filter_shape) for each, filter_shape in zip(maps, filters.values(), strict=True))
