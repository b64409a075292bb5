"""A plan as one HTML page."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from mlcycle.planning import table
from mlcycle.planning.recommendation import money, percent
from mlcycle.reporting import pages
from mlcycle.reporting.charts.load import Limits, latency_over_load


def render(document: dict[str, Any]) -> str:
    """Returns the page of a document of `mlcycle plan`."""
    return pages.render(
        "plan.html",
        title=f"Machines for {table.title(document)}",
        recommendation=document["recommendation"]["text"],
        is_possible=any(each["plan"] for each in document["machines"]),
        tiles=_tiles(document),
        charts=[_chart(each, document["requirements"]) for each in document["machines"] if each["plan"]],
        names=[each["name"] for each in document["machines"]],
        rows=table.rows(document),
        check=_check(document["check"]),
        assumptions=table.assumptions(document),
        models=sorted({(each["model"]["name"], each["model"]["sha256"]) for each in document["machines"]}),
    )


def _check(check: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if check is None else {"title": table.check_title(check), "rows": table.check_rows(check)}


def _tiles(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Returns name, value and note of the recommended kind's most important numbers."""
    best = next((each for each in document["machines"] if each["name"] == document["recommendation"]["kind"]), None)
    if best is None:
        return []
    plan = best["plan"]
    low, high = plan["p99_interval_ms"]
    tiles = [
        ("Replicas", f"{plan['replicas']:,}", f"of {best['name']}"),
        ("Utilisation", percent(plan["utilisation"]), f"of {best['workers']} at once in each"),
        ("p99", f"{plan['p99_ms']:,.1f} ms", f"{low:,.1f} to {high:,.1f}"),
    ]
    if cost := plan["cost"]:
        tiles.append(("Per hour", money(cost["per_hour"]), "in the currency of the price"))
        tiles.append(("Per million", money(cost["per_million_images"]), "images, at this load"))
    return tiles


def _chart(machine: dict[str, Any], requirements: dict[str, Any]) -> tuple[str, Markup]:
    plan = machine["plan"]
    title = f"{plan['replicas']:,} × {machine['name']}"
    points = [each for each in plan["curve"] if each["p99_ms"] is not None]
    lines = [(name, [(each["rate"], each[f"{name}_ms"]) for each in points]) for name in ("p50", "p99")]
    return title, latency_over_load(title, lines, Limits(requirements["rate"], requirements["p99_ms"]))
