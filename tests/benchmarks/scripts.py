"""Imports the benchmark scripts, which are not part of the package, for their tests."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
sys.path.append(str(FOLDER))

comparison, cost, detectors, peers, rotation, suspects = map(
    importlib.import_module, ("comparison", "cost", "detectors", "peers", "rotation", "suspects")
)
