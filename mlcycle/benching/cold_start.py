"""Measures the cold start: duration and memory of new processes of `mlcycle infer IMAGE`.

Each is started by a small process, `python -m mlcycle.benching.cold_start WORD...`, which prints the result. The peak
memory of a process includes that of its parent at the start, and the process that measures has loaded a model.
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
    """Returns the command `mlcycle infer` on one image, with the file and provider of the detector."""
    # Absolute, because a name could start with a special character, such as @.
    files = [str(image.absolute()), "--model", str(detector.path.absolute())]
    options = [] if threads is None else ["--threads", str(threads)]
    return [sys.executable, "-m", "mlcycle", "infer", *files, "--provider", detector.provider, *options]


def measure(words: Sequence[str], count: int, advance: Callable[[], None]) -> dict[str, Any]:
    """Starts a command `count` times, one after the other; `count` is at least 1.

    Returns runs, median_seconds, least_seconds, most_seconds and peak_memory_bytes (the largest).

    Raises:
        MlcycleError: the command did not exit with 0.
    """
    results = []
    for _ in range(count):
        results.append(_once(words))
        advance()
    seconds = [each["seconds"] for each in results]
    return {
        "runs": count,
        "median_seconds": round(median(seconds), 4),
        "least_seconds": round(min(seconds), 4),
        "most_seconds": round(max(seconds), 4),
        "peak_memory_bytes": max(each["peak_memory_bytes"] for each in results),
    }


def _once(words: Sequence[str]) -> dict[str, Any]:
    starter = [sys.executable, "-m", "mlcycle.benching.cold_start", *words]
    done = subprocess.run(starter, capture_output=True, text=True, errors="backslashreplace", check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[0].removeprefix("error: ")
        raise MlcycleError(f"a process of mlcycle infer exited with {done.returncode}: {reason}")
    return json.loads(done.stdout)


def main() -> int:
    """Runs the command given by the arguments, prints its duration and memory, and returns its exit code."""
    started = time.perf_counter()
    code = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_memory_bytes": largest_child_peak()}))
    return code


if __name__ == "__main__":
    sys.exit(main())
