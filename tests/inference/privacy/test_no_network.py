"""No network and no telemetry in any command, neither mlcycle's own nor that of its dependencies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from conftest import environment

pytest_plugins = ("tiny_album",)

# Runs commands one after the other, and prints the audit events about sockets.
LISTENER = """
import json, sys
heard = []
sys.addaudithook(lambda event, _: heard.append(event) if event.startswith(("socket.", "urllib.", "http.")) else None)
from mlcycle.cli import run
codes = [run(arguments) for arguments in json.loads(sys.argv[1])]
print(json.dumps([codes, heard]), file=sys.stderr)
"""


def test_no_command_opens_a_socket_or_writes_to_the_home_folder(album: Path, tiny: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    commands = [
        ["--help"],
        ["model", "inspect", "face-nano"],
        ["model", "verify", str(tiny)],
        ["doctor"],
        ["infer", str(album / "one.jpg"), "--model", str(tiny), "--annotate", str(tmp_path / "found")],
        ["infer", "dir", str(album), "--model", str(tiny), "--out", str(tmp_path / "run")],
        ["infer", "merge", str(tmp_path / "run"), "--out", str(tmp_path / "whole")],
    ]
    words = [sys.executable, "-c", LISTENER, json.dumps(commands)]
    # onnxruntime's telemetry writes to the user's cache in native code, which no audit hook sees.
    away = environment({"HOME": str(home), "XDG_CACHE_HOME": "", "ORT_DISABLE_TELEMETRY": "0"})
    done = subprocess.run(words, capture_output=True, text=True, env=away, check=False)
    assert json.loads(done.stderr.splitlines()[-1]) == [[0, 0, 0, 0, 0, 3, 3], []]
    assert list(home.rglob("*")) == []
