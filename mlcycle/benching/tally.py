"""What came of the requests of one run: numbers only, so that a long run needs little memory."""

from __future__ import annotations

from array import array
from collections import Counter
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcycle.inference.record import Record

# A request that began later than this after it was due was not begun in time; sooner is a sleeper's waking.
LATE_SECONDS = 0.001
# The stage of a request that was due before somebody was free for it.
WAIT = "wait"


class Tally:
    """Counts answers, from several threads at once.

    Attributes:
        latencies: milliseconds of each answer, in the order of answering.
        stages: the same, of each stage.
        failed: requests without an answer, by the code of their error; they are in no other figure.
        late: how many answers were begun more than LATE_SECONDS after they were due.
        never_begun: requests that were due and were given up, since nobody became free for them.
        seconds: from the beginning of the run to its last answer.
        pixels: of all images that were answered for.
        readable: the least number of a request that was answered, or None.
    """

    def __init__(self) -> None:
        self.latencies = array("d")
        self.stages: dict[str, array[float]] = {}
        self.failed: Counter[str] = Counter()
        self.late = self.never_begun = self.pixels = 0
        self.seconds = 0.0
        self.readable: int | None = None
        self._lock = Lock()

    def add(self, number: int, record: Record, *, due: float | None, begun: float, ended: float) -> None:
        """Counts one request; `due`, `begun` and `ended` are seconds of one clock, and `due` None is when it began."""
        with self._lock:
            if record.error:
                self.failed[record.error[0]] += 1
                return
            stages = dict(record.milliseconds)
            if due is not None:
                stages = {WAIT: (begun - due) * 1000, **stages}
                self.late += begun - due > LATE_SECONDS
            self.latencies.append((ended - (begun if due is None else due)) * 1000)
            for stage, milliseconds in stages.items():
                self.stages.setdefault(stage, array("d")).append(milliseconds)
            self.pixels += record.width * record.height
            self.readable = number if self.readable is None else min(number, self.readable)

    @property
    def answered(self) -> int:
        """Returns how many requests were answered."""
        return len(self.latencies)

    @property
    def throughput(self) -> float:
        """Returns answers a second, from the beginning to the last answer; 0 without any."""
        return self.answered / self.seconds if self.seconds > 0 else 0.0
