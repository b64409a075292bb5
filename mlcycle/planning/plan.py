"""The conductor of `mlcycle plan`: kinds of machines and requirements → one document. Read it top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlcycle.planning import fleet, recommendation, sizing
from mlcycle.planning.requirements import BALANCINGS

if TYPE_CHECKING:
    from mlcycle.planning.estimate import Estimate
    from mlcycle.planning.kinds import Kind
    from mlcycle.planning.requirements import Requirements
    from mlcycle.progress import Progress

KIND = "mlcycle plan"
SCHEMA_VERSION = 1
# Utilisations of the curve.
CURVE = (0.05, 0.2, 0.35, 0.5, 0.6, 0.7, 0.75, 0.8, 0.84, 0.88, 0.91, 0.94, 0.96)


def plan(kinds: Sequence[Kind], requirements: Requirements, progress: Progress) -> dict[str, Any]:
    """Finds for each kind of machine the least replicas that keep the p99, and what they do under other loads.

    Returns:
        The document, as docs/plan.md describes it, without a check.
    """
    with progress.bar("simulating", len(kinds)) as advance:
        planned = []
        for kind in kinds:
            planned.append(_kind(kind, requirements))
            advance()
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "requirements": {
            "rate": requirements.rate,
            "p99_ms": requirements.p99,
            "arrivals": requirements.arrivals,
            "recorded_arrivals": None if requirements.recorded_N is None else len(requirements.recorded_N),
            "balancing": requirements.balancing,
            "queue": requirements.queue,
            "seed": requirements.seed,
        },
        "machines": planned,
        "recommendation": recommendation.recommend(planned, requirements),
        "check": None,
    }


def _kind(kind: Kind, requirements: Requirements) -> dict[str, Any]:
    found = _least(kind, requirements)
    first, service = kind.documents[0], kind.service
    return {
        "name": kind.name,
        "machine": {key: first["machine"][key] for key in ("cpu", "cores", "system")},
        "model": first["model"],
        "provider": first["settings"]["provider"],
        "threads": first["settings"]["threads"],
        "workers": kind.workers,
        "documents": len(kind.documents),
        "service_ms": {
            "mean": round(service.mean, 3),
            "p50": round(service.at(0.5), 3),
            "p99": round(service.at(0.99), 3),
        },
        "overhead_ms": round(kind.overhead_ms, 3),
        "capacity": round(kind.capacity, 4),
        "price_per_hour": kind.price,
        "plan": None if found is None else _plan(kind, requirements, found),
    }


def _plan(kind: Kind, requirements: Requirements, found: Estimate) -> dict[str, Any]:
    def estimated(replicas: int, rate: float) -> dict[str, Any]:
        return fleet.predict(kind, requirements, replicas, rate).as_dict()

    replicas = found.replicas
    others = {
        each: _least(kind, replace(requirements, balancing=each))
        for each in BALANCINGS
        if each != requirements.balancing
    }
    chosen = {requirements.balancing: found} | others
    curve = [estimated(replicas, share * replicas * kind.capacity) for share in CURVE]
    return {
        **found.as_dict(),
        "one_lost": estimated(replicas - 1, requirements.rate) if replicas > 1 else None,
        "twice_the_load": estimated(replicas, 2 * requirements.rate),
        "replicas_by_balancing": {each: got.replicas if (got := chosen[each]) else None for each in BALANCINGS},
        "cost": _cost(kind.price, replicas, requirements.rate),
        "energy": _energy(kind.joules_per_image, requirements.rate),
        "curve": curve,
    }


def _least(kind: Kind, requirements: Requirements) -> Estimate | None:
    predict: Callable[[int], Estimate] = lambda replicas: fleet.predict(kind, requirements, replicas, requirements.rate)  # noqa: E731
    return sizing.least(predict, requirements.rate / kind.capacity, requirements.p99)


def _cost(price: float | None, replicas: int, rate: float) -> dict[str, float] | None:
    """Returns the cost per hour and per million images, in the currency of the price."""
    if price is None:
        return None
    return {
        "per_hour": round(replicas * price, 4),
        "per_million_images": round(replicas * price / 3600 / rate * 1e6, 4),
    }


def _energy(joules_per_image: float | None, rate: float) -> dict[str, float] | None:
    """Returns the energy of an image as measured on a busy machine, and what the load needs of it."""
    if joules_per_image is None:
        return None
    return {
        "joules_per_image": round(joules_per_image, 6),
        "watts": round(joules_per_image * rate, 3),
        "kwh_per_million_images": round(joules_per_image / 3.6, 4),
    }
