"""Every name that a benchmark imports from mlcycle exists, also those that it imports inside a function."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torch")

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.training


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_names_from_mlcycle_exist(script: Path) -> None:
    missing = []
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "mlcycle":
            missing += [f"{node.module}.{each.name}" for each in node.names if not _exists(node.module, each.name)]
    assert missing == []


def _exists(module: str, name: str) -> bool:
    found = importlib.import_module(module)
    is_package = hasattr(found, "__path__")
    return hasattr(found, name) or (is_package and importlib.util.find_spec(f"{module}.{name}") is not None)
