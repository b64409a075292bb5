"""Statistics of the requests of one run: numbers only, so that a long run needs little memory."""

from __future__ import annotations

from array import array
from collections import Counter
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcycle.inference.record import Record

# A request that starts later than this after it was due is late; less is the accuracy of sleep.
LATE_SECONDS = 0.001
# The stage in which a request waits for a free worker.
WAIT = "wait"


class RequestStats:
    """Counts requests; thread-safe.

    Attributes:
        latencies: milliseconds of each completed request, in the order of completion.
        service: milliseconds that each completed request was in work, without its wait for a free worker.
        stages: milliseconds of each stage, in the same order.
        failed: failed requests by error code; no other number includes them.
        late: completed requests that started more than LATE_SECONDS after they were due.
        never_started: requests that were due and never started, because no worker was free.
        seconds: from the start of the run to its last completed request.
        pixels: of all images of completed requests.
        first_completed: the lowest number of a completed request, or None.
    """

    def __init__(self) -> None:
        self.latencies = array("d")
        self.service = array("d")
        self.stages: dict[str, array[float]] = {}
        self.failed: Counter[str] = Counter()
        self.late = self.never_started = self.pixels = 0
        self.seconds = 0.0
        self.first_completed: int | None = None
        self._lock = Lock()

    def add(self, number: int, record: Record, *, due: float | None, started: float, ended: float) -> None:
        """Counts one request. `due`, `started` and `ended` are seconds of one clock; `due` is None in a closed loop."""
        with self._lock:
            if record.error:
                self.failed[record.error[0]] += 1
                return
            stages = dict(record.milliseconds)
            if due is not None:
                stages = {WAIT: (started - due) * 1000, **stages}
                self.late += started - due > LATE_SECONDS
            self.latencies.append((ended - (started if due is None else due)) * 1000)
            self.service.append((ended - started) * 1000)
            for stage, milliseconds in stages.items():
                self.stages.setdefault(stage, array("d")).append(milliseconds)
            self.pixels += record.width * record.height
            self.first_completed = number if self.first_completed is None else min(number, self.first_completed)

    @property
    def completed(self) -> int:
        """Returns the number of completed requests."""
        return len(self.latencies)

    @property
    def throughput(self) -> float:
        """Returns completed requests per second, from the start to the last completed request; 0 without any."""
        return self.completed / self.seconds if self.seconds > 0 else 0.0
