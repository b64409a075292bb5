"""What `mlcycle plan` predicts of a server, compared with what is measured on it.

    python benchmarks/plan.py [MODEL] [--workers 1 2] [--utilisation 0.5 0.7 0.85] [--seconds 60]

Needs mlcycle[serve]. For each number of workers it starts `mlcycle serve` and sends it Poisson arrivals at each
utilisation with `mlcycle plan --check`. Before and after each of these loads it measures the service times in half the
time with `mlcycle bench --url`, at 70 % of the server's throughput. The prediction is made from both, because a machine
that is shared does not keep its speed for minutes.

It prints p50 and p99 as predicted (with the range of 95 % of the simulated repetitions) and as measured, and the mean
time in work around the load and under it. If these two differ, the machine changed its speed, or workers that are less
busy need another time.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcycle.benching.options import CONNECTIONS
from mlcycle.benching.sending.arrivals import POISSON
from mlcycle.benching.sending.load import Load
from mlcycle.planning import fleet, kinds
from mlcycle.planning.kinds import Kind
from mlcycle.serving.settings import ServerSettings

MLCYCLE = (sys.executable, "-m", "mlcycle")
# Of the server while its service times are measured.
BENCH_UTILISATION = 0.7
HEAD = (
    "workers",
    "utilisation",
    "",
    "predicted",
    "range",
    "measured",
    "difference",
    "time in work, around and under it",
)


@dataclass(frozen=True)
class Check:
    """A load on a server: its service times before and after, and the section `check` of the plan's document."""

    kind: Kind
    utilisation: float
    found: dict[str, Any]


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


def measure(model: list[str], workers: int, utilisations: list[float], seconds: float) -> Iterator[Check]:
    """Yields what was predicted and measured at each utilisation."""
    with tempfile.TemporaryDirectory() as name, serving(model, workers) as url:
        folder = Path(name)
        bench = ("bench", "--url", url, "--duration", str(seconds / 2))
        throughput = run(*bench, "--concurrency", str(4 * workers))["requests"]["completed_per_second"]
        bench += ("--rate", f"{BENCH_UTILISATION * throughput:.4f}", "--arrivals", "poisson")

        def measured(number: int) -> Path:
            file = folder / f"{number}.json"
            run(*bench, "--seed", str(number + 1), "--out", str(file))
            return file

        before = measured(0)
        for number, utilisation in enumerate(utilisations, 1):
            rate = utilisation * kinds.read("server", [before]).capacity
            load = ("--rate", f"{rate:.4f}/s", "--p99", "1000s", "--check", url, "--check-duration", str(seconds))
            found = run("plan", str(before), *load)["check"]  # any p99 will do: one replica takes the rate
            after = measured(number)
            yield Check(kinds.read("server", [before, after]), utilisation, found)
            before = after


def rows(workers: int, check: Check) -> Iterator[tuple[str, ...]]:
    """Yields a row for p50 and one for p99."""
    found = check.found
    arrivals = Load(found["seconds"], CONNECTIONS, found["rate"], POISSON, found["seed"]).due_times()
    latencies_NR = fleet.repeat(check.kind, np.array(arrivals) * 1000, ServerSettings(workers=workers).queue, seed=0)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        values_R = np.quantile(latencies_NR, share, axis=0, method="inverted_cdf")  # inf: rejected
        low, middle, high = np.quantile(values_R, (0.025, 0.5, 0.975), method="inverted_cdf")
        measured = found["measured"][f"{name}_ms"] or math.inf
        yield (
            str(workers),
            f"{check.utilisation:.0%}",
            name,
            f"{middle:.1f} ms",
            f"{low:.1f} to {high:.1f}",
            f"{measured:.1f} ms",
            f"{middle / measured - 1:+.1%}" if middle < math.inf else "overloaded",
            f"{check.kind.service.mean:.1f}, {found['measured']['service_mean_ms']:.1f} ms",
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
