"""The options of `mlcycle bench`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mlcycle.cli import completions

ALLOWED = "10%"
COLD_STARTS = 5


class Scenario(StrEnum):
    single_stream = "single-stream"
    multi_stream = "multi-stream"
    server = "server"
    offline = "offline"


class Arrivals(StrEnum):
    uniform = "uniform"
    poisson = "poisson"


FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        autocompletion=completions.models,
        help="The model file. Default: the one that `mlcycle infer` uses.",
        show_default=False,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Measure a running `mlcycle serve` instead of a model file, such as http://127.0.0.1:8000. The URL is not "
        "recorded.",
        show_default=False,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Send the token in this file to the server.", show_default=False),
]
DataOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="A folder of images. Default: 20 generated images.", show_default=False),
]
DurationOption = Annotated[float, typer.Option(metavar="SECONDS", min=0.01, help="Duration of the measurement.")]
WarmupOption = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Duration of the warm-up, which is not measured.")
]
ScenarioOption = Annotated[
    Scenario | None,
    typer.Option(
        help="Measure as MLPerf's LoadGen does: single-stream (one image after another, p90), multi-stream (queries of "
        "several images, p99), server (--rate R with Poisson arrivals, p99) or offline (all at once, throughput).",
        show_default=False,
    ),
]
ConcurrencyOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=256,
        help="Images processed at once, or connections to the server. Default: 1; in the scenarios multi-stream, "
        "server and offline one for each core, with one thread each, or 64 connections.",
        show_default=False,
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        min=0.001,
        help="Send R requests per second, even before earlier ones complete. Default: one after another.",
        show_default=False,
    ),
]
ArrivalsOption = Annotated[
    Arrivals | None,
    typer.Option(
        help="How the requests of --rate are spaced. Evenly spaced ones (uniform, the default) hide the queues that "
        "form when users come at random: their p99 flatters. poisson shows them.",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, help="Seed of Poisson arrivals; the same seed sends at the same times. Default: 0."
    ),
]
SamplesOption = Annotated[
    int | None,
    typer.Option("--samples", metavar="N", min=1, max=256, help="Images per query in multi-stream. Default: 8."),
]
P99Option = Annotated[
    str | None,
    typer.Option(
        "--p99",
        metavar="LIMIT",
        help="Limit of the p99 in the server scenario, such as 100ms. Exit with 5 unless it is kept with 99 % "
        "confidence.",
        show_default=False,
    ),
]
FindRateOption = Annotated[
    bool, typer.Option("--find-rate", help="Search for the highest rate of Poisson arrivals that keeps --p99.")
]
ColdStartsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help=f"Processes started to measure the cold start; 0 measures none. Default: {COLD_STARTS}.",
        show_default=False,
    ),
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
