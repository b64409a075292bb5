"""`mlcycle bench`: latency, throughput and memory of a model file on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcycle.cli import completions, console
from mlcycle.cli.infer.options import LocalThreadsOption, Provider, ProviderOption
from mlcycle.counted import counted

if TYPE_CHECKING:
    from mlcycle.inference.detect import Detector

ALLOWED = "10%"

FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        autocompletion=completions.models,
        help="The model file. Default: the one that `mlcycle infer` uses.",
        show_default=False,
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="A folder of images. Default: 20 generated images.", show_default=False),
]
DurationOption = Annotated[float, typer.Option(metavar="SECONDS", min=0.01, help="Duration of the measurement.")]
WarmupOption = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Duration of the warm-up, which is not measured.")
]
ConcurrencyOption = Annotated[int, typer.Option(metavar="N", min=1, max=256, help="Images processed at once.")]
RateOption = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        min=0.001,
        help="Send R requests per second, even before earlier ones complete. Default: one after another.",
        show_default=False,
    ),
]
ColdStartsOption = Annotated[
    int, typer.Option(metavar="N", min=0, help="Processes started to measure the cold start; 0 measures none.")
]
PriceOption = Annotated[
    str | None,
    typer.Option(metavar="PRICE/h", help="Price of this machine per hour, such as 0.9/h.", show_default=False),
]
BaselineOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The --out FILE of an earlier run to compare with.", show_default=False),
]
MaxRegressOption = Annotated[
    str | None,
    typer.Option(metavar="P%", help=f"Largest regression allowed. Default: {ALLOWED}.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Also write the JSON document here.", show_default=False),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Let --out replace an existing file.")]


def bench(  # noqa: PLR0913 (an option of a command is a parameter)
    file: FileArgument = None,
    *,
    data: DataOption = None,
    duration: DurationOption = 10.0,
    warmup: WarmupOption = 1.0,
    concurrency: ConcurrencyOption = 1,
    rate: RateOption = None,
    provider: ProviderOption = Provider.auto,
    threads: LocalThreadsOption = None,
    cold_starts: ColdStartsOption = 5,
    price: PriceOption = None,
    baseline: BaselineOption = None,
    max_regress: MaxRegressOption = None,
    as_json: JsonOption = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure the speed of a model file on this machine.

    Reports percentiles of the latency, also by stage, the throughput, the cold start, the peak memory and, if the
    machine has a counter, the energy. States which stages are timed, and on which machine.

    With --rate, the latency of a request starts at the time at which it was due. An image that cannot be read counts
    as a failed request and enters no other number; if all fail, the exit code is 3.

    With --baseline, the exit code is 5 if p50 or p95 of the latency rose, or the throughput fell, by more than
    --max-regress. A baseline from another machine, or with other settings or images, is refused.

    Example:  mlcycle bench --data images --out now.json --price 0.9/h

    Example:  mlcycle bench --data images --baseline now.json --max-regress 10%
    """
    _check(out, overwrite, baseline, max_regress)
    _must_be_finite(duration=duration, warmup=warmup, rate=rate)

    from mlcycle.benching import baseline as baselines
    from mlcycle.benching.bench import Plan
    from mlcycle.benching.bench import bench as measure
    from mlcycle.benching.cost import price_per_hour
    from mlcycle.benching.load import Load

    allowed = baselines.allowance(max_regress or ALLOWED)
    hourly = None if price is None else price_per_hour(price)
    old = None if baseline is None else baselines.read(baseline)
    plan = Plan(Load(duration, concurrency, rate), warmup, threads, cold_starts, hourly)

    def check(known: dict[str, Any]) -> None:
        if old is not None and baseline is not None:
            baselines.must_compare(old, known, baseline)

    document = measure(_detector(file, provider, threads), data, plan, console.Terminal(), check)
    document["baseline"] = None if old is None else baselines.compare(old, document, allowed)
    _report(document, as_json, out, overwrite)
    if document["baseline"] is not None:
        baselines.check(document["baseline"])


def _detector(file: Path | None, provider: str, threads: int | None) -> Detector:
    from mlcycle.inference.models import find_model

    path, how = find_model(file)
    from mlcycle.inference.detect import load_detector

    detector = load_detector(path, provider=provider, threads=threads)
    why = "as requested" if file is not None else how
    console.say(f"model {detector.contract.name} {detector.sha256[:12]} from {path} ({why}), on {detector.provider}")
    return detector


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
    if failed := document["requests"]["failed"]:
        console.warn(f"{counted(failed, 'request')} failed; all other numbers leave them out")
    if late := document["requests"]["never_started"]:
        console.warn(f"this machine cannot sustain the rate: {counted(late, 'due request')} never started")


def _check(out: Path | None, overwrite: bool, baseline: Path | None, max_regress: str | None) -> None:
    """Raises an error before the measurement if its result could not be written or compared."""
    from mlcycle.errors import InputError, UsageError

    if max_regress is not None and baseline is None:
        raise UsageError("--max-regress needs a baseline", "pass an earlier result: --baseline FILE")
    if out is None:
        return
    if baseline is not None and out.resolve() == baseline.resolve():
        raise UsageError("--out would replace the baseline", "choose another file")
    if out.is_dir() or (out.exists() and not overwrite):
        raise InputError(f"{out} already exists", "choose another file, or pass --overwrite")


def _must_be_finite(**options: float | None) -> None:
    import math

    from mlcycle.errors import UsageError

    for name, value in options.items():
        if value is not None and not math.isfinite(value):
            raise UsageError(f"--{name} {value} is not a finite number", "pass a number such as 10")
