"""The model file that `mlcycle infer` would use and the bundled ones, and whether they are valid."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mlcycle.artifact import bundled
from mlcycle.artifact.seal import read_sealed
from mlcycle.errors import ModelFileError
from mlcycle.inference.models import VARIABLE, find_model


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file after verification.

    Attributes:
        name: a path, or the name of a bundled model.
        path: of the file.
        chosen: how it was chosen, as text.
        sha256: of the file, None if it is invalid.
        problem: message and hint if it is invalid, else None.
    """

    name: str
    path: Path
    chosen: str
    sha256: str | None
    problem: tuple[str, str] | None


def model_file(path: Path | None) -> ModelFile:
    """Verifies the file that `mlcycle infer` would use with this --model, or without."""
    return _verify(*find_model(path))


def bundled_files() -> tuple[ModelFile, ...]:
    """Verifies the bundled files."""
    return tuple(_verify(bundled.FOLDER / f"{name}.onnx", "bundled", name) for name in bundled.names())


def variable() -> str | None:
    """Returns the value of MLCYCLE_MODEL."""
    return os.environ.get(VARIABLE)


def _verify(path: Path, chosen: str, name: str = "") -> ModelFile:
    name, path = name or str(path), bundled.locate(path)
    try:
        return ModelFile(name, path, chosen, read_sealed(path).sha256, None)
    except ModelFileError as problem:
        return ModelFile(name, path, chosen, None, (problem.message, problem.hint))
