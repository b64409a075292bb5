"""One replica as a queue."""

from __future__ import annotations

from dataclasses import dataclass

from mlcycle.planning.service_times import ServiceTimes


@dataclass(frozen=True, slots=True)
class Station:
    """A first-come, first-served queue in front of some workers.

    Attributes:
        service: time of a request in work.
        workers: requests in work at once.
        queue: requests that can wait; the next one is rejected. None: any number.
    """

    service: ServiceTimes
    workers: int
    queue: int | None = None

    @property
    def capacity(self) -> float:
        """Returns the requests per second if all workers are always busy."""
        return self.workers / self.service.mean * 1000
