"""Reports the failure of one of several processes to its launcher, in the file that torchrun defines (error.json)."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlcycle import files
from mlcycle.errors import InputError, Interrupted, MlcycleError

# torchrun sets the file's path in this variable.
FILE_VARIABLE = "TORCHELASTIC_ERROR_FILE"
# Set if `mlcycle train --devices` reads the file and reports its content, so that it is not reported twice.
REPORTED_BY_LAUNCHER = "MLCYCLE_FAILURE_REPORTED_BY_LAUNCHER"
# Messages of gloo and NCCL when another process is gone.
LOST = ("onnection closed by peer", "onnection reset by peer", "roken pipe", "remote process exited", "NCCL error")

# A C++ error is one sentence followed by some fifty lines of stack trace.
LAST_LINES = 100


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a process ended.

    Attributes:
        sentence, hint: the error message and its hint.
        exit_code: of the process.
        trace: the traceback or the last lines of its output; empty if it would not help a programmer.
        is_loss: whether communication with the other processes failed, most likely because one of them had ended.
    """

    sentence: str
    hint: str
    exit_code: int
    trace: str
    is_loss: bool = False


@contextmanager
def recorded() -> Iterator[None]:
    """Records what its block raises if torchrun has set a file for it; ends the process at once if the launcher
    reports the error."""
    try:
        yield
    except Interrupted as problem:
        _record(problem)
        raise
    except Exception as problem:
        if FILE_VARIABLE not in os.environ:
            raise
        _record(problem)
        if REPORTED_BY_LAUNCHER not in os.environ:
            raise
        # Without cleaning up: at Python's exit, NCCL may wait for processes that wait for this one.
        os._exit(problem.exit_code if isinstance(problem, MlcycleError) else 1)


def _is_loss(problem: BaseException) -> bool:
    return isinstance(problem, RuntimeError) and any(words in str(problem) for words in LOST)


def _record(problem: BaseException) -> None:
    path = os.environ.get(FILE_VARIABLE)
    if not path:
        return
    is_ours = isinstance(problem, MlcycleError)
    sentence = problem.message if isinstance(problem, MlcycleError) else f"{type(problem).__name__}: {problem}"
    trace = "" if is_ours else "".join(traceback.format_exception(problem))
    content = {
        # The form that torchrun reads.
        "message": {
            "message": sentence,
            "extraInfo": {"py_callstack": trace or sentence, "timestamp": str(int(time.time()))},
        },
        "trace": trace,
        "hint": problem.hint if isinstance(problem, MlcycleError) else "",
        "exit_code": problem.exit_code if isinstance(problem, MlcycleError) else 1,
        "is_loss": _is_loss(problem),
    }
    with suppress(InputError):  # the problem itself is raised in any case
        files.write(Path(path), json.dumps(content), overwrite=True)


def recorded_failures(folder: Path) -> list[tuple[int, Failure]]:
    """Returns the local rank of each process that recorded a failure in torchrun's folder, with the failure."""
    files_found = sorted(_last_attempt(folder).glob("*/error.json"))
    failures = [(int(each.parent.name), parse(_content(each))) for each in files_found]
    return [(process, failure) for process, failure in failures if failure]


def _content(file: Path) -> Any:
    """Returns a file's JSON; None if its process, which may be another program, was killed while it wrote."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def last_output(folder: Path, process: int) -> str:
    """Returns the last lines that a process wrote to stderr; "" if they went to the terminal.

    A process that a C++ error ends records no failure, but usually prints one.

    Args:
        process: its local rank.
    """
    try:
        output = (_last_attempt(folder) / str(process) / "stderr.log").read_text("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(output.splitlines()[-LAST_LINES:])


def _last_attempt(folder: Path) -> Path:
    """Returns the folder in which torchrun keeps the output of its latest attempt, restarts included."""
    attempts = folder.glob("*/attempt_*")
    return max(attempts, key=lambda each: int(each.name.removeprefix("attempt_")), default=folder)


def parse(content: Any) -> Failure | None:
    """Returns the failure in the content of an error.json; None if it holds none of mlcycle's."""
    try:
        return Failure(
            content["message"]["message"],
            content["hint"],
            content["exit_code"],
            content["trace"],
            content["is_loss"],
        )
    except (KeyError, TypeError):
        return None
