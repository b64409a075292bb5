"""Packages that some commands need and the plain install does not bring."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlcycle.errors import MissingExtraError


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Turns a failed import of a third-party package in the block into an error that shows how to install it.

    Args:
        name: the extra, as in pyproject.toml: "train".
        what: the command or option that needs it: "mlcycle train".

    Raises:
        MissingExtraError: a package other than mlcycle cannot be found.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        if not missing.name or missing.name.partition(".")[0] == "mlcycle":
            raise
        raise MissingExtraError(what, name) from missing
