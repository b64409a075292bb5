"""How long operations report progress: sentences and bars. The library is silent unless it is given one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves a bar on by `n`."""

    def __call__(self, n: int = 1) -> None: ...


class Progress(Protocol):
    """Where long work reports to."""

    def say(self, text: str) -> None:
        """Takes a sentence for people."""

    def detail(self, text: str) -> None:
        """Takes a sentence for people who want to know more."""

    def bar(self, description: str, total: int | None) -> AbstractContextManager[Advance]:
        """Shows a bar while the block runs; what the block is given moves it on."""
        ...


class Silent:
    """A Progress that shows nothing."""

    def say(self, text: str) -> None:
        """Shows nothing."""

    def detail(self, text: str) -> None:
        """Shows nothing."""

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:
        """Shows nothing."""
        yield _stand_still


def _stand_still(n: int = 1) -> None:
    pass
