"""Fresh processes of `mlcycle infer IMAGE`: how long each takes from its start to its end, and the memory it takes.

Each is started by another small process, `python -m mlcycle.benching.cold_start WORD...`, which prints what it saw: the
memory of a process counts what the one that started it held, and whoever benches holds a model.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mlcycle.benching.memory import largest_child_peak
from mlcycle.errors import MlcycleError

if TYPE_CHECKING:
    from mlcycle.inference.detect import Detector


def command(detector: Detector, image: Path, threads: int | None) -> list[str]:
    """Returns the words of `mlcycle infer` on one image, with the detector's own file and provider."""
    # Absolute, since a name may begin with what means something else, as @.
    files = [str(image.absolute()), "--model", str(detector.path.absolute())]
    given = [] if threads is None else ["--threads", str(threads)]
    return [sys.executable, "-m", "mlcycle", "infer", *files, "--provider", detector.provider, *given]


def measure(words: Sequence[str], count: int, advance: Callable[[], None]) -> dict[str, Any] | None:
    """Starts a command `count` times, one after the other; None for 0.

    Returns runs, median_seconds, least_seconds, most_seconds and peak_memory_bytes (the largest).

    Raises:
        MlcycleError: it did not exit with 0.
    """
    seen = []
    for _ in range(count):
        seen.append(_once(words))
        advance()
    if not seen:
        return None
    seconds = [each["seconds"] for each in seen]
    return {
        "runs": count,
        "median_seconds": round(median(seconds), 4),
        "least_seconds": round(min(seconds), 4),
        "most_seconds": round(max(seconds), 4),
        "peak_memory_bytes": max(each["peak_memory_bytes"] for each in seen),
    }


def _once(words: Sequence[str]) -> dict[str, Any]:
    starter = [sys.executable, "-m", "mlcycle.benching.cold_start", *words]
    done = subprocess.run(starter, capture_output=True, text=True, errors="backslashreplace", check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing"])[0].removeprefix("error: ")
        raise MlcycleError(f"a fresh process of mlcycle infer exited with {done.returncode} and said: {said}")
    return json.loads(done.stdout)


def main() -> int:
    """Runs the command that the arguments are, prints what it took, and returns its exit code."""
    begun = time.perf_counter()
    code = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_memory_bytes": largest_child_peak()}))
    return code


if __name__ == "__main__":
    sys.exit(main())
