"""Activation ranges of a network on calibration images.

The range is that of all observed values. Clipping rare values was tried: ranges of least squared error, or of 99.99 %
of the values, gave an AP50 within 0.2 points, and of 99.9 % one that was 0.8 points lower. 16 images were as good as
48.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime

from mlcycle.artifact.contract import INPUT


def ranges_of(
    model: onnx.ModelProto, values: Sequence[str], images: Sequence[np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Runs a model on images and returns the minimum and maximum of each value; the range always includes 0.

    Args:
        values: names of float values inside the model.
        images: uint8 RGB [H, W, 3], each of any size.
    """
    session = _session(model, values)
    least, most = dict.fromkeys(values, 0.0), dict.fromkeys(values, 0.0)
    for image_HW3 in images:
        seen = session.run(list(values), {INPUT: image_HW3[None]})
        for name, array in zip(values, seen, strict=True):
            least[name] = min(least[name], float(array.min()))
            most[name] = max(most[name], float(array.max()))
    return {name: (least[name], most[name]) for name in values}


def _session(model: onnx.ModelProto, values: Sequence[str]) -> onnxruntime.InferenceSession:
    """Opens a copy of a model with these values as its outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in values)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
