"""A small model file with one node of each counted operator, whose multiply-adds are counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from mlcycle.artifact.contract import Contract, InputSize, Resize, Selection
from mlcycle.artifact.packing import pack
from mlcycle.artifact.seal import write_sealed

_GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
counted (uint8[batch, height, width, 3] images) => (float[batch, faces, 4] boxes, float[batch, faces] scores)
{
    floats = Cast<to = 1>(images)
    channels_first = Transpose<perm = [0, 3, 1, 2]>(floats)
    whole = Conv<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(channels_first, whole_weight)
    groups = Conv<group = 2, kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(whole, groups_weight)
    larger = ConvTranspose<group = 2, kernel_shape = [2, 2], strides = [2, 2]>(groups, larger_weight)
    means = GlobalAveragePool(larger)
    flat = Flatten<axis = 1>(means)
    product = Gemm<transB = 1>(flat, gemm_weight)
    corners = MatMul(product, matmul_weight)
    one = Constant<value_ints = [1]>()
    boxes = Unsqueeze(corners, one)
    best = ReduceMax<keepdims = 1>(corners, one)
    scores = Sigmoid(best)
}
"""
_SHAPES = {"whole": (6, 3, 3, 3), "groups": (4, 3, 3, 3), "larger": (4, 3, 2, 2), "gemm": (5, 6), "matmul": (5, 4)}


def by_hand(width: int, height: int) -> int:
    """Returns the multiply-adds of the model for an image with even sides."""
    half = width // 2 * (height // 2)
    whole, groups = (
        6 * half * 3 * 9,
        4 * half * 3 * 9,
    )  # with two groups, each value depends on half of the six channels
    larger = 4 * half * 3 * 4  # each value contributes to 2 x 2 pixels in half of the six channels
    return whole + groups + larger + 6 * 5 + 5 * 4


def write_counted(path: Path, size: InputSize | None = None) -> Path:
    """Writes the file, with inputs of any size or a fixed input size."""
    sides = f"[{size.batch}, {size.height}, {size.width}, 3]" if size else "[batch, height, width, 3]"
    model = parser.parse_model(_GRAPH.replace("[batch, height, width, 3]", sides))
    for name, shape in _SHAPES.items():
        values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, f"{name}_weight"))
    onnx.checker.check_model(model, full_check=True)
    rule = Resize(640, rule="fit-inside") if size else Resize(480)
    selection = Selection(0.05, 0.45, 1)
    contract = Contract("counted", rule, selection, {"balanced": 0.5}, input_size=size)
    write_sealed(pack(model, contract), path)
    return path
