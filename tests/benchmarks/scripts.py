"""Imports the benchmark scripts, which are not part of the package, for their tests."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
if not FOLDER.is_dir():
    pytest.skip("the folder benchmarks/ does not exist", allow_module_level=True)
sys.path.append(str(FOLDER))

comparison, cost, detectors, peers, rotation, suspects = map(
    importlib.import_module, ("comparison", "cost", "detectors", "peers", "rotation", "suspects")
)
