"""Opens the output for records: stdout, or a file that gets its name when it is complete."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mlcycle import files
from mlcycle.errors import InputError


@contextmanager
def open_output(path: Path | None, *, overwrite: bool = False) -> Iterator[TextIO]:
    """Opens stdout (None) or a temporary file, which becomes `path` when the block ends normally.

    If the block is interrupted, the records so far stay in `path` with the suffix .part.

    Raises:
        InputError: the file exists and `overwrite` is off, or it cannot be written; other errors of the block pass.
    """
    if path is None:
        yield sys.stdout
        return
    if path.is_dir() or (path.exists() and not overwrite):
        raise InputError(f"{path} already exists", "choose another file, or pass --overwrite")
    # Of a link, next to the file that it names: a rename works only within one file system.
    target = Path(os.path.realpath(path)) if overwrite and path.is_symlink() else path
    part = target.with_name(target.name + ".part")
    try:
        with files.atomic(path, overwrite=overwrite, partial=part) as file:
            stream = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="\n", write_through=True)
            yield stream
    except OSError as problem:
        if not files.is_about(problem, path, unnamed=False):
            raise  # it is about another file of the block
        if isinstance(problem, FileExistsError):
            raise InputError(f"{path} was created meanwhile; the records are in {part}", "rename that file") from None
        raise InputError(f"{path} cannot be written: {problem.strerror}", "choose another place with --out") from None


def must_not_be_input(path: Path | None, inputs: Iterable[Path]) -> None:
    """Refuses an output that would replace a file that the command reads, also under another name.

    Raises:
        InputError: the output is one of the inputs.
    """
    if path and os.path.isfile(path) and any(_is_same_file(path, each) for each in inputs):  # noqa: PTH113 (as below)
        raise InputError(f"{path} is one of the inputs, and would be replaced by the results", "choose another --out")


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)  # noqa: PTH121 (raises no ValueError for odd names)
    except (OSError, ValueError):
        return False
