"""`mlcycle bench --scenario single-stream | server` compared with MLPerf's LoadGen, on the same model and images.

    python benchmarks/loadgen.py [MODEL] [--data DIR] [--rate 20] [--seconds 35] [--rounds 5]

Needs mlcycle and mlcommons-loadgen. Both measure in one process and in turn, so that a machine that slows down slows
both, with as many requests each. Each round has seeds of its own. Prints the p90 or p99 of each round, its upper bound
where the tool reports one, and the medians.
"""

from __future__ import annotations

import argparse
import json
import math
import queue
import statistics
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlperf_loadgen

import mlcycle
from mlcycle.artifact.bundled import locate
from mlcycle.benching import bench_images
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
    """

    percentile_ms: float
    upper_bound_ms: float | None
    passed: bool
    latencies_ms: list[float]


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
    )


def compare(model: Path, images: bench_images.ImageSet, folder: Path | None, arguments: argparse.Namespace) -> None:
    """Runs both tools in turn, and prints what they report."""
    found: dict[tuple[str, str], list[float]] = {}
    workers = {"single-stream": 1, "server": cores()}
    detectors = {"single-stream": load_detector(model), "server": load_detector(model, threads=1)}
    ours = mlcycle.load(model)
    for seed in range(arguments.rounds):
        for scenario, detector in detectors.items():
            rate = arguments.rate if scenario == "server" else None
            document = ours.bench(
                folder, seconds=arguments.seconds, scenario=scenario, rate=rate, seed=seed if rate else None
            )
            result = document["result"]

            def work(number: int, detector: Detector = detector) -> None:
                detector.detect_file(images.paths[number % len(images.paths)])

            theirs = loadgen(
                scenario, work, result["requests"], rate=arguments.rate, workers=workers[scenario], seed=seed + 1
            )
            own = math.inf if result["value"] is None else result["value"]  # it fell on a request that never started
            for tool, value in (("LoadGen", theirs.percentile_ms), ("mlcycle", own)):
                found.setdefault((scenario, tool), []).append(value)
                bound = theirs.upper_bound_ms if tool == "LoadGen" else result["upper_bound_ms"]
                shown = f", at most {bound:.2f} ms" if bound else ""
                print(
                    f"{scenario:14} {tool}  {result['requests']} requests  {result['metric'][:3]} {value:.2f} ms{shown}"
                )
    for (scenario, tool), values in found.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{scenario:14} {tool}  median of {len(values)} rounds {statistics.median(values):.2f} ms ({spread})")


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=Path("face-nano"))
    parser.add_argument("--data", type=Path, help="a folder of images; 20 generated ones if left out")
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second of the server scenario")
    parser.add_argument("--seconds", type=float, default=35.0, help="duration of one scenario of mlcycle")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(words)
    with bench_images.opened(arguments.data) as images:
        compare(locate(arguments.model), images, arguments.data or images.paths[0].parent, arguments)


if __name__ == "__main__":
    main()
