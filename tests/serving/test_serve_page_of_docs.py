"""The snippets of docs/serve.md run as they are, against a real server."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment
from live_server import LiveServer

import mlcycle

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
CURL_LINES = re.findall(r"^curl .*localhost:8000.*$", PAGE.read_text("utf-8"), re.MULTILINE)


@pytest.fixture
def folder(astronaut: Path, tmp_path: Path) -> Path:
    """A folder with the images that the page names."""
    for name in ("photo.jpg", "one.jpg", "two.jpg"):
        (tmp_path / name).symlink_to(astronaut)
    return tmp_path


@pytest.fixture
def numbers(astronaut: Path) -> tuple[str, str]:
    """The first digits of the face's left side and of its score, which all clients print."""
    (face,) = mlcycle.load("face-nano")(astronaut)
    return f"{face.box[0]:.4f}"[:5], f"{face.score:.6f}"[:5]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: re.findall(r"^import ([\w.]+)", text, re.MULTILINE)[-1])
def test_a_client_prints_the_face(snippet: str, server: LiveServer, folder: Path, numbers: tuple[str, str]) -> None:
    python = os.environ.get("MLCYCLE_KSERVE_PYTHON", "") if "kserve" in snippet else sys.executable
    for module in re.findall(r"^import (\w+)", snippet, re.MULTILINE):
        if python in ("", sys.executable) and importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    code = snippet.replace("localhost:8000", f"{server.host}:{server.port}")
    done = subprocess.run(
        [python or sys.executable, "-c", code],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(number in done.stdout for number in numbers)


def test_the_lines_of_curl_are_answered(server: LiveServer, folder: Path, numbers: tuple[str, str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    assert len(CURL_LINES) == 3
    for line in CURL_LINES:
        command = line.replace("localhost:8000", f"{server.host}:{server.port}") + " --fail --silent --show-error"
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (numbers[0] in done.stdout) == ("redact" not in line)
    assert (folder / "redacted.jpg").read_bytes()[:2] == b"\xff\xd8"
