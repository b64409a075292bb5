"""`mlcycle plan`: how many machines a load needs, and what they cost."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcycle.cli import console

if TYPE_CHECKING:
    from mlcycle.planning.check import CheckOptions
    from mlcycle.planning.kinds import Kind
    from mlcycle.planning.requirements import Requirements


class Balancing(StrEnum):
    """How requests are given to replicas; the values are those of mlcycle.planning.requirements."""

    random = "random"
    round_robin = "round-robin"
    least_requests = "least-requests"


FilesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]FILE ...",
        help="Documents of `mlcycle bench --out FILE`. Those of one NAME are of one kind of machine. "
        "Default name: the file's.",
    ),
]
RateOption = Annotated[
    str | None,
    typer.Option(
        metavar="N/s",
        help="Images per second to all machines, such as 300/s or 2e6/h. Default: the mean of recorded arrivals.",
        show_default=False,
    ),
]
P99Option = Annotated[
    str, typer.Option("--p99", metavar="TIME", help="Answer 99 % of the requests within TIME, such as 100ms.")
]
PriceOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]PRICE/h",
        help="Price per hour of one machine, such as 0.09/h; with NAME, of that kind. Repeatable.",
        show_default=False,
    ),
]
ArrivalsOption = Annotated[
    str,
    typer.Option(
        metavar="poisson|FILE",
        help="When requests arrive: at random, or as recorded in a file of times in seconds, one per line.",
    ),
]
BalancingOption = Annotated[
    Balancing,
    typer.Option(help="How requests are given to replicas: as by a Kubernetes Service (random), or otherwise."),
]
QueueOption = Annotated[
    int,
    typer.Option(metavar="N", min=0, max=100_000, help="Requests that wait at one replica before more are rejected."),
]
SeedOption = Annotated[
    int, typer.Option(metavar="N", min=0, help="Seed of the simulation: the same gives the same plan.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
PageOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Also write a page with the latency over the load.", show_default=False),
]
CheckOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Also send one replica's share of the load to this server, and print what was predicted beside what is "
        "measured. The URL is not recorded.",
        show_default=False,
    ),
]
CheckDurationOption = Annotated[float, typer.Option(metavar="SECONDS", min=1, help="Duration of --check.")]
DataOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The folder of images that was measured, for --check.", show_default=False),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Send the token in this file to the server of --check.", show_default=False),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Let --page replace an existing file.")]


def plan(  # noqa: PLR0913 (an option of a command is a parameter)
    files: FilesArgument,
    *,
    p99: P99Option,
    rate: RateOption = None,
    price: PriceOption = None,
    arrivals: ArrivalsOption = "poisson",
    balancing: BalancingOption = Balancing.random,
    queue: QueueOption = 64,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
    page: PageOption = None,
    overwrite: OverwriteOption = False,
    check: CheckOption = None,
    check_duration: CheckDurationOption = 30.0,
    data: DataOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Find how many machines a load needs, and what they cost.

    Simulates the service times that `mlcycle bench` measured: requests queue at replicas that process as many at once
    as the measurement did. Reports the smallest number of replicas that keeps the p99, their utilisation and cost, and
    what happens with one replica less and at twice the load. See docs/plan.md.

    With --check, a server of mlcycle serve gets Poisson arrivals at the rate of one replica. It must run the model file
    that was measured, on the same hardware, with as many workers and threads; otherwise the exit code is 3.

    The exit code is 5 if no number of machines keeps the p99; the result is still printed.

    Example:  mlcycle plan bench.json --rate 300/s --p99 100ms --price 0.09/h

    Example:  mlcycle plan small=a.json big=b.json --rate 300/s --p99 100ms --price small=0.09/h --price big=0.4/h
    """
    from mlcycle.cli.evaluate import check_free
    from mlcycle.errors import GateError, UsageError

    check_free(page, overwrite)

    from mlcycle.planning import kinds, requirements
    from mlcycle.planning.plan import plan as simulate

    paths = kinds.named(files)
    prices = requirements.prices(price or [], list(paths))
    wanted = _requirements(rate, p99, arrivals, balancing, queue, seed)
    found = [kinds.read(name, each, prices.get(name)) for name, each in paths.items()]
    if check is not None and len(found) > 1:
        raise UsageError("--check needs a single kind of machine", "plan the kind of the server alone")
    _warn_of_differences(found)
    document = simulate(found, wanted, console.Terminal())
    if check is not None:
        document["check"] = _checked(document, found[0], _check_options(check, token_file, data, check_duration, seed))
    _report(document, as_json)
    if page is not None:
        _write(document, page, overwrite)
    if not any(each["plan"] for each in document["machines"]):
        raise GateError(
            f"no number of machines keeps a p99 of {p99}", "pass a longer --p99, or a faster machine or model"
        )


def _requirements(
    rate: str | None, p99: str, arrivals: str, balancing: Balancing, queue: int, seed: int
) -> Requirements:
    from mlcycle.errors import UsageError
    from mlcycle.planning import requirements

    recorded_N = None if arrivals == requirements.POISSON else requirements.recorded_arrivals(Path(arrivals))
    if rate is not None:
        per_second = requirements.rate_per_second(rate)
    elif recorded_N is not None:
        per_second = requirements.mean_rate(recorded_N)
    else:
        raise UsageError("a plan needs a rate", "pass --rate 300/s, or recorded times: --arrivals FILE")
    return requirements.Requirements(
        per_second, requirements.milliseconds(p99), balancing.value, queue, seed, recorded_N
    )


def _warn_of_differences(found: list[Kind]) -> None:
    for what, section, key in (("images", "data", "fingerprint"), ("model files", "model", "sha256")):
        if len({document[section].get(key) for kind in found for document in kind.documents}) > 1:
            console.warn(f"the documents were measured with different {what}, so that their times do not compare")


def _check_options(url: str, token_file: Path | None, data: Path | None, seconds: float, seed: int) -> CheckOptions:
    from mlcycle.benching.targets.connections import address_of
    from mlcycle.planning.check import CheckOptions

    address = address_of(url)
    return CheckOptions(address=address, token_file=token_file, folder=data, seconds=seconds, seed=seed)


def _checked(document: dict[str, Any], kind: Kind, options: CheckOptions) -> dict[str, Any] | None:
    from mlcycle.planning.check import check

    plan = document["machines"][0]["plan"]
    return None if plan is None else check(kind, plan["rate"] / plan["replicas"], options, console.Terminal())


def _report(document: dict[str, Any], as_json: bool) -> None:
    import json

    from mlcycle.planning.table import as_table, assumptions, check_table

    if as_json:
        console.data(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False))
        return
    out = console.out_console()
    out.print(as_table(document))
    out.print()
    out.print(assumptions(document), markup=False)
    out.print(document["recommendation"]["text"], markup=False)
    if document["check"] is not None:
        out.print()
        out.print(check_table(document["check"]))


def _write(document: dict[str, Any], page: Path, overwrite: bool) -> None:
    from mlcycle.inference.outputs.output import open_output
    from mlcycle.planning.page import render

    with open_output(page, overwrite=overwrite) as file:
        file.write(render(document))
    console.say(f"page: {page}")
