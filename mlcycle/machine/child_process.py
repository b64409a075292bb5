"""Runs code that may crash or hang in a subprocess, so that the caller survives and can report what happened.

The subprocess reports each stage that it reaches as a line of JSON on stdout; other lines come from its libraries.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# The child gets this process's sys.path, so that both import the same modules.
_BEGIN = """
import importlib, json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
sys.exit(importlib.import_module(sys.argv.pop(1)).main())
"""
_LIBRARY = re.compile(r"Failed to load library \S+ with error: (.+)")
_LOGGED = re.compile(r"\[E:onnxruntime[^\]]*\] (.+)")
_ORIGIN = re.compile(r"^.*\[ONNXRuntimeError\] : \d+ : \w+ : ")


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """The result of a subprocess.

    Attributes:
        stages: stage name → the facts reported with it.
        end: how it ended, as the words after "the process"; "" on success.
        stderr: its stderr.
        late: whether it was killed at the time limit.
    """

    stages: dict[str, dict[str, Any]]
    end: str
    stderr: str
    late: bool = False

    def last(self, *stages: str) -> str:
        """Returns the last of these stages, given in order, that was reached, or ""."""
        return next((stage for stage in reversed(stages) if stage in self.stages), "")

    def library_error(self) -> str:
        """Returns the first error that onnxruntime logged, without its source locations."""
        plain = re.sub(r"\x1b\[[\d;]*m", "", self.stderr)
        if library := _LIBRARY.search(plain):
            return library[1].strip()
        logged = _LOGGED.search(plain)
        return _ORIGIN.sub("", logged[1]).strip()[:300] if logged else ""


def run_in_subprocess(module: str, arguments: Sequence[str], seconds: float) -> ProcessResult:
    """Runs the function `main` of a module in a subprocess, for at most `seconds`.

    Args:
        module: its full name; main returns the exit code.
        arguments: sys.argv[1:] of the subprocess.
    """
    command = [sys.executable, "-P", "-c", _BEGIN, json.dumps(sys.path), module, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as late:
        end = f"had not ended after {seconds:g} seconds"
        return ProcessResult(_stages(late.stdout), end, _text(late.stderr), late=True)
    stderr = _text(done.stderr)
    return ProcessResult(_stages(done.stdout), _end(done.returncode, stderr), stderr)


def report_stage(stage: str, **facts: Any) -> None:
    """Reports, from within the subprocess, that a stage is reached."""
    sys.stdout.write(f"{json.dumps({'stage': stage, **facts})}\n")
    sys.stdout.flush()


def _end(code: int, stderr: str) -> str:
    if code == 0:
        return ""
    if code > 0:
        last = (stderr.strip().splitlines() or ["no message"])[-1]
        return f"ended with code {code}: {last[:300]}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")


def _stages(stdout: bytes | None) -> dict[str, dict[str, Any]]:
    return {facts["stage"]: facts for facts in _documents(_text(stdout))}


def _documents(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith('{"stage"'):
            try:
                yield json.loads(line)
            except ValueError:  # cut short
                continue


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")
