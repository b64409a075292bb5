"""What `mlcycle plan` predicts of a server, compared with what is measured on it.

    python benchmarks/plan.py [MODEL] [--workers 1 2] [--utilisation 0.5 0.7 0.85] [--rounds 10] [--seconds 8]

Needs mlcycle[serve]. For each number of workers it starts `mlcycle serve` and measures its throughput. Then it measures
service times (Poisson arrivals at 70 % of the throughput, for half the seconds) and sends the load that is to be
predicted, in turn. The turns are short, because a machine that is shared does not keep its speed for a minute, and a
few percent more time in work are many in a p99.

It prints p50 and p99 of all rounds as predicted (with the range of 95 % of the simulated repetitions) and as measured,
and the mean time in work while service times were measured and under the load.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from mlcycle.benching import bench_images
from mlcycle.benching.options import CONNECTIONS
from mlcycle.benching.sending import load as loops
from mlcycle.benching.sending.arrivals import POISSON
from mlcycle.benching.sending.load import Load
from mlcycle.benching.targets import server
from mlcycle.benching.targets.connections import address_of
from mlcycle.benching.targets.server import NETWORK, Server
from mlcycle.planning import fleet
from mlcycle.planning.kinds import Kind
from mlcycle.planning.service_times import ServiceTimes

BENCH_UTILISATION = 0.7
HEAD = ("workers", "utilisation", "", "predicted", "range", "measured", "difference", "time in work, then and now")


@dataclass
class Rounds:
    """Measurements in turn.

    Attributes:
        service, network: milliseconds of each image while service times were measured.
        arrivals: seconds at which images of the load were due, for each round.
        latencies, work: milliseconds of each image of the load; inf if it was not answered.
    """

    service: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)
    arrivals: list[Sequence[float]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)

    def kind(self, workers: int) -> Kind:
        """Returns what `plan` would read from a document with these service times."""
        service, network = ServiceTimes(np.array(self.service)), statistics.median(self.network)
        return Kind("server", service, workers, network, None, None, ())


@contextmanager
def serving(model: list[str], workers: int) -> Iterator[str]:
    """Starts a server at a free port and yields its URL."""
    command = [sys.executable, "-m", "mlcycle", "serve", *model, "--port", "0", "--workers", str(workers)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        found = next(filter(None, (re.match(r"(http://\S+)  \(", line) for line in process.stderr or ())))
        yield found[1]
    finally:
        process.terminate()
        process.communicate()


def measure(target: Server, throughput: float, utilisation: float, rounds: int, seconds: float) -> Rounds:
    """Measures service times and a load in turn."""
    found = Rounds()
    for number in range(rounds):
        bench = Load(seconds / 2, CONNECTIONS, BENCH_UTILISATION * throughput, POISSON, seed=2 * number)
        stats = loops.run(target.detect, bench)
        found.service += stats.work
        found.network += stats.stages[NETWORK]
        planned = Load(seconds, CONNECTIONS, utilisation * throughput, POISSON, seed=2 * number + 1)
        stats = loops.run(target.detect, planned)
        found.arrivals.append(planned.due_times() or ())
        found.latencies += [*stats.latencies, *[math.inf] * stats.without_result]
        found.work += stats.work
    return found


def rows(rounds: Rounds, workers: int, throughput: float, queue: int | None, utilisation: float) -> Iterator[list[str]]:
    """Yields a row for p50 and one for p99."""
    kind = rounds.kind(workers)
    each = [fleet.repeat(kind, np.array(due) * 1000, queue, seed) for seed, due in enumerate(rounds.arrivals)]
    simulated_NR = np.concatenate(each)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        values_R = np.quantile(simulated_NR, share, axis=0, method="inverted_cdf")
        low, middle, high = np.quantile(values_R, (0.025, 0.5, 0.975), method="inverted_cdf")
        measured = np.quantile(rounds.latencies, share, method="inverted_cdf")
        yield [
            str(workers),
            f"{utilisation * throughput / kind.capacity:.0%}",
            name,
            f"{middle:.1f} ms",
            f"{low:.1f} to {high:.1f}",
            f"{measured:.1f} ms",
            f"{middle / measured - 1:+.1%}",
            f"{kind.service.mean:.2f}, {statistics.mean(rounds.work):.2f} ms",
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", help="a model file; default: that of mlcycle serve")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--utilisation", type=float, nargs="+", default=[0.5, 0.7, 0.85])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=8.0, help="of the load in each round")
    options = parser.parse_args()
    print(" | ".join(HEAD), flush=True)
    for workers in options.workers:
        with (
            serving(options.model, workers) as url,
            bench_images.opened(None) as images,
            server.opened(address_of(url), None, images) as target,
        ):
            throughput = loops.run(target.detect, Load(10.0, 4 * workers)).throughput
            for utilisation in options.utilisation:
                found = measure(target, throughput, utilisation, options.rounds, options.seconds)
                for row in rows(found, workers, throughput, target.description.queue, utilisation):
                    print(" | ".join(row), flush=True)


if __name__ == "__main__":
    main()
