"""Work in a copy of the test's process: what changes a process for good, without importing torch anew."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import torch


def run_in_copy(work: Callable[[], object], output: Path) -> int:
    """Runs `work` in a fork of this process, with stdout and stderr in a file; returns 0, or 1 where it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of copies of a process that has threads
        copy = os.fork()
    if not copy:
        code = 1
        try:
            _write_to(output)
            torch.set_num_threads(1)  # a copy has no others
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])


def _write_to(output: Path) -> None:
    file = output.open("w")
    for number in (1, 2):
        os.dup2(file.fileno(), number)
    sys.stdout = sys.stderr = file
