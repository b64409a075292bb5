"""Fixes the input size, for accelerators that compile a graph for static shapes.

Everything that depends only on the size (padding, grid positions) becomes constants. The number of faces stays dynamic.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime

from mlcycle.artifact.contract import INPUT
from mlcycle.errors import ModelFileError, UsageError

# The test image of the self-test must fit into the input.
LEAST_SIDE, MOST_SIDE = 192, 4096


def to_fixed_shape(model: onnx.ModelProto, width: int, height: int) -> onnx.ModelProto:
    """Returns a copy of a model for one image of this size in pixels, with constants folded.

    Raises:
        UsageError: a side is too short or too long.
        ModelFileError: onnxruntime cannot fold the constants.
    """
    if not all(LEAST_SIDE <= side <= MOST_SIDE for side in (width, height)):
        raise UsageError(
            f"an input size of {width} x {height} pixels is too small or too large",
            f"each side can have {LEAST_SIDE} to {MOST_SIDE} pixels, for example --input-size 640x480",
        )
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (pixels,) = (each for each in copy.graph.input if each.name == INPUT)
    for dimension, length in zip(pixels.type.tensor_type.shape.dim, (1, height, width, 3), strict=True):
        dimension.Clear()
        dimension.dim_value = length
    for output in copy.graph.output:
        output.type.tensor_type.shape.dim[0].Clear()
        output.type.tensor_type.shape.dim[0].dim_value = 1
    folded = _folded(copy)
    onnx.checker.check_model(folded, full_check=True)
    return folded


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Folds constants with onnxruntime; its basic level uses only ONNX operators."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="mlcycle-export-") as scratch:
        path = Path(scratch) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            folded = onnx.load(path)
        except Exception as problem:  # onnxruntime has a dozen classes
            why = " ".join(str(problem).split())[:300]
            raise ModelFileError(f"the input size of the model cannot be fixed: {why}", "try another size") from None
    own = next(each.version for each in model.opset_import if not each.domain)
    del folded.opset_import[:], folded.graph.value_info[:]
    folded.opset_import.append(onnx.helper.make_opsetid("", own))
    folded.ir_version = model.ir_version
    folded.graph.name = model.graph.name
    for node in folded.graph.node:
        node.doc_string = ""
    return folded
