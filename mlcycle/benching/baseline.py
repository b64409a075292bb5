"""Compares a measurement with an earlier one, and fails if it is slower.

p50 and p95 of the latency must not rise, and the throughput must not fall, by more than a given percentage. Machine,
settings and images must be the same. Model files and versions can differ: their speed is what is compared.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mlcycle.errors import GateError, InputError, UsageError

KIND = "mlcycle bench"
SCHEMA_VERSION = 3
# Section and key of the values that must be equal.
SAME = (
    *(("machine", key) for key in ("cpu", "cores", "system")),
    *(("settings", key) for key in ("provider", "threads", "workers", "target", "scenario", "concurrency")),
    *(("settings", key) for key in ("samples_per_query", "rate", "arrivals", "seed")),
    *(("data", key) for key in ("kind", "images", "fingerprint")),
)
# Compared metrics: title, section and key in the document, and 1 if higher is worse, -1 if lower is.
METRICS = {
    "p50": ("p50 of the latency", ("latency_ms", "p50"), 1),
    "p95": ("p95 of the latency", ("latency_ms", "p95"), 1),
    "throughput": ("throughput", ("requests", "completed_per_second"), -1),
}


def allowance(text: str) -> float:
    """Parses a percentage such as 10%.

    Raises:
        UsageError: the text is not a percentage.
    """
    found = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]{1,6})?) ?%", text)
    if found is None:
        raise UsageError(f"{text!r} is not a percentage", "pass the allowed regression, such as --max-regress 10%")
    return float(found[1])


def read(path: Path) -> dict[str, Any]:
    """Reads a file written by `mlcycle bench --out`.

    Raises:
        InputError: it cannot be read, or is another kind of file.
    """
    hint = "pass a file written by mlcycle bench --out FILE"
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as problem:
        raise InputError(f"the baseline {path} cannot be read: {problem.strerror}", hint) from None
    except ValueError:
        raise InputError(f"the baseline {path} is not JSON", hint) from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InputError(f"the baseline {path} is not a measurement of mlcycle bench", hint)
    if document.get("schema_version") == 2:
        document = _from_version_2(document)
    if document.get("schema_version") != SCHEMA_VERSION:
        found = document.get("schema_version")
        raise InputError(
            f"the baseline {path} has schema_version {found!r}, not 2 or {SCHEMA_VERSION}", "measure it again"
        )
    metrics = [_value(document, where) for _, where, _ in METRICS.values()]
    if not all(isinstance(metric, int | float) and metric > 0 for metric in metrics):
        raise InputError(
            f"the baseline {path} lacks a metric; its rate may have been too high", "measure one at a lower rate"
        )
    return document


def must_compare(old: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raises InputError if two measurements are of different machines, settings or images.

    Both need only the sections machine, settings and data.
    """
    for where in SAME:
        before, after = _value(old, where), _value(now, where)
        if before != after:
            raise InputError(
                f"the baseline {path} is not comparable: its {' '.join(where)} is {_text(before)}, now {_text(after)}",
                "measure a new baseline with the same options: mlcycle bench --out FILE",
            )


def compare(old: dict[str, Any], now: dict[str, Any], allowed_percent: float) -> dict[str, Any]:
    """Returns allowed_percent, passed, the baseline's model_sha256, and before, now and change_percent of each metric.

    change_percent is positive if the metric rose. It is None if the metric no longer exists, which fails.
    """
    metrics = {name: _change(_value(old, where), _value(now, where)) for name, (_, where, _) in METRICS.items()}
    passed = not any(_is_worse(name, change, allowed_percent) for name, change in metrics.items())
    sha256 = _value(old, ("model", "sha256"))
    return {"allowed_percent": allowed_percent, "passed": passed, "model_sha256": sha256, "metrics": metrics}


def check(comparison: dict[str, Any]) -> None:
    """Raises GateError with each metric that is worse by more than the allowed percentage."""
    allowed = comparison["allowed_percent"]
    worse = [
        _sentence(name, change) for name, change in comparison["metrics"].items() if _is_worse(name, change, allowed)
    ]
    if worse:
        raise GateError(
            f"slower than the baseline by more than {allowed:g} %: {'; '.join(worse)}",
            "stop other programs, and measure again for longer: --duration",
        )


def _from_version_2(document: dict[str, Any]) -> dict[str, Any]:
    """Returns a document of version 2 with the settings that version 3 added, of which there was one choice then."""
    settings = document.get("settings")
    if not isinstance(settings, dict):
        return document
    arrivals = None if settings.get("rate") is None else "uniform"
    added = {"target": "process", "scenario": None, "samples_per_query": None, "arrivals": arrivals, "seed": None}
    added["workers"] = settings.get("concurrency")
    return document | {"schema_version": SCHEMA_VERSION, "settings": settings | added}


def _change(before: float, after: float | None) -> dict[str, float | None]:
    change = None if after is None else round((after / before - 1) * 100, 2)
    return {"before": before, "now": after, "change_percent": change}


def _is_worse(name: str, change: dict[str, Any], allowed_percent: float) -> bool:
    _, _, direction = METRICS[name]
    percent = change["change_percent"]
    return percent is None or percent * direction > allowed_percent


def _sentence(name: str, change: dict[str, Any]) -> str:
    title, (_, key), _ = METRICS[name]
    unit = " ms" if key in ("p50", "p95") else " per second"
    if change["now"] is None:
        return f"the {title} was {change['before']:g}{unit}; now too many requests were never started"
    return f"the {title} was {change['before']:g}{unit}, now {change['now']:g} ({change['change_percent']:+.1f} %)"


def _value(document: dict[str, Any], where: tuple[str, str]) -> Any:
    section = document.get(where[0])
    return section.get(where[1]) if isinstance(section, dict) else None


def _text(value: Any) -> str:
    return "not given" if value is None else str(value)
