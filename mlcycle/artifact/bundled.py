"""The model files that come with the package: a bare name stands for one, wherever a model file is asked for."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "models"
# What answers where nobody named a model.
DEFAULT = "face-nano"


def names() -> list[str]:
    """Returns the names of the bundled models."""
    return sorted(path.stem for path in FOLDER.glob("*.onnx"))


def of_name(name: str | os.PathLike[str]) -> Path:
    """Returns the file of a bundled model if this is its bare name, whatever lies in the working directory; else the
    path that it is."""
    return FOLDER / f"{name}.onnx" if name in names() else Path(name)


def locate(path: Path) -> Path:
    """Returns the file that a path means: itself where there is such a file, else the bundled model of that name."""
    if str(path) in names() and not path.is_file():
        return FOLDER / f"{path}.onnx"
    return path
