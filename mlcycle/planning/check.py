"""Loads a real server with the planned share of a load, and compares its latency with what was predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcycle.benching import bench_images, percentiles
from mlcycle.benching.options import CONNECTIONS
from mlcycle.benching.sending import load
from mlcycle.benching.sending.arrivals import POISSON
from mlcycle.benching.sending.load import Load
from mlcycle.benching.targets import server
from mlcycle.errors import InputError
from mlcycle.planning import fleet

if TYPE_CHECKING:
    from pathlib import Path

    from mlcycle.benching.bench_images import ImageSet
    from mlcycle.benching.sending.request_stats import RequestStats
    from mlcycle.benching.targets.connections import Address
    from mlcycle.benching.targets.description import Description
    from mlcycle.planning.kinds import Kind
    from mlcycle.progress import Progress

WARMUP_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """How to check a server.

    Attributes:
        address: of the server.
        token_file: with its token, or None.
        folder: the images of the measurement; None for the generated ones.
        seconds: duration.
        seed: of the Poisson arrivals.
    """

    address: Address
    token_file: Path | None = None
    folder: Path | None = None
    seconds: float = 30.0
    seed: int = 0


def check(kind: Kind, rate: float, options: CheckOptions, progress: Progress) -> dict[str, Any]:
    """Sends Poisson arrivals to a server of one kind, and simulates the same arrivals.

    Args:
        rate: requests per second to this server.

    Returns:
        The section `check` of the document of `mlcycle plan`.

    Raises:
        InputError: the images or the server are not those that were measured, or no request was answered.
        DeviceError: the server does not answer.
        UsageError: it requires another token, or is not a server of mlcycle.
    """
    planned = Load(options.seconds, CONNECTIONS, rate, POISSON, options.seed)
    with (
        bench_images.opened(options.folder) as images,
        server.opened(options.address, options.token_file, images) as target,
    ):
        must_be_measured(kind, images, target.description)
        progress.say(f"warming up for {WARMUP_SECONDS:g} s")
        load.run(target.detect, Load(WARMUP_SECONDS, kind.workers))
        progress.say(f"sending {rate:,.1f} requests per second for {options.seconds:g} s")
        stats = load.run(target.detect, planned)
    if not stats.completed:
        raise InputError("the server answered no request", "pass a longer --check-duration")
    arrivals_N = np.array(planned.due_times()) * 1000
    predicted = _predicted(kind, fleet.repeat(kind, arrivals_N, target.description.queue, options.seed))
    measured = _measured(stats)
    return {
        "rate": round(rate, 4),
        "seconds": options.seconds,
        "seed": options.seed,
        "requests": len(arrivals_N),
        "utilisation": round(rate / kind.capacity, 4),
        "predicted": predicted,
        "measured": measured,
        "difference_percent": {name: _change(predicted, measured, f"{name}_ms") for name in ("p50", "p99")},
    }


def must_be_measured(kind: Kind, images: ImageSet, found: Description) -> None:
    """Raises InputError if the images or the server are not those of the measurement."""
    expected = kind.documents[0]
    if any(document["data"]["fingerprint"] != images.fingerprint for document in kind.documents):
        raise InputError("the images are not those of the measurement", "pass their folder: --data DIR")
    pairs = (
        ("model", expected["model"]["sha256"], found.sha256),
        ("processor", expected["machine"]["cpu"], found.machine["cpu"]),
        ("number of cores", expected["machine"]["cores"], found.machine["cores"]),
        ("system", expected["machine"]["system"], found.machine["system"]),
        ("provider", expected["settings"]["provider"], found.provider),
        ("number of threads", expected["settings"]["threads"], found.threads),
        ("number of workers", kind.workers, found.workers),
    )
    for what, measured, served in pairs:
        if measured != served:
            raise InputError(
                f"the server is not what {kind.name} was measured on: its {what} is {served}, not {measured}",
                "measure the server itself: mlcycle bench --url URL --out FILE",
            )


def _predicted(kind: Kind, latencies_SR: np.ndarray) -> dict[str, Any]:
    """Returns the median of each percentile over the repetitions, and the range of 95 % of them."""
    by_share = {
        name: np.quantile(latencies_SR, share, axis=0, method="inverted_cdf")
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }
    found: dict[str, Any] = {}
    for name, values_R in by_share.items():
        low, middle, high = np.quantile(values_R, (0.025, 0.5, 0.975), method="inverted_cdf").tolist()
        found[f"{name}_ms"] = _finite(middle)
        found[f"{name}_interval_ms"] = [_finite(low), _finite(high)]
    rejected = float(np.isinf(latencies_SR).mean())
    return {**found, "rejected": round(rejected, 6), "service_mean_ms": round(kind.service.mean, 3)}


def _measured(stats: RequestStats) -> dict[str, Any]:
    found = percentiles.percentiles(stats.latencies, stats.without_result)
    total = stats.completed + stats.without_result
    return {
        "p50_ms": found["p50"],
        "p99_ms": found["p99"],
        "rejected": round(stats.without_result / total, 6),
        "service_mean_ms": round(sum(stats.work) / len(stats.work), 3) if stats.work else None,
    }


def _change(predicted: dict[str, Any], measured: dict[str, Any], key: str) -> float | None:
    """Returns by how many percent the prediction is too high."""
    if predicted[key] is None or not measured[key]:
        return None
    return round((predicted[key] / measured[key] - 1) * 100, 2)


def _finite(value: float) -> float | None:
    return round(value, 3) if np.isfinite(value) else None
