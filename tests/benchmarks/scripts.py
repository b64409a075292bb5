"""The benchmarks are scripts in a folder of the checkout; their tests get them from here."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
if not FOLDER.is_dir():
    pytest.skip("the benchmarks are not here, only the tests", allow_module_level=True)
sys.path.append(str(FOLDER))

comparison, cost, detectors, peers, suspects = map(
    importlib.import_module, ("comparison", "cost", "detectors", "peers", "suspects")
)
