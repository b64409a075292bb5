"""Which model file would answer, and whether it and those that come with mlcycle are whole."""

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
    """A model file, looked at.

    Attributes:
        name: as it was named: a path, or the name of one that comes with mlcycle.
        path: of the file.
        chosen: how it was chosen, for people.
        sha256: of the file, None where it is not whole.
        trouble: what is wrong with it, and what to do; None where nothing is.
    """

    name: str
    path: Path
    chosen: str
    sha256: str | None
    trouble: tuple[str, str] | None


def answering(named: Path | None) -> ModelFile:
    """Looks at the file that would answer if `mlcycle infer` were told `named`, or nothing."""
    return _look(*find_model(named))


def coming_with_mlcycle() -> tuple[ModelFile, ...]:
    """Looks at the bundled files."""
    return tuple(_look(bundled.FOLDER / f"{name}.onnx", "bundled", name) for name in bundled.names())


def variable() -> str | None:
    """Returns what MLCYCLE_MODEL says."""
    return os.environ.get(VARIABLE)


def _look(path: Path, chosen: str, name: str = "") -> ModelFile:
    name, path = name or str(path), bundled.locate(path)
    try:
        return ModelFile(name, path, chosen, read_sealed(path).sha256, None)
    except ModelFileError as problem:
        return ModelFile(name, path, chosen, None, (problem.message, problem.hint))
