"""What the conductor needs of what it measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mlcycle.benching.sending.outcome import Outcome
from mlcycle.benching.targets.description import Description

PROCESS, SERVER = "process", "server"


class Target(Protocol):
    """A model in this process, or a server.

    Attributes:
        kind: PROCESS or SERVER.
        description: what it runs, and on what.
        is_here: whether it runs on this machine.
    """

    kind: str
    description: Description
    is_here: bool

    def detect(self, number: int) -> Outcome:
        """Processes one of the images, which are used in turn; several threads may call it at once."""
        ...

    def cold_start_command(self, image: Path) -> Sequence[str] | None:
        """Returns the command of a cold start; None if there is none."""
        ...
