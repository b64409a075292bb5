"""Facts of a run for its report: where its time went, and in which environments it ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcycle.training.run.run_summary import STEPS, RunSummary

# Keys of environment.json that the report shows elsewhere.
SHOWN_ELSEWHERE = ("data", "resumed", "packages", "step")


@dataclass(frozen=True, slots=True)
class TimePart:
    """A part of a run's time: its duration, its share of all time, and its share of the steps' time, if it is in it."""

    name: str
    duration: str
    share: float
    share_of_steps: float | None


def time_by_part(summary: RunSummary) -> list[TimePart]:
    """Returns the parts of a run's time; nothing if no time was measured."""
    parts = summary.seconds_by_part()
    total, steps = sum(parts.values()), sum(parts[name] for name in STEPS)
    return [
        TimePart(name, duration(seconds), seconds / total, seconds / steps if name in STEPS and steps else None)
        for name, seconds in parts.items()
        if total
    ]


def environments(summary: RunSummary) -> list[tuple[str, dict[str, str]]]:
    """Returns heading and facts about the data, the environment, and what changed in it where the run was resumed."""
    sections = [("Data", _texts(summary.data)), ("Environment", _facts(summary.environment))]
    sections = [(heading, facts) for heading, facts in sections if facts]
    for part in summary.resumed:
        heading, changed = f"Resumed at step {part.get('step', '?')}", _changes(summary.environment, part)
        sections.append((f"{heading}, with another" if changed else heading, changed))
    return sections


def _facts(environment: dict[str, Any]) -> dict[str, str]:
    facts = {key: value for key, value in environment.items() if key not in SHOWN_ELSEWHERE}
    packages = environment.get("packages")
    if isinstance(packages, dict):
        facts["packages"] = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    return _texts(facts)


def _changes(first: dict[str, Any], later: dict[str, Any]) -> dict[str, str]:
    before = _facts(first)
    return {key: value for key, value in _facts(later).items() if before.get(key) != value and key != "started from"}


def _texts(facts: dict[str, Any]) -> dict[str, str]:
    return {key.replace("_", " "): _text(value) for key, value in facts.items() if value is not None}


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def duration(seconds: float) -> str:
    """Returns a duration in its two largest units: 1 h 46 min, 4 min 20 s, 3.2 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
