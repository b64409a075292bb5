"""What a training that runs as a process of its own said last: why it ended, by its log."""

from __future__ import annotations

from pathlib import Path
from signal import Signals


def last_log_lines(log: Path, begin: int, code: int) -> tuple[str, str]:
    """Returns the error and the hint that a training ended with, on a line each; the hint may be empty.

    Args:
        log: what it said, among others.
        begin: where in the log, in bytes, its own words begin.
        code: its exit code, or the negative number of the signal that killed it.
    """
    if code < 0:
        return f"killed by {Signals(-code).name}", ""
    said = log.read_bytes()[begin:].decode("utf-8", "replace").splitlines()
    lines = [line.strip() for line in said if line.strip()]
    error = _last(lines, "error:") or (lines or [f"exit code {code}"])[-1]
    return error, _last(lines, "hint:")


def _last(lines: list[str], kind: str) -> str:
    return next((line.removeprefix(kind).strip() for line in reversed(lines) if line.startswith(kind)), "")
