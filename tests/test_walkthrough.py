"""docs/walkthrough.md is correct: each of its commands runs, in order, and exits 0."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment

pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.training]
PAGE = Path(__file__).parents[1] / "docs" / "walkthrough.md"


def test_every_command_of_the_walkthrough_runs(tmp_path: Path, astronaut: Path) -> None:
    shutil.copy(astronaut, tmp_path / "photo.jpg")
    commands = re.findall(r"^\$ mlcycle (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(commands) > 10
    for command in commands:
        words = [sys.executable, "-m", "mlcycle", *shlex.split(command)]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment())
        assert done.returncode == 0, f"mlcycle {command}\n{done.stdout}\n{done.stderr}"
    assert "That's a face." in subprocess.run(
        [sys.executable, "-m", "mlcycle", "infer", "photo.jpg", "--model", "models/demo.onnx"],
        cwd=tmp_path, capture_output=True, text=True, check=True, env=environment(),
    ).stdout  # fmt: skip
