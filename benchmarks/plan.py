"""What `mlcycle plan` predicts of a server, compared with what is measured on it.

    python benchmarks/plan.py [MODEL] [--workers 1 2] [--utilisation 0.5 0.7 0.85] [--seconds 60]

Needs mlcycle[serve]. For each number of workers it starts `mlcycle serve`, measures its service times with `mlcycle
bench --url` and four connections for each worker, and sends it Poisson arrivals at each utilisation with `mlcycle plan
--check`.

It prints p50 and p99 as predicted (with the range of 95 % of the simulated repetitions) and as measured, and the mean
time in work when the service times were measured and under this load. If these two differ, something else ran
meanwhile, or workers that are less busy need another time.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MLCYCLE = (sys.executable, "-m", "mlcycle")
HEAD = ("workers", "utilisation", "", "predicted", "range", "measured", "difference", "time in work, then and now")


@contextmanager
def serving(model: list[str], workers: int) -> Iterator[str]:
    """Starts a server at a free port and yields its URL."""
    command = [*MLCYCLE, "serve", *model, "--port", "0", "--workers", str(workers)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        found = next(filter(None, (re.match(r"(http://\S+)  \(", line) for line in process.stderr or ())))
        yield found[1]
    finally:
        process.terminate()
        process.communicate()


def run(*arguments: str) -> dict[str, Any]:
    """Runs a command and returns its document."""
    done = subprocess.run([*MLCYCLE, "-q", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(model: list[str], workers: int, utilisations: list[float], seconds: float) -> Iterator[dict[str, Any]]:
    """Yields what was predicted and measured at each utilisation."""
    with tempfile.TemporaryDirectory() as folder, serving(model, workers) as url:
        file = Path(folder) / "bench.json"
        load = ("--concurrency", str(4 * workers), "--duration", str(seconds), "--out", str(file))
        run("bench", "--url", url, *load)
        # Any p99 will do: the rate is such that one replica takes it.
        capacity = run("plan", str(file), "--rate", "0.01/s", "--p99", "1000s")["machines"][0]["capacity"]
        for utilisation in utilisations:
            rate = ("--rate", f"{utilisation * capacity:.4f}/s", "--p99", "1000s")
            check = ("--check", url, "--check-duration", str(seconds))
            yield run("plan", str(file), *rate, *check)["check"]


def rows(workers: int, check: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yields a row for p50 and one for p99."""
    predicted, measured = check["predicted"], check["measured"]
    for name in ("p50", "p99"):
        low, high = predicted[f"{name}_interval_ms"]
        yield (
            str(workers),
            f"{check['utilisation']:.0%}",
            name,
            f"{predicted[f'{name}_ms']:.1f} ms",
            f"{low:.1f} to {high:.1f}",
            f"{measured[f'{name}_ms']:.1f} ms",
            f"{check['difference_percent'][name]:+.1f} %",
            f"{predicted['service_mean_ms']:.1f}, {measured['service_mean_ms']:.1f} ms",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", help="a model file; default: that of mlcycle serve")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--utilisation", type=float, nargs="+", default=[0.5, 0.7, 0.85])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    options = parser.parse_args()
    print(" | ".join(HEAD), flush=True)
    for workers in options.workers:
        for check in measure(options.model, workers, options.utilisation, options.seconds):
            for row in rows(workers, check):
                print(" | ".join(row), flush=True)


if __name__ == "__main__":
    main()
