"""The door: commands declare, import, call and print; what goes wrong is said here, in one place."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mlcycle.cli import console
from mlcycle.errors import InputError, Interrupted, MlcycleError, UsageError
from mlcycle.machine import own_process

GLOBAL_OPTIONS = ("-q", "--quiet", "-v", "--verbose", "--debug", "--version")
BROKEN_PIPE = 128 + 13
# What a system says of a disk that is full, and of files that are not ours to write or to read.
NO_ROOM, NOT_ALLOWED = (errno.ENOSPC, errno.EDQUOT), (errno.EROFS, errno.EACCES, errno.EPERM)


class Terminated(KeyboardInterrupt):
    """Raised by SIGTERM and SIGHUP where they arrive, so that `finally` blocks run and no `except Exception` swallows
    them; `signal_number` says which it was."""

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number


def main() -> NoReturn:
    """Runs the command line of this process and exits; the codes are listed in docs/exit-codes.md."""
    sys.dont_write_bytecode |= "--private" in sys.argv  # before the guard is up, Python would keep what it compiles
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _terminate)  # a terminal that was closed; not where nohup says to ignore it
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; whatever goes wrong is said on stderr."""
    _prepare_streams()
    own_process.claim()
    try:
        code = _run(globals_first(arguments))
        sys.stdout.flush()
        return code
    except MlcycleError as problem:
        return _say(problem)
    except Terminated as stop:
        name = signal.Signals(stop.signal_number).name
        return _say(Interrupted(f"stopped by {name}", signal_number=stop.signal_number))
    except KeyboardInterrupt:
        return _say(Interrupted("stopped by Ctrl-C", signal_number=signal.SIGINT))
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does: no news. What is still buffered goes nowhere.
        _discard_stdout()
        return BROKEN_PIPE
    except OSError as problem:
        if problem.errno in NO_ROOM and problem.filename is None:
            _discard_stdout()
        return _say(_of_the_system(problem), problem)
    except Exception as problem:
        if isinstance(problem, ImportError) and _was_stopped(problem):
            return _say(Interrupted("stopped by Ctrl-C", signal_number=signal.SIGINT))
        return _say(_unexpected(problem), problem)


def _was_stopped(problem: BaseException | None) -> bool:
    """Tells whether Ctrl-C is behind an error: modules in C++ that it stops on their way in call it a failed import."""
    while problem is not None and not isinstance(problem, KeyboardInterrupt):
        problem = problem.__cause__ or problem.__context__
    return problem is not None


def _of_the_system(problem: OSError) -> MlcycleError:
    """Makes a sentence of what the system says, about the file that it is about."""
    where = None if problem.filename is None else os.fsdecode(problem.filename)
    if problem.errno in NOT_ALLOWED and where is not None:
        return InputError(f"{where} cannot be used: {problem.strerror}", "choose another place")
    if problem.errno not in NO_ROOM:
        return _unexpected(problem)
    what = f"{where} cannot be written: {problem.strerror}"
    if where is None:
        what = "the disk is full, or what results were written to is"
    return InputError(what, "make room and run it again")


def _unexpected(problem: Exception) -> MlcycleError:
    what = " ".join(f"{type(problem).__name__}: {problem}".split()).removesuffix(":")
    return MlcycleError(f"something unexpected happened: {what}", "run again with --debug to see where")


def _run(arguments: list[str]) -> int:
    import typer

    from mlcycle.cli.app import app

    # Typer exports this one of its usage errors; its base is the class of them all, in every version of Typer.
    usage_problem: type[Exception] = typer.BadParameter.__bases__[0]
    console.configure(debug="--debug" in arguments)
    command = typer.main.get_command(app)
    if "_MLCYCLE_COMPLETE" in os.environ:  # a shell asks what could come next
        command.main([], prog_name="mlcycle")
    # Not command.main, which would swallow Ctrl-C and broken pipes and give them codes of its own.
    try:
        with command.make_context("mlcycle", arguments) as context:
            outcome = command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except usage_problem as problem:
        raise _in_our_words(problem) from problem
    return outcome if isinstance(outcome, int) else 0


def globals_first(arguments: Sequence[str]) -> list[str]:
    """Moves -q, -v, --debug and --version to the front, from wherever they stand before a "--"."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    before, after = arguments[:end], arguments[end:]
    ours = [each for each in before if each in GLOBAL_OPTIONS]
    return ours + [each for each in before if each not in GLOBAL_OPTIONS] + list(after)


def _in_our_words(problem: Any) -> UsageError:
    """Makes one sentence and one hint of a usage error of Typer's."""
    command = problem.ctx.command_path if problem.ctx else "mlcycle"
    see_help = f"see {command} --help"
    option = getattr(problem, "option_name", None)
    if option and hasattr(problem, "possibilities"):
        from difflib import get_close_matches

        own = [name for each in problem.ctx.command.params for name in each.opts] if problem.ctx else []
        near = get_close_matches(option, [*GLOBAL_OPTIONS, *own], n=1)
        return UsageError(f"no such option: {option}", f"did you mean {near[0]}?" if near else see_help)
    message = " ".join(problem.format_message().split()).rstrip(".").replace("Value error, ", "")
    return UsageError(message[:1].lower() + message[1:], see_help)


def _say(problem: MlcycleError, cause: BaseException | None = None) -> int:
    console.fail(problem.message, problem.hint, cause or problem)
    return problem.exit_code


def _terminate(signal_number: int, frame: object) -> None:
    raise Terminated(signal_number)


def _prepare_streams() -> None:
    # A daemon may have closed them; what is said then goes nowhere.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  (open as long as we are)
    # A file name that is not UTF-8 goes out as the bytes it has; where the stream is not UTF-8 nothing fails either.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def _discard_stdout() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
