"""How many multiply-adds an image costs: counted while the graph runs once, as onnxruntime writes down what it ran.

A graph says nothing of the sizes inside it, since images may have any. onnxruntime's profile has the shapes of each
node's inputs and outputs, so the products are counted from those of a real run, with no optimisation that could merge
or replace a node. Convolutions and products of matrices are counted, which is nearly all there is.
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
# A file may ask for inputs of any size; beyond this many pixels they are not tried.
MOST_PIXELS = 2048 * 2048

Shape = Sequence[int]


@dataclass(frozen=True, slots=True)
class Size:
    """The size of an input, in pixels, and how many of them go through the graph at once."""

    width: int
    height: int
    batch: int = 1


def sizes_for(contract: Contract) -> list[Size]:
    """Returns the sizes of which to say what they cost: the file's only one, or usual ones and its own long side's."""
    if size := contract.input_size:
        return [Size(size.width, size.height, size.batch)]
    return [Size(side, side) for side in sorted({*SIDES, contract.resize.long_side})]


def measure(sealed: SealedBytes, size: Size) -> int | None:
    """Runs the graph once on black images and returns the multiply-adds; None where they cannot be counted.

    Raises:
        ModelFileError: onnxruntime cannot load the file.
    """
    if not 0 < size.width * size.height * size.batch <= MOST_PIXELS:
        return None
    with tempfile.TemporaryDirectory(prefix="mlcycle-profile-") as folder:
        session = open_session(sealed, provider="cpu", optimised=False, profile=Path(folder) / "profile")
        try:
            session.run(np.zeros((size.batch, size.height, size.width, 3), np.uint8))
        except Exception:  # onnxruntime has a dozen classes; the profile has to be ended before the folder goes
            session.runtime.end_profiling()
            return None
        try:
            return sum(_of_nodes(json.loads(Path(session.runtime.end_profiling()).read_text("utf-8"))))
        except (OSError, ValueError, IndexError, KeyError, TypeError):
            return None  # the disk is full, or another onnxruntime writes something else


def _of_nodes(events: list[dict[str, Any]]) -> Iterator[int]:
    for event in events:
        facts = event.get("args", {})
        if event.get("cat") == "Node" and "output_type_shape" in facts:
            inputs, outputs = _shapes(facts["input_type_shape"]), _shapes(facts["output_type_shape"])
            yield of_node(facts["op_name"], inputs, outputs)


def _shapes(typed: list[dict[str, list[int]]]) -> list[Shape]:
    return [shape for each in typed for shape in each.values()]


def of_node(operator: str, inputs: list[Shape], outputs: list[Shape]) -> int:
    """Returns the multiply-adds of one node, from the shapes of its inputs and outputs; 0 of what is not counted.

    Additions of a bias are not counted. The weights of a convolution in groups hold only what a group takes in, so that
    groups need no thought.
    """
    match operator:
        case "Conv":  # each value that comes out is a sum over one filter
            return math.prod(outputs[0]) * math.prod(inputs[1][1:])
        case "QLinearConv":
            return math.prod(outputs[0]) * math.prod(inputs[3][1:])
        case "ConvTranspose":  # each value that goes in is spread by one filter
            return math.prod(inputs[0]) * math.prod(inputs[1][1:])
        case "Gemm":
            return math.prod(inputs[0]) * outputs[0][1]
        case "MatMul" | "MatMulInteger" | "QLinearMatMul":
            return math.prod(outputs[0]) * inputs[0][-1]
    return 0
