"""How one of several processes tells whoever started it why it ends: by a file, as torchrun asks for (error.json)."""

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

# torchrun names the file here.
FILE_VARIABLE = "TORCHELASTIC_ERROR_FILE"
# Set where `mlcycle train --devices` reads the file and says what is in it, so that it is not said twice.
REPORTED_BY_LAUNCHER = "MLCYCLE_FAILURE_REPORTED_BY_LAUNCHER"
# What the exchange between processes says, by gloo or NCCL, when another one has gone.
LOST = ("onnection closed by peer", "onnection reset by peer", "roken pipe", "remote process exited", "NCCL error")

# An error of C++ is a sentence with fifty lines behind it that say where.
LAST_LINES = 100


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a process has ended.

    Attributes:
        sentence, hint: for people.
        exit_code: of the process.
        trace: where it happened, or what it said last; empty where it is no news to a programmer.
        is_loss: whether it is the exchange with the others that failed: most likely since one of them had ended.
    """

    sentence: str
    hint: str
    exit_code: int
    trace: str
    is_loss: bool = False


@contextmanager
def recorded() -> Iterator[None]:
    """Notes what its block raises, if torchrun has named a file for it; where somebody else says what it was, the
    process is over then."""
    try:
        yield
    except Interrupted as problem:
        _note(problem)
        raise
    except Exception as problem:
        if FILE_VARIABLE not in os.environ:
            raise
        _note(problem)
        if REPORTED_BY_LAUNCHER not in os.environ:
            raise
        # At once: NCCL, as Python ends, may wait for processes that wait for this one.
        os._exit(problem.exit_code if isinstance(problem, MlcycleError) else 1)


def _is_loss(problem: BaseException) -> bool:
    return isinstance(problem, RuntimeError) and any(words in str(problem) for words in LOST)


def _note(problem: BaseException) -> None:
    path = os.environ.get(FILE_VARIABLE)
    if not path:
        return
    is_ours = isinstance(problem, MlcycleError)
    sentence = problem.message if isinstance(problem, MlcycleError) else f"{type(problem).__name__}: {problem}"
    trace = "" if is_ours else "".join(traceback.format_exception(problem))
    content = {
        # As torchrun reads it.
        "message": {
            "message": sentence,
            "extraInfo": {"py_callstack": trace or sentence, "timestamp": str(int(time.time()))},
        },
        "trace": trace,
        "hint": problem.hint if isinstance(problem, MlcycleError) else "",
        "exit_code": problem.exit_code if isinstance(problem, MlcycleError) else 1,
        "is_loss": _is_loss(problem),
    }
    with suppress(InputError):  # it is raised all the same
        files.write(Path(path), json.dumps(content))


def recorded_failures(folder: Path) -> list[tuple[int, Failure]]:
    """Returns the number on this machine of each process that has noted something in torchrun's folder, and what."""
    noted = sorted(_last_attempt(folder).glob("*/error.json"))
    read_back = [(int(each.parent.name), read(_content(each))) for each in noted]
    return [(process, failure) for process, failure in read_back if failure]


def _content(file: Path) -> Any:
    """Returns what a file holds; nothing where its process, which may be another program, was killed as it wrote."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def last_output(folder: Path, process: int) -> str:
    """Returns the end of what a process has said, by its number on this machine; nothing where people have heard it
    themselves. One that C++ ends has noted nothing, but has mostly said why."""
    try:
        said = (_last_attempt(folder) / str(process) / "stderr.log").read_text("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(said.splitlines()[-LAST_LINES:])


def _last_attempt(folder: Path) -> Path:
    """Returns where torchrun keeps what the processes say that it has started last, of those started again too."""
    attempts = folder.glob("*/attempt_*")
    return max(attempts, key=lambda each: int(each.name.removeprefix("attempt_")), default=folder)


def read(content: Any) -> Failure | None:
    """Returns what a process noted, from what torchrun read; None if it noted nothing."""
    try:
        told = content["message"]["message"], content["hint"], content["exit_code"], content["trace"]
        return Failure(*told, content["is_loss"])
    except (KeyError, TypeError):
        return None
