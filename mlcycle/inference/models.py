"""Which model file is used: the named one, else $MLCYCLE_MODEL, else the bundled one; none is searched for."""

from __future__ import annotations

import os
from pathlib import Path

from mlcycle.artifact import bundled

VARIABLE = "MLCYCLE_MODEL"


def find_model(named: Path | None = None) -> tuple[Path, str]:
    """Returns the model file to use and, for messages, how it was chosen."""
    if named is not None:
        return named, "--model"
    if variable := os.environ.get(VARIABLE):
        return Path(variable), VARIABLE
    return Path(bundled.DEFAULT), "bundled"
