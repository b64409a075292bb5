"""Ways to tamper with a model file, for lesson 2: flip a bit, or change a weight and seal the file again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import mlcycle
from mlcycle.artifact.seal import BLANK, seal_bytes

SEAL_KEY = "mlcycle.seal"


def flip_bit(model: Path, copy: Path, position: int) -> Path:
    """Writes a copy of a file with the lowest bit of one byte flipped; `position` counts from 0."""
    data = bytearray(Path(model).read_bytes())
    data[position] ^= 1
    return _write(copy, bytes(data))


def scale_weight(model: Path, copy: Path, factor: float) -> Path:
    """Writes a copy with the largest weight of the graph multiplied by `factor`, and seals it again."""
    graph = onnx.load(model)
    weights = [numpy_helper.to_array(each).copy() for each in graph.graph.initializer]
    chosen = max((at for at, each in enumerate(weights) if each.ndim == 4), key=lambda at: np.abs(weights[at]).max())
    largest = np.unravel_index(np.abs(weights[chosen]).argmax(), weights[chosen].shape)
    weights[chosen][largest] *= factor
    tensor = graph.graph.initializer[chosen]
    tensor.CopyFrom(numpy_helper.from_array(weights[chosen], tensor.name))
    next(each for each in graph.metadata_props if each.key == SEAL_KEY).value = BLANK.decode()
    return _write(copy, seal_bytes(graph.SerializeToString()))


def verdict(model: Path) -> str:
    """Returns what mlcycle says when it loads a file: "" if it accepts it, else the error."""
    try:
        mlcycle.load(model)
    except mlcycle.MlcycleError as problem:
        return problem.message.replace(str(model), Path(model).name)
    return ""


def digest(model: Path) -> str:
    """Returns the sha256 of a file, in hex."""
    return hashlib.sha256(Path(model).read_bytes()).hexdigest()


def _write(copy: Path, data: bytes) -> Path:
    copy.unlink(missing_ok=True)
    copy.write_bytes(data)
    return copy
