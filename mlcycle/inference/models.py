"""Which model file answers: the one that is named, else that of the environment, else the newest of ./models, else the
one that comes with mlcycle."""

from __future__ import annotations

import os
from pathlib import Path

from mlcycle.artifact import bundled

VARIABLE = "MLCYCLE_MODEL"
FOLDER = Path("models")


def find_model(named: Path | None = None, folder: Path = FOLDER) -> tuple[Path, str]:
    """Returns the model file to use and, for people, how it was chosen."""
    if named is not None:
        return named, "--model"
    if variable := os.environ.get(VARIABLE):
        return Path(variable), VARIABLE
    found = [path for path in folder.glob("*.onnx") if path.is_file() and not path.name.startswith(".")]
    if not found:
        return Path(bundled.DEFAULT), "the one that comes with mlcycle"
    # The name decides between files of the same second, so that the choice does not depend on the file system.
    return max(found, key=lambda path: (path.stat().st_mtime, path.name)), f"the newest in ./{folder}"
