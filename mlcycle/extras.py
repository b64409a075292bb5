"""Packages that some commands need and `pip install mlcycle` does not bring."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlcycle.errors import MissingExtraError


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Turns a missing third-party package, imported in the block, into the line that installs it.

    Args:
        name: the extra, as in `pip install 'mlcycle[train]'`.
        what: what needs it, as the user knows it: "mlcycle train".

    Raises:
        MissingExtraError: a package that is not mlcycle's own cannot be found.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        if not missing.name or missing.name.partition(".")[0] == "mlcycle":
            raise
        raise MissingExtraError(what, name) from missing
