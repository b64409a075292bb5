"""What is not installed raises an error that says how to install it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mlcycle


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package impossible to import, and what mlcycle has imported of its own with it, until the test ends."""

    def hide(package: str) -> None:
        for name in list(sys.modules):
            if name.startswith(("mlcycle.training", "mlcycle.exporting")) or name.partition(".")[0] == package:
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)

    return hide


def test_training_says_so(without: Callable[[str], None], tmp_path: Path) -> None:
    without("torch")
    without("pydantic")
    with pytest.raises(mlcycle.MissingExtraError, match=r"mlcycle\.train") as caught:
        mlcycle.train("demo", out=tmp_path / "run")
    assert "pip install" in caught.value.hint
    assert "[train]" in caught.value.hint


def test_freezing_says_so(without: Callable[[str], None], tmp_path: Path) -> None:
    without("torch")
    without("pydantic")
    with pytest.raises(mlcycle.MissingExtraError, match=r"mlcycle\.freeze") as caught:
        mlcycle.freeze(tmp_path)
    assert "[train]" in caught.value.hint


def test_exporting_says_so(without: Callable[[str], None], tmp_path: Path, astronaut: Path) -> None:
    without("onnx")
    with pytest.raises(mlcycle.MissingExtraError, match=r"mlcycle\.export") as caught:
        mlcycle.export("face-nano", tmp_path / "variant.onnx", precision="float16", images=[astronaut])
    assert "[export]" in caught.value.hint
