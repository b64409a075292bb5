"""Fixes the input size, for accelerators that compile a graph for static shapes.

Everything that depends only on the size (padding, grid positions) becomes constants. The number of faces stays dynamic.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime

from mlcycle.artifact.contract import INPUT
from mlcycle.artifact.self_test import SelfTest, make_self_test
from mlcycle.errors import ModelFileError, UsageError
from mlcycle.inference.session import Session, padded

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


def self_test_at(session: Session, test: SelfTest, width: int, height: int) -> SelfTest:
    """Returns a self-test with the output that a session gives for the test image, padded to a size in pixels.

    Padding shifts scores slightly. The tolerances stay.
    """
    boxes_1N4, scores_1N, landmarks_1N52 = session.run(padded(test.image(), width, height)[None])
    points_N52 = None if landmarks_1N52 is None else landmarks_1N52[0]
    expected = make_self_test(boxes_1N4[0], scores_1N[0], points_N52)
    return replace(expected, tolerance=test.tolerance, loose_tolerance=test.loose_tolerance)


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
