"""No network and no telemetry, whatever is asked for: neither of mlcycle's own, nor of what it brings along."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import Outcome, environment

pytest_plugins = ("tiny_album",)

# Runs one command line after the other, and says which of Python's events had to do with sockets.
LISTENER = """
import json, sys
heard = []
sys.addaudithook(lambda event, _: heard.append(event) if event.startswith(("socket.", "urllib.", "http.")) else None)
from mlcycle.cli import run
codes = [run(arguments) for arguments in json.loads(sys.argv[1])]
print(json.dumps([codes, heard]), file=sys.stderr)
"""


def test_no_command_makes_a_socket(album: Path, tiny: Path, tmp_path: Path) -> None:
    commands = [
        ["--help"],
        ["infer", "dir", "--help"],
        ["inspect", "face-nano"],
        ["verify", str(tiny)],
        ["infer", str(album / "one.jpg"), "--annotate", str(tmp_path / "found"), "--format", "coco"],
        ["infer", "dir", str(album), "--model", str(tiny), "--out", str(tmp_path / "run")],
        ["infer", "merge", str(tmp_path / "run"), "--out", str(tmp_path / "whole")],
        ["evaluate", str(tiny), "--data", str(album)],
    ]
    words = [sys.executable, "-c", LISTENER, json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    codes, heard = json.loads(done.stderr.splitlines()[-1])
    assert heard == []
    assert codes[:7] == [0, 0, 0, 0, 0, 3, 3]


def test_the_runtime_keeps_nothing_in_the_home_folder(
    process: Callable[..., Outcome], album: Path, tiny: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    away = {"HOME": str(home), "XDG_CACHE_HOME": "", "ORT_DISABLE_TELEMETRY": "0"}
    assert process("infer", album / "one.jpg", "--model", tiny, env=away).code == 0
    assert list(home.rglob("*")) == []
