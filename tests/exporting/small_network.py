"""A small hand-written network in the form of `mlcycle freeze`, and images for it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser

_GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
small (uint8[batch, height, width, 3] images)
    => (float[batch, 5, rows, columns] fine, float[batch, 5, rows2, columns2] coarse)
{
    as_float = Cast<to = 1>(images)
    row_by_row = Constant<value_ints = [0, 0, -1]>()
    one_channel = Reshape(as_float, row_by_row)
    one = Constant<value_ints = [1]>()
    rows_in = Unsqueeze(one_channel, one)
    first = Conv<kernel_shape = [3, 9], strides = [2, 6], pads = [1, 3, 1, 3]>(rows_in, w_first, b_first)
    first_relu = Relu(first)
    second = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(first_relu, w_second, b_second)
    second_relu = Relu(second)
    third = Conv<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(second_relu, w_third, b_third)
    third_relu = Relu(third)
    lateral = Conv<kernel_shape = [1, 1]>(second_relu, w_lateral)
    below = Conv<kernel_shape = [1, 1]>(third_relu, w_below)
    twice = Constant<value = float[4] {1.0, 1.0, 2.0, 2.0}>()
    above = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(
        below, , twice)
    merged = Add(lateral, above)
    head_fine = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(merged, w_head, b_head)
    head_fine_relu = Relu(head_fine)
    head_coarse = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(below, w_head, b_head)
    head_coarse_relu = Relu(head_coarse)
    fine = Conv<kernel_shape = [1, 1]>(head_fine_relu, w_output, b_output)
    coarse = Conv<kernel_shape = [1, 1]>(head_coarse_relu, w_output, b_output)
}
"""
_SHAPES = {
    "first": (8, 1, 3, 9),
    "second": (16, 8, 3, 3),
    "third": (16, 16, 3, 3),
    "lateral": (8, 16, 1, 1),
    "below": (8, 16, 1, 1),
    "head": (8, 8, 3, 3),
    "output": (5, 8, 1, 1),
}


def small_network(stride: int = 2) -> onnx.ModelProto:
    """Returns the network with random weights of the usual initialisation.

    Args:
        stride: of the first convolution, in pixels.
    """
    model = parser.parse_model(_GRAPH.replace("strides = [2, 6]", f"strides = [{stride}, {3 * stride}]"))
    random = np.random.default_rng(0)
    for name, shape in _SHAPES.items():
        weights = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        weights = weights / 255 if name == "first" else weights
        model.graph.initializer.append(numpy_helper.from_array(weights, f"w_{name}"))
        bias = random.normal(0, 0.1, shape[0]).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(bias, f"b_{name}"))
    onnx.checker.check_model(model, full_check=True)
    return model


def random_images() -> list[np.ndarray]:
    """Returns two real images of different sizes, multiples of 32: uint8 [H, W, 3]."""
    from skimage import data

    return [data.astronaut()[:256, :320], data.coffee()[:192, :256]]
