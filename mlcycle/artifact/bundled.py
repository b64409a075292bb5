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


def locate(name: str | os.PathLike[str]) -> Path:
    """Returns the bundled model of this name, even if the current folder has a file of that name; else the path.

    The text "./face-nano" is a path, and stays one: it becomes absolute, because a Path drops the dot.
    """
    bundled, path = names(), Path(name)
    if os.fspath(name) in bundled:
        return FOLDER / f"{path}.onnx"
    return path.absolute() if str(path) in bundled else path
