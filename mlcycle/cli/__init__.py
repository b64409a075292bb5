"""The command line: runs a command and reports its errors in one place, with an exit code."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mlcycle.cli import console, termination
from mlcycle.cli.termination import Terminated
from mlcycle.errors import InputError, Interrupted, MlcycleError, UsageError
from mlcycle.machine import own_process

GLOBAL_OPTIONS = ("-q", "--quiet", "-v", "--verbose", "--debug", "--version")
BROKEN_PIPE = 128 + 13
# Errors of a full disk, and of files without permission.
DISK_FULL, NOT_ALLOWED = (errno.ENOSPC, errno.EDQUOT), (errno.EROFS, errno.EACCES, errno.EPERM)


def main() -> NoReturn:
    """Runs the command line of this process and exits; the codes are listed in docs/exit-codes.md."""
    sys.dont_write_bytecode |= "--private" in sys.argv  # before the guard starts, Python would write bytecode files
    termination.install()
    # Python would search all that a command imports for garbage, often while it starts and once more before it exits:
    # a tenth of the time of a cold start.
    gc.set_threshold(10_000)
    code = run(sys.argv[1:])
    if "torch" not in sys.modules:  # C++ modules that come with it print a page of leaks if nothing is collected
        gc.freeze()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; errors are printed on stderr."""
    _prepare_streams()
    own_process.claim()
    try:
        code = _run(globals_first(arguments))
        sys.stdout.flush()
        return code
    except MlcycleError as problem:
        return _report(problem)
    except Terminated as stop:
        name = signal.Signals(stop.signal_number).name
        return _report(Interrupted(f"stopped by {name}", signal_number=stop.signal_number))
    except KeyboardInterrupt:
        return _report(Interrupted("stopped by Ctrl-C", signal_number=signal.SIGINT))
    except BrokenPipeError:
        # The reader of the output has exited, as `head` does: not an error. Buffered output is discarded.
        _discard_stdout()
        return BROKEN_PIPE
    except OSError as problem:
        if problem.errno in DISK_FULL and problem.filename is None:
            _discard_stdout()
        return _report(_system_error(problem), problem)
    except Exception as problem:
        if isinstance(problem, ImportError) and _was_stopped(problem):
            return _report(Interrupted("stopped by Ctrl-C", signal_number=signal.SIGINT))
        return _report(_unexpected(problem), problem)


def _was_stopped(problem: BaseException | None) -> bool:
    """Returns whether Ctrl-C caused an error: C++ modules that it stops while loading report a failed import."""
    while problem is not None and not isinstance(problem, KeyboardInterrupt):
        problem = problem.__cause__ or problem.__context__
    return problem is not None


def _system_error(problem: OSError) -> MlcycleError:
    """Turns an error of the operating system into a sentence that names its file."""
    where = None if problem.filename is None else os.fsdecode(problem.filename)
    if problem.errno in NOT_ALLOWED and where is not None:
        return InputError(f"{where} cannot be used: {problem.strerror}", "choose another place")
    if problem.errno not in DISK_FULL:
        return _unexpected(problem)
    what = f"{where} cannot be written: {problem.strerror}"
    if where is None:
        what = "the disk that results are written to is full"
    return InputError(what, "free some space and run the command again")


def _unexpected(problem: Exception) -> MlcycleError:
    what = " ".join(f"{type(problem).__name__}: {problem}".split()).removesuffix(":")
    return MlcycleError(f"unexpected error: {what}", "run again with --debug to see the traceback")


def _run(arguments: list[str]) -> int:
    import typer

    from mlcycle.cli.app import app
    from mlcycle.cli.group import command_path

    # Typer exports this usage error; its base class is that of all usage errors, in every version of Typer.
    usage_problem: type[Exception] = typer.BadParameter.__bases__[0]
    console.configure(debug="--debug" in arguments)
    command = typer.main.get_command(app)
    if "_MLCYCLE_COMPLETE" in os.environ:  # a shell requests completions
        command.main([], prog_name="mlcycle")
    # Not command.main, which catches Ctrl-C and broken pipes and exits with other codes.
    try:
        with command.make_context("mlcycle", arguments) as context:
            outcome = command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except usage_problem as problem:
        where = getattr(problem, "ctx", None)
        path = where.command_path if where else command_path(command, arguments)
        raise _usage_error(problem, path) from problem
    return outcome if isinstance(outcome, int) else 0


def globals_first(arguments: Sequence[str]) -> list[str]:
    """Moves -q, -v, --debug and --version to the front, from anywhere before a "--"."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    before, after = arguments[:end], arguments[end:]
    options = [each for each in before if each in GLOBAL_OPTIONS]
    return options + [each for each in before if each not in GLOBAL_OPTIONS] + list(after)


def _usage_error(problem: Any, path: str) -> UsageError:
    """Turns a usage error of Typer into one sentence and one hint; `path` is the command's."""
    see_help = f"see {path} --help"
    option = getattr(problem, "option_name", None)
    if option and hasattr(problem, "possibilities"):
        from difflib import get_close_matches

        own = [name for each in problem.ctx.command.params for name in each.opts] if problem.ctx else []
        near = get_close_matches(option, [*GLOBAL_OPTIONS, *own], n=1)
        return UsageError(f"no such option: {option}", f"did you mean {near[0]}?" if near else see_help)
    message = " ".join(problem.format_message().split()).rstrip(".").replace("Value error, ", "")
    return UsageError(message[:1].lower() + message[1:], see_help)


def _report(problem: MlcycleError, cause: BaseException | None = None) -> int:
    console.fail(problem.message, problem.hint, cause or problem)
    return problem.exit_code


def _prepare_streams() -> None:
    # A daemon may have closed the streams; output is then discarded.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  (stays open until the process ends)
    # A file name that is not UTF-8 is written as its own bytes, or escaped if the stream is not UTF-8.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def _discard_stdout() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
