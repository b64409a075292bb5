"""The model files bundled with the package; a bare name such as face-nano selects one."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "models"
# The model that is used if the user names none.
DEFAULT = "face-nano"


def names() -> list[str]:
    """Returns the names of the bundled models."""
    return sorted(path.stem for path in FOLDER.glob("*.onnx"))


def of_name(name: str | os.PathLike[str]) -> Path:
    """Returns the bundled model of this name, even if the current folder has a file of that name; else the path."""
    return FOLDER / f"{name}.onnx" if name in names() else Path(name)


def locate(path: Path) -> Path:
    """Returns the path itself if such a file exists, else the bundled model of that name, else the path itself."""
    if str(path) in names() and not path.is_file():
        return FOLDER / f"{path}.onnx"
    return path
