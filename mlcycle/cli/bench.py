"""`mlcycle bench`: how fast a model file answers on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcycle.cli import console
from mlcycle.cli.infer.options import Provider, ProviderOption, ThreadsOption

if TYPE_CHECKING:
    from mlcycle.inference.detect import Detector

ALLOWED = "10%"


FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE", help="The model file; without it the one that `mlcycle infer` takes.", show_default=False
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="A folder of images; without it 20 that are made for it.", show_default=False),
]
DurationOption = Annotated[float, typer.Option(metavar="SECONDS", min=0.01, help="For how long to ask.")]
WarmupOption = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="For how long to ask before, counting nothing.")
]
ConcurrencyOption = Annotated[int, typer.Option(metavar="N", min=1, max=256, help="Images in work at once.")]
RateOption = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        min=0.001,
        help="Ask R times a second, whatever became of the last; without it as soon as one is answered.",
        show_default=False,
    ),
]
ColdStartsOption = Annotated[
    int, typer.Option(metavar="N", min=0, help="Fresh processes to start; 0: do not measure it.")
]
PriceOption = Annotated[
    str | None, typer.Option(metavar="PRICE/h", help="What this machine costs an hour, as 0.9/h.", show_default=False)
]
BaselineOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="An earlier --out FILE to compare with.", show_default=False)
]
MaxRegressOption = Annotated[
    str | None,
    typer.Option(metavar="P%", help=f"How much worse than it to allow; {ALLOWED} if not given.", show_default=False),
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
    threads: ThreadsOption = None,
    cold_starts: ColdStartsOption = 5,
    price: PriceOption = None,
    baseline: BaselineOption = None,
    max_regress: MaxRegressOption = None,
    as_json: JsonOption = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure how fast a model file answers on this machine.

    Gives percentiles of the latency, of each stage too, the throughput, a cold start, the peak memory and, where there
    is a counter, the energy; and says what is inside the timed window and what it was measured on.

    With --rate, a latency counts from the moment at which the image was due. An image that cannot be read
    is counted as failed, and in no other figure; if none can be, the exit code is 3.

    With --baseline, the exit code is 5 if p50 or p95 of the latency has risen, or the throughput has fallen, by more
    than --max-regress. A baseline of another machine, other settings or other images is refused.

    Example:  mlcycle bench --data images --out now.json --price 0.9/h

    Example:  mlcycle bench --data images --baseline now.json --max-regress 10%
    """
    _check(out, overwrite, baseline, max_regress)
    _must_be_finite(duration=duration, warmup=warmup, rate=rate)

    from mlcycle.benching import baseline as earlier
    from mlcycle.benching.bench import Plan
    from mlcycle.benching.bench import bench as measure
    from mlcycle.benching.cost import price_an_hour
    from mlcycle.benching.load import Load

    allowed = earlier.allowance(max_regress or ALLOWED)
    price_of_hour = None if price is None else price_an_hour(price)
    old = None if baseline is None else earlier.read(baseline)
    plan = Plan(Load(duration, concurrency, rate), warmup, threads, cold_starts, price_of_hour)

    def check(known: dict[str, Any]) -> None:
        if old is not None and baseline is not None:
            earlier.must_compare(old, known, baseline)

    document = measure(_detector(file, provider, threads), data, plan, console.Terminal(), check)
    document["baseline"] = None if old is None else earlier.compare(old, document, allowed)
    _tell(document, as_json, out, overwrite)
    if document["baseline"] is not None:
        earlier.check(document["baseline"])


def _detector(file: Path | None, provider: str, threads: int | None) -> Detector:
    from mlcycle.inference.models import find_model

    path, how = find_model(file)
    from mlcycle.inference.detect import load_detector

    detector = load_detector(path, provider=provider, threads=threads)
    why = "as named" if file is not None else how
    console.say(f"model {detector.contract.name} {detector.sha256[:12]} from {path} ({why}), on {detector.provider}")
    return detector


def _tell(document: dict[str, Any], as_json: bool, out: Path | None, overwrite: bool) -> None:
    import json

    from mlcycle.benching.table import as_table
    from mlcycle.inference.outputs.output import open_output

    text = json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False)
    console.data(text if as_json else as_table(document))
    if out is not None:
        with open_output(out, overwrite=overwrite) as stream:
            stream.write(f"{text}\n")
        console.say(f"the figures are in {out}")
    if failed := document["requests"]["failed"]:
        console.warn(f"{failed:,} requests failed, and are in no figure but this")
    if never := document["requests"]["never_begun"]:
        console.warn(f"this machine cannot keep this rate: {never:,} requests that were due were never begun")


def _check(out: Path | None, overwrite: bool, baseline: Path | None, max_regress: str | None) -> None:
    """Finds out before the work, not after it, that a result cannot be written or compared."""
    from mlcycle.errors import InputError, UsageError

    if max_regress is not None and baseline is None:
        raise UsageError("--max-regress needs a baseline", "name an earlier result: --baseline FILE")
    if out is None:
        return
    if baseline is not None and out.resolve() == baseline.resolve():
        raise UsageError("--out would replace the baseline, also by a slower one", "name another file")
    if out.is_dir() or (out.exists() and not overwrite):
        raise InputError(f"{out} exists already", "name another file, or say --overwrite")


def _must_be_finite(**options: float | None) -> None:
    import math

    from mlcycle.errors import UsageError

    for name, value in options.items():
        if value is not None and not math.isfinite(value):
            raise UsageError(f"--{name} {value} is no number of anything", "write a number such as 10")
