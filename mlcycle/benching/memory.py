"""The most memory that a process has held: its resident set at its largest, in bytes."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def own_peak(status: Path = STATUS) -> int:
    """Returns the peak of this process.

    On Linux getrusage would count what the parent held when it started this process, so the kernel's own mark is read.
    """
    try:
        lines = status.read_text("ascii", "replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return _bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def largest_child_peak() -> int:
    """Returns the peak of the largest process that this one has started and waited for.

    On Linux it is at least what this process held when it started the other: a small process has to ask.
    """
    return _bytes(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def _bytes(maxrss: int) -> int:
    return maxrss if sys.platform == "darwin" else maxrss * 1024
