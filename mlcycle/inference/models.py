"""Which model file is used: the named one, else $MLCYCLE_MODEL, else the newest in ./models, else the bundled one."""

from __future__ import annotations

import os
from pathlib import Path

from mlcycle.artifact import bundled

VARIABLE = "MLCYCLE_MODEL"
FOLDER = Path("models")


def find_model(named: Path | None = None, folder: Path = FOLDER) -> tuple[Path, str]:
    """Returns the model file to use and, for messages, how it was chosen."""
    if named is not None:
        return named, "--model"
    if variable := os.environ.get(VARIABLE):
        return Path(variable), VARIABLE
    found = [path for path in folder.glob("*.onnx") if path.is_file() and not path.name.startswith(".")]
    if not found:
        return Path(bundled.DEFAULT), "bundled"
    # For files with the same time the name decides, so that the choice does not depend on the file system.
    return max(found, key=lambda path: (path.stat().st_mtime, path.name)), f"the newest in ./{folder}"
