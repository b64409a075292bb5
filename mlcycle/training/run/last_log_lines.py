"""Reads from the log of a training in a subprocess why it ended."""

from __future__ import annotations

from pathlib import Path
from signal import Signals


def last_log_lines(log: Path, begin: int, code: int) -> tuple[str, str]:
    """Returns the error and the hint with which a training ended, one line each; the hint may be empty.

    Args:
        log: a log file that may hold the output of several trainings.
        begin: the offset in bytes at which the output of this one begins.
        code: its exit code, or the negative number of the signal that killed it.
    """
    if code < 0:
        return f"killed by {Signals(-code).name}", ""
    output = log.read_bytes()[begin:].decode("utf-8", "replace").splitlines()
    lines = [line.strip() for line in output if line.strip()]
    error = _last(lines, "error:") or (lines or [f"exit code {code}"])[-1]
    return error, _last(lines, "hint:")


def _last(lines: list[str], kind: str) -> str:
    return next((line.removeprefix(kind).strip() for line in reversed(lines) if line.startswith(kind)), "")
