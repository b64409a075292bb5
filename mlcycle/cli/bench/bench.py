"""`mlcycle bench`: latency, throughput and memory of a model file on this machine, or of a running server."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcycle.cli import console
from mlcycle.cli.bench import checks
from mlcycle.cli.bench.options import (
    ALLOWED,
    COLD_STARTS,
    ArrivalsOption,
    BaselineOption,
    ColdStartsOption,
    ConcurrencyOption,
    DataOption,
    DurationOption,
    FileArgument,
    FindRateOption,
    JsonOption,
    MaxRegressOption,
    OutOption,
    OverwriteOption,
    P99Option,
    PriceOption,
    RateOption,
    SamplesOption,
    ScenarioOption,
    SeedOption,
    TokenFileOption,
    UrlOption,
    WarmupOption,
)
from mlcycle.cli.infer.options import LocalThreadsOption, Provider, ProviderOption
from mlcycle.counted import counted

if TYPE_CHECKING:
    from mlcycle.benching.bench import OpenTarget
    from mlcycle.benching.options import Plan


def bench(  # noqa: PLR0913 (an option of a command is a parameter)
    file: FileArgument = None,
    *,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data: DataOption = None,
    duration: DurationOption = 10.0,
    warmup: WarmupOption = 1.0,
    scenario: ScenarioOption = None,
    concurrency: ConcurrencyOption = None,
    rate: RateOption = None,
    arrivals: ArrivalsOption = None,
    seed: SeedOption = None,
    samples: SamplesOption = None,
    p99: P99Option = None,
    find_rate: FindRateOption = False,
    provider: ProviderOption = Provider.auto,
    threads: LocalThreadsOption = None,
    cold_starts: ColdStartsOption = None,
    price: PriceOption = None,
    baseline: BaselineOption = None,
    max_regress: MaxRegressOption = None,
    as_json: JsonOption = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure the speed of a model file on this machine, or of a running server.

    Reports percentiles of the latency, also by stage, the throughput, the cold start, the peak memory and, if the
    machine has a counter, the energy. States which stages are timed, and on which machine.

    With --rate, the latency of a request starts at the time at which it was due. An image that cannot be read counts
    as a failed request and enters no other number; if all fail, the exit code is 3.

    With --baseline, the exit code is 5 if p50 or p95 of the latency rose, or the throughput fell, by more than
    --max-regress. A baseline from another machine, or with other settings or images, is refused.

    Example:  mlcycle bench --data images --out now.json --price 0.9/h

    Example:  mlcycle bench --data images --baseline now.json --max-regress 10%

    Example:  mlcycle bench --scenario server --rate 20 --p99 100ms

    Example:  mlcycle bench --url http://127.0.0.1:8000 --find-rate --p99 100ms --duration 60
    """
    checks.finite(duration=duration, warmup=warmup, rate=rate)
    checks.output(out, overwrite, baseline, max_regress)
    checks.search(find_rate, baseline)
    checks.server(url, token_file, file, provider, threads, cold_starts)

    from mlcycle.benching import baseline as baselines
    from mlcycle.benching.bench import bench as measure
    from mlcycle.benching.bench import check_result
    from mlcycle.benching.cost import price_per_hour
    from mlcycle.benching.options import Options, milliseconds
    from mlcycle.inference.batch.worker_threads import cores

    allowed = baselines.allowance(max_regress or ALLOWED)
    old = None if baseline is None else baselines.read(baseline)
    plan = Options(
        of_server=url is not None,
        seconds=duration,
        warmup_seconds=warmup,
        scenario=scenario,
        concurrency=concurrency,
        rate=rate,
        arrivals=arrivals,
        seed=seed,
        samples=samples,
        limit_ms=None if p99 is None else milliseconds(p99),
        find_rate=find_rate,
        threads=threads,
        cold_starts=COLD_STARTS if cold_starts is None else cold_starts,
        price=None if price is None else price_per_hour(price),
    ).plan(cores())
    target = _process(file, provider, plan) if url is None else _server(url, token_file)

    def check(known: dict[str, Any]) -> None:
        if old is not None and baseline is not None:
            baselines.must_compare(old, known, baseline)

    document = measure(target, data, plan, console.Terminal(), check)
    document["baseline"] = None if old is None else baselines.compare(old, document, allowed)
    _report(document, as_json, out, overwrite)
    if document["baseline"] is not None:
        baselines.check(document["baseline"])
    check_result(document)


def _process(file: Path | None, provider: str, plan: Plan) -> OpenTarget:
    from mlcycle.inference.models import find_model

    path, how = find_model(file)
    from mlcycle.benching.targets import process
    from mlcycle.inference.detect import load_detector

    detector = load_detector(path, provider=provider, threads=plan.threads)
    why = "as requested" if file is not None else how
    console.say(f"model {detector.contract.name} {detector.sha256[:12]} from {path} ({why}), on {detector.provider}")
    return partial(process.opened, detector, plan.threads, plan.load.concurrency)


def _server(url: str, token_file: Path | None) -> OpenTarget:
    from mlcycle.benching.targets import server
    from mlcycle.benching.targets.connections import address_of

    return partial(server.opened, address_of(url), token_file)


def _report(document: dict[str, Any], as_json: bool, out: Path | None, overwrite: bool) -> None:
    import json

    from mlcycle.benching.table import as_table
    from mlcycle.inference.outputs.output import open_output

    text = json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False)
    console.data(text if as_json else as_table(document))
    if out is not None:
        with open_output(out, overwrite=overwrite) as stream:
            stream.write(f"{text}\n")
        console.say(f"results written to {out}")
    requests = document["requests"]
    if failed := requests["failed"]:
        left_out = "all other numbers leave out images that cannot be read, and count other failures as slowest"
        console.warn(f"{counted(failed, 'request')} failed; {left_out}")
    if rejected := requests["rejected"]:
        console.warn(f"the server rejected {counted(rejected, 'request')}, which count as slower than all others")
    if late := requests["never_started"]:
        console.warn(f"this machine cannot sustain the rate: {counted(late, 'due request')} never started")
