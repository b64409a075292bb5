"""Counts the multiply-adds of an image, from onnxruntime's profile of one run.

The sizes inside a graph depend on the image. onnxruntime's profile has the shapes of the inputs and outputs of each
node. The run uses no optimisations, which could merge or replace nodes. Convolutions and matrix products are counted,
which are nearly all of the arithmetic.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcycle.artifact.contract import Contract
from mlcycle.artifact.seal import SealedBytes
from mlcycle.inference.session import open_session

SIDES = (320, 640)
# Larger inputs are not measured; a file can declare any size.
MOST_PIXELS = 2048 * 2048

Shape = Sequence[int]


@dataclass(frozen=True, slots=True)
class Size:
    """The size of an input in pixels, and the number of images in a batch."""

    width: int
    height: int
    batch: int = 1


def sizes_for(contract: Contract) -> list[Size]:
    """Returns the sizes to measure: the fixed input size, or squares of SIDES and of the contract's long side."""
    if size := contract.input_size:
        return [Size(size.width, size.height, size.batch)]
    return [Size(side, side) for side in sorted({*SIDES, contract.resize.long_side})]


def measure(sealed: SealedBytes, size: Size) -> int | None:
    """Runs the graph once on black images and returns the multiply-adds; None if they cannot be counted.

    Raises:
        ModelFileError: onnxruntime cannot load the file.
    """
    if not 0 < size.width * size.height * size.batch <= MOST_PIXELS:
        return None
    with tempfile.TemporaryDirectory(prefix="mlcycle-profile-") as folder:
        session = open_session(sealed, provider="cpu", optimised=False, profile=Path(folder) / "profile")
        try:
            session.run(np.zeros((size.batch, size.height, size.width, 3), np.uint8))
        except Exception:  # onnxruntime has a dozen classes; the profile must end before the folder is removed
            session.runtime.end_profiling()
            return None
        try:
            return sum(_counts(json.loads(Path(session.runtime.end_profiling()).read_text("utf-8"))))
        except (OSError, ValueError, IndexError, KeyError, TypeError):
            return None  # the disk is full, or this version of onnxruntime writes another format


def _counts(events: list[dict[str, Any]]) -> Iterator[int]:
    for event in events:
        facts = event.get("args", {})
        if event.get("cat") == "Node" and "output_type_shape" in facts:
            inputs, outputs = _shapes(facts["input_type_shape"]), _shapes(facts["output_type_shape"])
            yield count_node(facts["op_name"], inputs, outputs)


def _shapes(typed: list[dict[str, list[int]]]) -> list[Shape]:
    return [shape for each in typed for shape in each.values()]


def count_node(operator: str, inputs: list[Shape], outputs: list[Shape]) -> int:
    """Returns the multiply-adds of one node, from the shapes of its inputs and outputs; 0 for other operators.

    Bias additions are not counted. The weights of a grouped convolution have only the input channels of one group:
    groups need no special case.
    """
    match operator:
        case "Conv":  # each output value is a sum over one filter
            return math.prod(outputs[0]) * math.prod(inputs[1][1:])
        case "QLinearConv":
            return math.prod(outputs[0]) * math.prod(inputs[3][1:])
        case "ConvTranspose":  # each input value is multiplied by one filter
            return math.prod(inputs[0]) * math.prod(inputs[1][1:])
        case "Gemm":
            return math.prod(inputs[0]) * outputs[0][1]
        case "MatMul" | "MatMulInteger" | "QLinearMatMul":
            return math.prod(outputs[0]) * inputs[0][-1]
    return 0
