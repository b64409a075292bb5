"""Runs mlcycle's own commands as subprocesses, and measures their time and memory."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import mlcycle
from mlcycle.errors import MlcycleError


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one command.

    Attributes:
        line: the command as a user would type it.
        seconds: wall-clock time from start to exit.
        peak_bytes: peak memory of the largest process; 0 if the system does not report it.
        output: its stdout.
    """

    line: str
    seconds: float
    peak_bytes: int
    output: str


class CommandFailedError(MlcycleError):
    """Raised when a command of the demo fails; its message is on stderr, and its exit code becomes the demo's."""

    def __init__(self, line: str, exit_code: int) -> None:
        super().__init__(f"`{line}` failed", "fix the error above, then run mlcycle demo again")
        self.exit_code = exit_code


def command_line(words: list[str]) -> str:
    """Returns the command line of these arguments, as a user would type it."""
    return shlex.join(["mlcycle", *words])


def run(words: list[str], folder: Path) -> Outcome:
    """Runs `mlcycle WORDS…` in a folder, with stderr passed through.

    Raises:
        CommandFailedError: its exit code is not 0.
    """
    line, start = command_line(words), time.perf_counter()
    # In a session of its own: Ctrl-C reaches only the demo, which sends it to the command once, so that it saves.
    process = subprocess.Popen(
        [sys.executable, "-m", "mlcycle", *words],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        output = process.stdout.read()
        exit_code, peak_bytes = _wait(process)
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.stdout.close()
        process.wait()
        raise
    process.stdout.close()
    if exit_code:
        raise CommandFailedError(line, exit_code if exit_code > 0 else 128 - exit_code)
    return Outcome(line, time.perf_counter() - start, peak_bytes, output)


def _environment() -> dict[str, str]:
    """The environment with this mlcycle first on PYTHONPATH, and relative paths there made absolute."""
    given = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    here = str(Path(mlcycle.__file__).resolve().parent.parent)
    paths = dict.fromkeys([here, *(str(Path(each).resolve()) for each in given)])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def _wait(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Waits, and returns the exit code and the peak of resident memory in bytes."""
    if not hasattr(os, "wait4"):
        return process.wait(), 0
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    # Linux counts in KiB, macOS in bytes.
    return process.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
