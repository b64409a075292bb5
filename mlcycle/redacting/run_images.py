"""The images of a run, as its folder has them now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mlcycle.inference.record import Identity, Source


@dataclass(frozen=True, slots=True)
class Images:
    """The images of a run.

    Attributes:
        sources: yields them, each time it is called.
        conceal: hides what would identify a file; for a private run.
        is_private: whether errors must not name an image.
    """

    sources: Callable[[], Iterable[Source]]
    conceal: Callable[[str], str] = str
    is_private: bool = False

    def find(self, identities: Iterable[Identity]) -> dict[Identity, Source]:
        """Returns the sources with these identities that are there."""
        wanted = set(identities)
        return {each.identity: each for each in self.sources() if each.identity in wanted} if wanted else {}
