"""Where the records go: stdout, or a file that appears when it is whole."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mlcycle import files
from mlcycle.errors import InputError


@contextmanager
def open_output(path: Path | None, *, overwrite: bool = False) -> Iterator[TextIO]:
    """Opens stdout (None) or a file beside `path`, which takes its name only when the block has ended well.

    If the block is broken off, what was written so far stays in `path` with .part behind its name.

    Raises:
        InputError: the file exists and `overwrite` is off, or it cannot be written; not what else fails in the block.
    """
    if path is None:
        yield sys.stdout
        return
    if path.is_dir() or (path.exists() and not overwrite):
        raise InputError(f"{path} exists already", "name another file, or say --overwrite")
    part = path.with_name(path.name + ".part")
    try:
        with files.atomic(path, overwrite=overwrite, partial=part) as file:
            stream = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="\n", write_through=True)
            yield stream
    except OSError as problem:
        if not files.is_about(problem, path, unnamed=False):
            raise  # of another file, which the block reads or writes
        if isinstance(problem, FileExistsError):
            raise InputError(f"{path} appeared meanwhile; the records are in {part}", "rename that file") from None
        raise InputError(f"{path} cannot be written: {problem.strerror}", "choose another place with --out") from None
