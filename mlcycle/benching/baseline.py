"""A measurement beside an earlier one: refused where they do not compare, and a gate for what has become slower.

Compared are p50 and p95 of the latency, which may not rise, and the throughput, which may not fall, by more than a
share of what they were. Model files and versions may differ: how they differ in speed is what one asks for.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mlcycle.errors import GateError, InputError, UsageError

KIND = "mlcycle bench"
SCHEMA_VERSION = 1
# What must be the same, as section and key of the document.
SAME = (
    *(("machine", key) for key in ("cpu", "cores", "system")),
    *(("settings", key) for key in ("provider", "threads", "concurrency", "rate")),
    *(("data", key) for key in ("kind", "images", "fingerprint")),
)
# Figures that are compared: what people call each, where it stands in the document, and which way is worse.
FIGURES = {
    "p50": ("p50 of the latency", ("latency_ms", "p50"), 1),
    "p95": ("p95 of the latency", ("latency_ms", "p95"), 1),
    "throughput": ("throughput", ("requests", "answered_per_second"), -1),
}


def allowance(text: str) -> float:
    """Reads a share such as 10%, and returns it in percent.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]{1,6})?) ?%", text)
    if found is None:
        raise UsageError(f"{text!r} is no percentage", "write how much slower it may be, as --max-regress 10%")
    return float(found[1])


def read(path: Path) -> dict[str, Any]:
    """Reads what `mlcycle bench --out` wrote.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    hint = "name a file that mlcycle bench --out FILE wrote"
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as problem:
        raise InputError(f"the baseline {path} cannot be read: {problem.strerror}", hint) from None
    except ValueError:
        raise InputError(f"the baseline {path} is no JSON", hint) from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InputError(f"the baseline {path} is no measurement of mlcycle bench", hint)
    if document.get("schema_version") != SCHEMA_VERSION:
        found = document.get("schema_version")
        raise InputError(f"the baseline {path} has schema_version {found!r}, not {SCHEMA_VERSION}", "measure it again")
    figures = [_value(document, where) for _, where, _ in FIGURES.values()]
    if not all(isinstance(figure, int | float) and figure > 0 for figure in figures):
        raise InputError(
            f"the baseline {path} lacks a figure; it may not have kept up with its rate", "measure one at a lower rate"
        )
    return document


def must_compare(old: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raises InputError if two measurements are of different machines, settings or images.

    Both need the sections machine, settings and data only.
    """
    for where in SAME:
        before, after = _value(old, where), _value(now, where)
        if before != after:
            raise InputError(
                f"the baseline {path} does not compare: its {' '.join(where)} is {_said(before)}, now {_said(after)}",
                "measure a baseline here and now, with the same options: mlcycle bench --out FILE",
            )


def compare(old: dict[str, Any], now: dict[str, Any], allowed_percent: float) -> dict[str, Any]:
    """Returns allowed_percent, passed, the model's sha256 of before, and of each figure before, now and change_percent.

    change_percent is positive where the figure rose; None where it no longer exists, which does not pass.
    """
    figures = {name: _change(_value(old, where), _value(now, where)) for name, (_, where, _) in FIGURES.items()}
    passed = not any(_is_worse(name, change, allowed_percent) for name, change in figures.items())
    sha256 = _value(old, ("model", "sha256"))
    return {"allowed_percent": allowed_percent, "passed": passed, "model_sha256": sha256, "figures": figures}


def check(comparison: dict[str, Any]) -> None:
    """Raises GateError, naming each figure that has become worse by more than is allowed."""
    allowed = comparison["allowed_percent"]
    worse = [
        _sentence(name, change) for name, change in comparison["figures"].items() if _is_worse(name, change, allowed)
    ]
    if worse:
        raise GateError(
            f"slower than the baseline by more than {allowed:g} %: {'; '.join(worse)}",
            "see that nothing else ran, and measure again, for longer: --duration",
        )


def _change(before: float, after: float | None) -> dict[str, float | None]:
    change = None if after is None else round((after / before - 1) * 100, 2)
    return {"before": before, "now": after, "change_percent": change}


def _is_worse(name: str, change: dict[str, Any], allowed_percent: float) -> bool:
    _, _, direction = FIGURES[name]
    percent = change["change_percent"]
    return percent is None or percent * direction > allowed_percent


def _sentence(name: str, change: dict[str, Any]) -> str:
    what, (_, key), _ = FIGURES[name]
    unit = " ms" if key in ("p50", "p95") else " a second"
    if change["now"] is None:
        return f"the {what} was {change['before']:g}{unit}, and now so many were given up that there is none"
    return f"the {what} was {change['before']:g}{unit}, now {change['now']:g} ({change['change_percent']:+.1f} %)"


def _value(document: dict[str, Any], where: tuple[str, str]) -> Any:
    section = document.get(where[0])
    return section.get(where[1]) if isinstance(section, dict) else None


def _said(value: Any) -> str:
    return "not given" if value is None else str(value)
