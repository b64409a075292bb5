"""`mlcycle bench --scenario single-stream | server` compared with MLPerf's LoadGen, on the same model and images.

    python benchmarks/loadgen.py [MODEL] [--data DIR] [--rate 20] [--seconds 35] [--rounds 5]

Needs mlcycle and mlcommons-loadgen. Both measure in one process and in turn, so that a machine that slows down slows
both, with as many requests each. Each round has seeds of its own. Prints the p90 of single-stream and its upper bound,
and the p99 of the server scenario, where mlcycle also gets the arrivals and images of LoadGen: two random sequences of
arrivals at the same rate have different p99s on any machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlperf_loadgen

import mlcycle
from mlcycle.artifact.bundled import locate
from mlcycle.benching import bench_images, scenarios
from mlcycle.benching.sending import load as loops
from mlcycle.benching.sending.load import Load
from mlcycle.benching.sending.outcome import Outcome
from mlcycle.inference.batch.worker_threads import cores
from mlcycle.inference.detect import Detector, load_detector

# Number of an image → it is processed.
Work = Callable[[int], object]
SCENARIOS = {"single-stream": mlperf_loadgen.TestScenario.SingleStream, "server": mlperf_loadgen.TestScenario.Server}
METRICS = {"single-stream": "result_90.00_percentile_latency_ns", "server": "result_99.00_percentile_latency_ns"}


@dataclass(frozen=True)
class Result:
    """What LoadGen reports.

    Attributes:
        percentile_ms: p90 in single-stream, p99 in server.
        upper_bound_ms: LoadGen's estimate by early stopping; None in server, and of too few queries.
        passed: whether early stopping is satisfied.
        latencies_ms: of each query, from its trace.
        due_seconds: when each query was due, after the first.
        numbers: of their images.
    """

    percentile_ms: float
    upper_bound_ms: float | None
    passed: bool
    latencies_ms: list[float]
    due_seconds: list[float]
    numbers: list[int]


@dataclass(frozen=True)
class Replay(Load):
    """A load with given arrivals."""

    due_seconds: Sequence[float] = ()

    def due_times(self) -> Sequence[float]:
        return self.due_seconds


def loadgen(
    scenario: str,
    work: Work,
    requests: int,
    *,
    rate: float = 1.0,
    limit_ms: float = 1e6,
    workers: int = 1,
    seed: int = 0,
) -> Result:
    """Runs LoadGen; in the server scenario `workers` threads share the queries."""
    settings = mlperf_loadgen.TestSettings()
    settings.scenario, settings.mode = SCENARIOS[scenario], mlperf_loadgen.TestMode.PerformanceOnly
    settings.min_query_count = settings.max_query_count = requests
    settings.min_duration_ms = 0
    settings.server_target_qps, settings.server_target_latency_ns = rate, int(limit_ms * 1e6)
    settings.schedule_rng_seed = settings.sample_index_rng_seed = settings.qsl_rng_seed = seed
    pending: queue.SimpleQueue[mlperf_loadgen.QuerySample | None] = queue.SimpleQueue()

    def answer(sample: mlperf_loadgen.QuerySample) -> None:
        work(sample.index)
        mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(sample.id, 0, 0)])

    def issue(samples: list[mlperf_loadgen.QuerySample]) -> None:
        for sample in samples:
            answer(sample) if scenario == "single-stream" else pending.put(sample)

    def serve() -> None:
        for sample in iter(pending.get, None):
            answer(sample)

    threads = [threading.Thread(target=serve) for _ in range(workers)]
    for thread in threads:
        thread.start()
    with tempfile.TemporaryDirectory() as folder:
        _start(settings, issue, folder)
        for _ in threads:
            pending.put(None)
        for thread in threads:
            thread.join()
        return _result(Path(folder), scenario)


def _start(settings: mlperf_loadgen.TestSettings, issue: Callable[[list], None], folder: str) -> None:
    logs = mlperf_loadgen.LogSettings()
    logs.log_output.outdir, logs.log_output.copy_summary_to_stdout, logs.enable_trace = folder, False, True
    system = mlperf_loadgen.ConstructSUT(issue, lambda: None)
    library = mlperf_loadgen.ConstructQSL(1000, 1000, lambda samples: None, lambda samples: None)
    mlperf_loadgen.StartTestWithLogSettings(system, library, settings, logs, "")
    mlperf_loadgen.DestroyQSL(library)
    mlperf_loadgen.DestroySUT(system)


def _result(folder: Path, scenario: str) -> Result:
    lines = (folder / "mlperf_log_detail.txt").read_text().splitlines()
    details = [json.loads(line.partition(" ")[2]) for line in lines if line.startswith(":::MLLOG")]
    values = {each["key"]: each["value"] for each in details}
    trace = (folder / "mlperf_log_trace.json").read_text().splitlines()
    samples = [
        json.loads(line.rstrip(",")) for line in trace if line.startswith('{"name":"Sample","cat":"default","ph":"b"')
    ]
    bound = values.get("early_stopping_latency_ss") if scenario == "single-stream" else None
    return Result(
        values[METRICS[scenario]] / 1e6,
        bound / 1e6 if bound else None,
        bool(values["early_stopping_met"]),
        [sample["args"]["complete_ns"] / 1e6 for sample in samples],
        [(sample["ts"] - samples[0]["ts"]) / 1e6 for sample in samples],
        [sample["args"]["sample_idx"] for sample in samples],
    )


def replay(theirs: Result, work: Work, workers: int) -> float:
    """Sends the images of a run of LoadGen when they were due there; returns the p99 in milliseconds."""

    def detect(number: int) -> Outcome:
        work(theirs.numbers[number])
        return Outcome()

    load = Replay(seconds=theirs.due_seconds[-1] + 60, concurrency=workers, rate=1.0, due_seconds=theirs.due_seconds)
    stats = loops.run(detect, load)
    result = scenarios.result("server", stats.latencies, stats.without_result, stats.throughput)
    assert result is not None
    return result["value"]


class Comparison:
    """The model, the images, and the load of both tools."""

    def __init__(self, model: Path, images: bench_images.ImageSet, rate: float, seconds: float) -> None:
        self._images, self._rate, self._seconds, self._workers = images, rate, seconds, cores()
        self._folder = os.path.commonpath([path.parent for path in images.paths])
        self._model, self._one, self._several = (
            mlcycle.load(model),
            load_detector(model),
            load_detector(model, threads=1),
        )

    def single_stream(self, seed: int) -> Iterator[tuple[str, float]]:
        """Yields the name of a measurement and its p90 in milliseconds."""
        ours = self._model.bench(self._folder, seconds=self._seconds, scenario="single-stream")["result"]
        theirs = loadgen("single-stream", self._work(self._one), ours["requests"], seed=seed + 1)
        yield "single-stream p90, LoadGen", theirs.percentile_ms
        yield "single-stream p90, mlcycle", ours["value"]
        yield "single-stream bound, LoadGen", theirs.upper_bound_ms or math.nan
        yield "single-stream bound, mlcycle", ours["upper_bound_ms"] or math.nan

    def server(self, seed: int) -> Iterator[tuple[str, float]]:
        """Yields the name of a measurement and its p99 in milliseconds."""
        options = {"rate": self._rate, "seed": seed, "concurrency": self._workers}
        ours = self._model.bench(self._folder, seconds=self._seconds, scenario="server", **options)["result"]
        work, count = self._work(self._several), ours["requests"]
        theirs = loadgen("server", work, count, rate=self._rate, workers=self._workers, seed=seed + 1)
        yield "server p99, LoadGen", theirs.percentile_ms
        yield "server p99, mlcycle, the same arrivals", replay(theirs, work, self._workers)
        yield "server p99, mlcycle, its own arrivals", math.inf if ours["value"] is None else ours["value"]

    def _work(self, detector: Detector) -> Work:
        paths = self._images.paths
        return lambda number: detector.detect_file(paths[number % len(paths)])


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=Path("face-nano"))
    parser.add_argument("--data", type=Path, help="a folder of images; 20 generated ones if left out")
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second of the server scenario")
    parser.add_argument("--seconds", type=float, default=35.0, help="duration of one scenario of mlcycle")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(words)
    found: dict[str, list[float]] = {}
    with bench_images.opened(arguments.data) as images:
        comparison = Comparison(locate(arguments.model), images, arguments.rate, arguments.seconds)
        for seed in range(arguments.rounds):
            for name, value in (*comparison.single_stream(seed), *comparison.server(seed)):
                found.setdefault(name, []).append(value)
                print(f"round {seed + 1}  {name:39} {value:8.2f} ms", flush=True)
    for name, values in found.items():
        print(f"median   {name:39} {statistics.median(values):8.2f} ms ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
