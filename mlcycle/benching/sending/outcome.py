"""What became of one request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# The error code of a request that a server refused because it has no capacity.
REJECTED = "rejected"
# The stage in which a request waits at the server for a free worker.
QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request.

    Attributes:
        error: a code that says why there is no result, or "".
        answered: False if the error is the server's: it rejected the request, failed, or did not respond. An image
            that cannot be read is answered.
        stages: milliseconds of each stage.
        work_ms: milliseconds for which the request kept a worker busy; None if the server does not report it.
        pixels: of the image.
    """

    error: str = ""
    answered: bool = True
    stages: Mapping[str, float] = field(default_factory=dict)
    work_ms: float | None = None
    pixels: int = 0


# Number of a request, from 0 → what became of it.
Detect = Callable[[int], Outcome]
