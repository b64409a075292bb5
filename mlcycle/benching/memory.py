"""Peak memory of a process: its largest resident set, in bytes."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def own_peak(status: Path = STATUS) -> int:
    """Returns the peak of this process.

    On Linux getrusage includes the memory of the parent at the start of this process, so VmHWM is read instead.
    """
    try:
        lines = status.read_text("ascii", "replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return _bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def largest_child_peak() -> int:
    """Returns the largest peak of the child processes that have ended.

    On Linux it is at least the memory of this process when it started the child: a small process must measure it.
    """
    return _bytes(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def _bytes(maxrss: int) -> int:
    return maxrss if sys.platform == "darwin" else maxrss * 1024
