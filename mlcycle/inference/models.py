"""Which model file answers: the one that is named, else that of the environment, else the newest of ./models."""

from __future__ import annotations

import os
from pathlib import Path

from mlcycle.errors import ModelFileError

VARIABLE = "MLCYCLE_MODEL"
FOLDER = Path("models")


def find_model(named: Path | None = None, folder: Path = FOLDER) -> tuple[Path, str]:
    """Returns the model file to use and, for people, how it was chosen.

    Raises:
        ModelFileError: none was named and there is none to be found.
    """
    if named is not None:
        return named, "--model"
    if variable := os.environ.get(VARIABLE):
        return Path(variable), VARIABLE
    found = [path for path in folder.glob("*.onnx") if path.is_file() and not path.name.startswith(".")]
    if not found:
        raise ModelFileError(
            f"there is no model: none is named, {VARIABLE} is not set and ./{folder} holds no .onnx file",
            "name one with --model FILE, or make one: mlcycle freeze RUN",
        )
    # The name decides between files of the same second, so that the choice does not depend on the file system.
    return max(found, key=lambda path: (path.stat().st_mtime, path.name)), f"the newest in ./{folder}"
