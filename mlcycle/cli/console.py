"""What is said, and where: data on stdout, talk on stderr; no colour and no bars without a terminal."""

from __future__ import annotations

import os
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
    """Sets how much is said; called once per command line."""
    _settings.quiet, _settings.verbose, _settings.debug = quiet, verbose, debug


def cover(by: Callable[[str], str]) -> None:
    """Lets `by` take out of all talk, from now on, what nobody is to read."""
    _settings.cover = by


def data(text: str) -> None:
    """Writes a result to stdout, exactly, with a newline behind it."""
    sys.stdout.write(f"{text}\n")


def say(text: str) -> None:
    """Tells people something on stderr, in a line, unless -q was given."""
    if not _settings.quiet:
        _talk(_printable(text))


def detail(text: str) -> None:
    """Tells people something on stderr, in a line, only if -v was given."""
    if _settings.verbose:
        _talk(_printable(text))


def warn(text: str) -> None:
    """Warns on stderr, in a line, also with -q."""
    _talk(f"{_coloured('warning:', 33)} {_printable(text)}")


def fail(message: str, hint: str = "", problem: BaseException | None = None) -> None:
    """Says on stderr what went wrong and what to do; with --debug after the traceback of `problem`."""
    if _settings.debug and problem is not None:
        _talk("".join(traceback.format_exception(problem)).rstrip())
    _talk(f"{_coloured('error:', 31)} {_printable(message)}")
    if hint:
        _talk(f"{_coloured('hint:', 36)} {_printable(hint)}")


def trace(text: str) -> None:
    """Shows a traceback on stderr, as it is; nothing where there is none."""
    if text:
        _talk(text.rstrip())


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
    """Returns a rich Console on stderr; it says nothing with -q, and knows NO_COLOR by itself."""
    from rich.console import Console

    return Console(stderr=True, quiet=_settings.quiet, highlight=False)


def out_console() -> Console:
    """Returns a rich Console on stdout, for tables that people read; it knows NO_COLOR by itself."""
    from rich.console import Console

    return Console(highlight=False)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """Draws a bar on stderr while its block runs, if stderr is a terminal and -q was not given; else does nothing."""
    if _settings.quiet or not is_terminal():
        yield _stand_still
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=rich_console(), transient=True) as bar:
        task = bar.add_task(description, total=total)

        def advance(n: int = 1) -> None:
            bar.advance(task, n)

        yield advance


def _stand_still(n: int = 1) -> None:
    pass


class Terminal:
    """Shows the progress of long work on stderr: what the command line gives for a mlcycle.progress.Progress."""

    say, detail, bar = staticmethod(say), staticmethod(detail), staticmethod(progress)


def _printable(text: str) -> str:
    # A file may be called anything, and a model say anything of itself, also what a terminal would obey.
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _talk(text: str) -> None:
    # stdout first, so that both keep their order where they go to the same place.
    sys.stdout.flush()
    text = _settings.cover(text) if _settings.cover else text
    # A terminal that was closed, or a reader that has gone, changes nothing of what came of a command.
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def coloured_data(word: str, code: int) -> str:
    """Returns a word of a result in bold and one of a terminal's colours, if stdout is a terminal that shows them."""
    return _coloured(word, code, sys.stdout)


def _coloured(word: str, code: int, stream: TextIO | None = None) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not (stream or sys.stderr).isatty()
    return word if plain else f"\x1b[1;{code}m{word}\x1b[0m"
