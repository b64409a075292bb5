"""A plan as a table for a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.markup import escape
from rich.table import Table

from mlcycle.planning.recommendation import latency, money, number, percent
from mlcycle.planning.requirements import BALANCINGS

# Titles of rows, and the text of each for a kind of machine that keeps the p99.
Row = tuple[str, Callable[[dict[str, Any]], str]]


def rows(document: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Returns titles and, for each kind of machine, texts. Rows of what no machine has are left out."""
    machines = document["machines"]
    found = [(title, [text(each) for each in machines]) for title, text in _ALWAYS]
    found += [(title, [text(each["plan"]) if each["plan"] else "–" for each in machines]) for title, text in _PLANNED]
    return [(title, texts) for title, texts in found if any(text not in ("", "–") for text in texts)]


def as_table(document: dict[str, Any]) -> Table:
    """Returns a column for each kind of machine."""
    table = Table(title=title(document), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for machine in document["machines"]:
        table.add_column(escape(machine["name"]), overflow="fold")
    for name, texts in rows(document):
        table.add_row(name, *map(escape, texts))
    return table


def check_table(check: dict[str, Any]) -> Table:
    """Returns what was predicted and what was measured, side by side."""
    table = Table(title=check_title(check), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "predicted", "measured", "difference"):
        table.add_column(name, justify="left" if not name else "right")
    for name, texts in check_rows(check):
        table.add_row(name, *texts)
    return table


def check_title(check: dict[str, Any]) -> str:
    """Returns which load a server was checked under, in one line."""
    return (
        f"a server under {check['rate']:,.1f} Poisson arrivals per second for {check['seconds']:g} s, "
        f"{percent(check['utilisation'])} utilisation"
    )


def check_rows(check: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Returns titles, and texts of what was predicted, what was measured, and the difference."""
    predicted, measured, found = check["predicted"], check["measured"], []
    for name in ("p50", "p99"):
        low, high = (_number(end) for end in predicted[f"{name}_interval_ms"])
        change = check["difference_percent"][name]
        expected = f"{_milliseconds(predicted[f'{name}_ms'])} ({low} to {high})"
        difference = "–" if change is None else f"{change:+.1f} %"
        found.append((name, [expected, _milliseconds(measured[f"{name}_ms"]), difference]))
    means = [_milliseconds(each["service_mean_ms"]) for each in (predicted, measured)]
    rejected = [percent(each["rejected"]) for each in (predicted, measured)]
    return [*found, ("rejected", [*rejected, ""]), ("time in work, mean", [*means, ""])]


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{_number(value)} ms"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


def title(document: dict[str, Any]) -> str:
    """Returns the requirements in one line."""
    requirements = document["requirements"]
    rate, p99 = number(requirements["rate"]), number(requirements["p99_ms"])
    return f"{rate} images per second, p99 within {p99} ms"


def assumptions(document: dict[str, Any]) -> str:
    """Returns how the load was simulated, in one sentence."""
    requirements, recorded = document["requirements"], document["requirements"]["recorded_arrivals"]
    arrivals = "Poisson arrivals" if recorded is None else f"{recorded:,} recorded arrivals at this mean rate"
    simulated = max((each["plan"]["requests"] for each in document["machines"] if each["plan"]), default=0)
    parts = [
        arrivals,
        f"{requirements['balancing'].replace('-', ' ')} balancing",
        f"a queue of {requirements['queue']:,} per replica",
        *([f"{simulated:,} simulated requests, seed {requirements['seed']}"] if simulated else []),
    ]
    return f"{', '.join(parts)}; a to b is a 95 % interval."


def _machine(each: dict[str, Any]) -> str:
    machine = each["machine"]
    return f"{machine['cpu']}, {machine['cores']} cores"


def _service(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda each: f"{each['service_ms'][key]:,.1f} ms"


def _p99(plan: dict[str, Any]) -> str:
    low, high = plan["p99_interval_ms"]
    return f"{plan['p99_ms']:,.1f} ms ({low:,.1f} to {high:,.1f})"


def _lost(plan: dict[str, Any]) -> str:
    return "nothing is answered" if plan["one_lost"] is None else latency(plan["one_lost"])


def _with(balancing: str) -> Row:
    def text(plan: dict[str, Any]) -> str:
        count = plan["replicas_by_balancing"][balancing]
        return "–" if count is None else f"{count:,}"

    return f"with {balancing.replace('-', ' ')}", text


def _cost(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda plan: money(plan["cost"][key]) if plan["cost"] else "–"


def _energy(plan: dict[str, Any]) -> str:
    energy = plan["energy"]
    return "–" if energy is None else f"{energy['kwh_per_million_images']:,g} kWh, {energy['watts']:,.0f} W"


_ALWAYS: tuple[Row, ...] = (
    ("machine", _machine),
    ("images at once", lambda each: f"{each['workers']}"),
    ("time in work, mean", _service("mean")),
    ("time in work, p99", _service("p99")),
    ("HTTP and network", lambda each: f"{each['overhead_ms']:,.1f} ms" if each["overhead_ms"] else "–"),
    ("capacity of one", lambda each: f"{each['capacity']:,.1f} per second"),
    ("replicas", lambda each: f"{each['plan']['replicas']:,}" if each["plan"] else "none keep it"),
)
_PLANNED: tuple[Row, ...] = (
    ("utilisation", lambda plan: percent(plan["utilisation"])),
    ("p50", lambda plan: f"{plan['p50_ms']:,.1f} ms"),
    ("p99", _p99),
    ("one replica lost", _lost),
    ("twice the load", lambda plan: latency(plan["twice_the_load"])),
    *(_with(each) for each in BALANCINGS),
    ("cost per hour", _cost("per_hour")),
    ("cost per million", _cost("per_million_images")),
    ("energy per million", _energy),
)
