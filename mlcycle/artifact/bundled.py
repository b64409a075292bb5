"""The model files that come with the package: a bare name stands for one, wherever a model file is asked for."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "models"
# What answers where nobody named a model.
DEFAULT = "face-nano"


def names() -> list[str]:
    """Returns the names of the bundled models."""
    return sorted(path.stem for path in FOLDER.glob("*.onnx"))


def locate(path: Path) -> Path:
    """Returns the file that a path means: itself where there is such a file, else the bundled model of that name."""
    if str(path) in names() and not path.is_file():
        return FOLDER / f"{path}.onnx"
    return path
