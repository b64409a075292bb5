"""A plan in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcycle.counted import counted
from mlcycle.planning.requirements import Requirements


def recommend(planned: Sequence[dict[str, Any]], requirements: Requirements) -> dict[str, Any]:
    """Returns the kind (the cheapest; None if prices lack or no kind keeps the p99), and a sentence."""
    able = [each for each in planned if each["plan"]]
    if not able:
        return {"kind": None, "text": _impossible(planned, requirements)}
    if len(planned) > 1 and any(each["plan"]["cost"] is None for each in able):
        each_kind = "; ".join(f"{counted(each['plan']['replicas'], 'replica')} of {each['name']}" for each in able)
        return {"kind": None, "text": f"{each_kind} keep the p99. With a --price for each kind, the cheapest is named."}
    best = min(able, key=lambda each: (each["plan"]["cost"] or {"per_hour": 0})["per_hour"])
    plan = best["plan"]
    text = f"{_take(best, requirements)} {_spare(plan, requirements)}{_better_balancing(plan)}"
    return {"kind": best["name"], "text": text}


def latency(estimate: dict[str, Any]) -> str:
    """Returns the p99 of an estimate, or what it rejects."""
    if estimate["p99_ms"] is None:
        return f"overloaded: rejects {percent(estimate['rejected'])}"
    rejected = f", rejects {percent(estimate['rejected'])}" if estimate["rejected"] else ""
    return f"p99 {estimate['p99_ms']:,.1f} ms{rejected}"


def number(value: float) -> str:
    """Returns a rate or a duration as 1,000,000, 300 or 0.25."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:,g}"


def percent(share: float) -> str:
    """Returns a share as 24 %, 1.5 %, 0.02 % or < 0.01 %."""
    if 0 < share < 0.0001:
        return "< 0.01 %"
    return f"{share * 100:.{0 if share >= 0.1 or not share else 1 if share >= 0.01 else 2}f} %"


def money(amount: float) -> str:
    """Returns an amount as 1,234.50, 0.83 or 0.0042."""
    return f"{amount:,.2f}" if amount >= 0.1 else f"{amount:.2g}"


def _take(best: dict[str, Any], requirements: Requirements) -> str:
    plan, cost = best["plan"], best["plan"]["cost"]
    low, high = plan["p99_interval_ms"]
    price = (
        f", {money(cost['per_hour'])} per hour, {money(cost['per_million_images'])} per million images" if cost else ""
    )
    return (
        f"Take {counted(plan['replicas'], 'replica')} of {best['name']}{price}: 99 % of "
        f"{number(requirements.rate)} images per second are answered "
        f"within {plan['p99_ms']:,.1f} ms ({low:,.1f} to {high:,.1f}), at "
        f"{percent(plan['utilisation'])} utilisation."
    )


def _spare(plan: dict[str, Any], requirements: Requirements) -> str:
    """Returns what happens with one replica less."""
    lost, more = plan["one_lost"], f"{plan['replicas'] + 1:,} replicas keep the p99 then too"
    if lost is None:
        return f"If it is lost, nothing is answered; {more}."
    if lost["p99_ms"] is not None and lost["p99_ms"] <= requirements.p99:
        kept = f"{latency(lost)} at {lost['utilisation'] * 100:.1f} % utilisation"
        return f"With one lost: {kept}, too near to the limit to rely on; {more}."
    return f"With one lost: {latency(lost)}; {more}."


def _better_balancing(plan: dict[str, Any]) -> str:
    """Returns what another balancing would save; nothing if that is less than a tenth."""
    counts = {name: count for name, count in plan["replicas_by_balancing"].items() if count is not None}
    best = min(counts, key=lambda name: counts[name])
    if counts[best] > 0.9 * plan["replicas"]:
        return ""
    return f" With {best.replace('-', ' ')} balancing, {counted(counts[best], 'replica')} would do."


def _impossible(planned: Sequence[dict[str, Any]], requirements: Requirements) -> str:
    p99s = {each["name"]: each["service_ms"]["p99"] + each["overhead_ms"] for each in planned}
    fastest = min(p99s, key=lambda name: p99s[name])
    return (
        f"No number of these machines keeps a p99 of {number(requirements.p99)} ms: 99 % of the requests take up to "
        f"{p99s[fastest]:,.1f} ms without any wait, on {fastest}."
    )
