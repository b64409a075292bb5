"""Output: results on stdout, messages on stderr; no colour and no progress bars without a terminal."""

from __future__ import annotations

import os
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from mlcycle.progress import Advance

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(slots=True)
class _Settings:
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    cover: Callable[[str], str] | None = None


_settings = _Settings()


def configure(*, quiet: bool = False, verbose: bool = False, debug: bool = False) -> None:
    """Sets the verbosity; called once per command line."""
    _settings.quiet, _settings.verbose, _settings.debug = quiet, verbose, debug


def cover(by: Callable[[str], str]) -> None:
    """Passes all further messages through `by`, which removes what must stay private."""
    _settings.cover = by


def data(text: str) -> None:
    """Writes a result to stdout, unchanged, followed by a newline."""
    sys.stdout.write(f"{text}\n")


def say(text: str) -> None:
    """Writes a one-line message to stderr, unless -q was given."""
    if not _settings.quiet:
        _write(_printable(text))


def detail(text: str) -> None:
    """Writes a one-line message to stderr if -v was given."""
    if _settings.verbose:
        _write(_printable(text))


def warn(text: str) -> None:
    """Writes a one-line warning to stderr, also with -q."""
    _write(f"{_coloured('warning:', 33)} {_printable(text)}")


def fail(message: str, hint: str = "", problem: BaseException | None = None) -> None:
    """Writes an error and its hint to stderr; with --debug, the traceback of `problem` comes first."""
    if _settings.debug and problem is not None:
        _write("".join(traceback.format_exception(problem)).rstrip())
    _write(f"{_coloured('error:', 31)} {_printable(message)}")
    if hint:
        _write(f"{_coloured('hint:', 36)} {_printable(hint)}")


def trace(text: str) -> None:
    """Writes a traceback to stderr unchanged; writes nothing if it is empty."""
    if text:
        _write(text.rstrip())


def is_quiet() -> bool:
    """Returns whether -q was given."""
    return _settings.quiet


def is_verbose() -> bool:
    """Returns whether -v was given."""
    return _settings.verbose


def is_terminal() -> bool:
    """Returns whether stderr is a terminal."""
    return sys.stderr.isatty()


def rich_console() -> Console:
    """Returns a rich Console on stderr. It prints nothing with -q and respects NO_COLOR."""
    from rich.console import Console

    return Console(stderr=True, quiet=_settings.quiet, highlight=False)


def out_console() -> Console:
    """Returns a rich Console on stdout, for tables. It respects NO_COLOR."""
    from rich.console import Console

    return Console(highlight=False)


@contextmanager
def progress(description: str, total: int | None, *, beside_data: bool = False) -> Iterator[Advance]:
    """Draws a progress bar on stderr while its block runs, if stderr is a terminal and -q was not given.

    Args:
        total: number of steps, None if it is not known; for one step no bar is drawn.
        beside_data: whether the block writes results to stdout; there is then no bar unless stdout is a file, because
            a pipe too may end on the terminal.
    """
    if _settings.quiet or not is_terminal() or total == 1 or (beside_data and not _is_file(sys.stdout)):
        yield _no_bar
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=rich_console(), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(description, total=total)

        def advance(n: int = 1) -> None:
            bar.advance(task, n)

        yield advance


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # it has no number, or is closed
        return False


def _no_bar(n: int = 1) -> None:
    pass


class Terminal:
    """Shows progress on stderr; the command line's implementation of mlcycle.progress.Progress."""

    say, detail, bar = staticmethod(say), staticmethod(detail), staticmethod(progress)


def _printable(text: str) -> str:
    # Names of files and texts of model files can contain control sequences of terminals.
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _write(text: str) -> None:
    # Flushing stdout first keeps the order if both streams go to the same place.
    sys.stdout.flush()
    text = _settings.cover(text) if _settings.cover else text
    # A closed terminal or pipe does not change the result of the command.
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def coloured_data(word: str, code: int) -> str:
    """Returns a word in bold and in a terminal colour, if stdout is a terminal that shows colours."""
    return _coloured(word, code, sys.stdout)


def _coloured(word: str, code: int, stream: TextIO | None = None) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not (stream or sys.stderr).isatty()
    return word if plain else f"\x1b[1;{code}m{word}\x1b[0m"
