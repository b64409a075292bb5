"""Sends queries of several images, each when the last image of the one before is completed."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from mlcycle.benching.sending.load import Load
from mlcycle.benching.sending.outcome import Detect, Outcome
from mlcycle.benching.sending.request_stats import RequestStats


def run(detect: Detect, load: Load, clock: Callable[[], float] = time.perf_counter) -> RequestStats:
    """Calls `detect` for `load.samples_per_query` images at a time from `load.concurrency` threads.

    The latency of a query ends with its last image; a query of which an image failed has none, and if that was for want
    of an answer, it counts as slower than all others. The latency of an image starts with its query.
    """
    stats, samples, number = RequestStats(), load.samples_per_query or 1, 0

    def one(number: int, sent: float) -> Outcome:
        started = clock()
        outcome = detect(number)
        stats.add(number, outcome, due=sent, started=started, ended=clock())
        return outcome

    with ThreadPoolExecutor(load.concurrency, "mlcycle-bench") as pool:
        begin = clock()
        while (sent := clock()) - begin < load.seconds:
            futures = [pool.submit(one, number + place, sent) for place in range(samples)]
            outcomes = [future.result() for future in futures]
            number += samples
            if not any(outcome.error for outcome in outcomes):
                stats.queries.append((clock() - sent) * 1000)
            stats.queries_without_result += not all(outcome.answered for outcome in outcomes)
        stats.seconds = clock() - begin
    return stats
