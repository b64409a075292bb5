"""Converts a model to a newer ONNX opset."""

from __future__ import annotations

import onnx
from onnx import version_converter

from mlcycle.errors import UsageError

LEAST, MOST = 18, 26
# The oldest onnxruntime that mlcycle accepts (pyproject.toml), and the newest opset that it loads.
OLDEST_RUNTIME, ITS_OPSET = "1.20", 21


def opset_of(model: onnx.ModelProto) -> int:
    """Returns the version of a model's operators."""
    return next(each.version for each in model.opset_import if not each.domain)


def warning(version: int) -> str:
    """Returns a sentence if the oldest onnxruntime that mlcycle accepts does not load this opset, or ""."""
    if version <= ITS_OPSET:
        return ""
    return (
        f"opset {version} needs a newer onnxruntime than {OLDEST_RUNTIME}, which mlcycle still accepts and which loads"
        f" opset {ITS_OPSET}"
    )


def to_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Returns a copy of a model in this opset version, with the same results.

    Raises:
        UsageError: the version is older than that of the model, or not supported.
    """
    own = opset_of(model)
    newest = min(MOST, onnx.defs.onnx_opset_version())
    if not own <= version <= newest:
        raise UsageError(
            f"the model has opset {own} and cannot be converted to {version}", f"choose from {own} to {newest}"
        )
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.opset_import[1:]  # older files list the same one several times
    converted = version_converter.convert_version(copy, version)
    converted.ir_version = model.ir_version
    onnx.checker.check_model(converted, full_check=True)
    return converted
