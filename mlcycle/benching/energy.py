"""Energy from hardware counters: RAPL of the processors, NVML of a GPU.

A counter covers the whole processor or GPU, including other programs and idle power.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any

NOT_MEASURED = "not measured"
POWERCAP = Path("/sys/class/powercap")
ON_A_GPU = ("cuda", "tensorrt")
# The smallest counters wrap around after 65 kJ, which is two minutes at 500 W.
SAMPLE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Counter:
    """An energy counter.

    Attributes:
        name: shown to the user, such as "RAPL package-0".
        read: returns joules since an unspecified time, below `wraps_at`.
        wraps_at: joules at which it restarts from 0; None if it never does.
    """

    name: str
    read: Callable[[], float]
    wraps_at: float | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of one kind of hardware, or the reason why there are none."""

    counters: Sequence[Counter] = ()
    why: str = ""


class Meter:
    """Adds up the energy of counters while its block runs. Regular samples detect every wrap-around."""

    def __init__(self, found: Counters, sample_seconds: float = SAMPLE_SECONDS) -> None:
        self._found, self._pause = found, sample_seconds
        self._joules, self._why = 0.0, found.why
        self._last: list[float] = []
        self._stop = Event()
        self._thread = Thread(target=self._sample_regularly, name="mlcycle-energy", daemon=True)

    def __enter__(self) -> Meter:
        if self._found.counters:
            self.sample()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._found.counters:
            self._stop.set()
            self._thread.join()
            self.sample()

    def sample(self) -> None:
        """Reads all counters and adds their increments. If one fails, nothing is measured."""
        if self._why:
            return
        try:
            now = [counter.read() for counter in self._found.counters]
        except (OSError, ValueError) as problem:
            self._why = f"a counter could not be read: {problem}"
            return
        for counter, before, after in zip(self._found.counters, self._last, now, strict=False):
            self._joules += _increment(counter, before, after)
        self._last = now

    def result(self, seconds: float, completed: int) -> dict[str, Any]:
        """Returns source, joules, watts, joules_per_image and note, for a block of `seconds` with `completed` images.

        If nothing was measured, the values are None and the note starts with "not measured".
        """
        if self._why or not self._found.counters:
            values = dict.fromkeys(("source", "joules", "watts", "joules_per_image"))
            return {**values, "note": f"{NOT_MEASURED}: {self._why}"}
        return {
            "source": ", ".join(counter.name for counter in self._found.counters),
            "joules": round(self._joules, 3),
            "watts": round(self._joules / seconds, 3) if seconds > 0 else None,
            "joules_per_image": round(self._joules / completed, 6) if completed else None,
            "note": "of the whole device, with other programs and idle power",
        }

    def _sample_regularly(self) -> None:
        while not self._stop.wait(self._pause):
            self.sample()


def of_processors(powercap: Path = POWERCAP) -> Counters:
    """Finds the RAPL counters of all processor packages. Those inside a package (cores, memory) would count twice."""
    counters = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            name = (zone / "name").read_text("ascii").strip()
            if not re.fullmatch(r"intel-rapl:\d+", zone.name) or not name.startswith("package"):
                continue
            (zone / "energy_uj").read_text("ascii")
            wraps_at = int((zone / "max_energy_range_uj").read_text("ascii")) / 1e6
        except PermissionError:
            return Counters(why=f"the RAPL counters in {powercap} can be read only by root")
        except (OSError, ValueError) as problem:
            return Counters(why=f"the RAPL counter {zone.name} cannot be read: {problem}")
        counters.append(Counter(f"RAPL {name}", _reader(zone / "energy_uj"), wraps_at))
    return Counters(counters, "" if counters else f"no RAPL counter in {powercap}")


def of_gpu(provider: str) -> Counters:
    """Finds the NVML counter of the one GPU of this machine, if the model runs on a GPU and pynvml is installed."""
    if provider not in ON_A_GPU:
        return Counters(why=f"the provider {provider} uses no GPU that NVML knows")
    try:
        import pynvml
    except ImportError:
        return Counters(why="pynvml is not installed")
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        if count != 1:
            return Counters(why=f"there are {count} GPUs, and NVML does not report which one runs the model")
        gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
    except pynvml.NVMLError as problem:
        return Counters(why=f"NVML has no counter: {problem}")

    def joules() -> float:
        try:
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000
        except pynvml.NVMLError as problem:
            raise OSError(str(problem)) from problem

    return Counters([Counter("NVML GPU 0", joules)])


def _reader(path: Path) -> Callable[[], float]:
    return lambda: int(path.read_text("ascii")) / 1e6


def _increment(counter: Counter, before: float, after: float) -> float:
    if after < before and counter.wraps_at is not None:
        return after - before + counter.wraps_at
    return max(0.0, after - before)
