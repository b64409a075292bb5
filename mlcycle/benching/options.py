"""What a user chose → the plan of a measurement; what does not fit together is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mlcycle.benching import scenarios
from mlcycle.benching.sending.arrivals import POISSON, UNIFORM
from mlcycle.benching.sending.load import Load
from mlcycle.errors import UsageError

# Connections to a server, unless chosen: so many that requests wait at the server, as those of its users do.
CONNECTIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure.

    Attributes:
        load: the load and its duration; for a search, its rate is None.
        warmup_seconds: duration of the warm-up; 0 for none.
        threads: threads of the model, as given to the detector; None if onnxruntime chooses, or for a server.
        cold_starts: number of processes to start.
        price: price of this machine per hour, or None.
        scenario: one of mlcycle.benching.scenarios, or None.
        limit_ms: the latency that the p99 must keep, or None.
        find_rate: whether to search for the highest rate that keeps it.
    """

    load: Load
    warmup_seconds: float = 1.0
    threads: int | None = None
    cold_starts: int = 5
    price: float | None = None
    scenario: str | None = None
    limit_ms: float | None = None
    find_rate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user chose; None where nothing was.

    Attributes:
        of_server: whether a server is measured.
        seconds, warmup_seconds: durations.
        scenario: one of mlcycle.benching.scenarios.
        concurrency: images processed at once, or connections.
        rate: requests per second.
        arrivals: "uniform" or "poisson".
        seed: of Poisson arrivals.
        samples: images of a query in multi-stream.
        limit_ms: the latency that the p99 must keep.
        find_rate: search for the highest rate that keeps it.
        threads: of the model.
        cold_starts: number of processes to start.
        price: of this machine per hour.
    """

    of_server: bool = False
    seconds: float = 10.0
    warmup_seconds: float = 1.0
    scenario: str | None = None
    concurrency: int | None = None
    rate: float | None = None
    arrivals: str | None = None
    seed: int | None = None
    samples: int | None = None
    limit_ms: float | None = None
    find_rate: bool = False
    threads: int | None = None
    cold_starts: int = 0
    price: float | None = None

    def plan(self, cores: int) -> Plan:
        """Returns the plan of the measurement, in a process that may use so many cores.

        Raises:
            UsageError: options do not fit together.
        """
        scenario = scenarios.SERVER if self.find_rate and self.scenario is None else self.scenario
        _check(self, scenario)
        samples = (self.samples or scenarios.SAMPLES_PER_QUERY) if scenario == scenarios.MULTI_STREAM else None
        concurrency = self.concurrency or self._concurrency(scenario, cores, samples)
        arrivals = POISSON if scenario == scenarios.SERVER else self.arrivals or UNIFORM
        one_each = self.threads is None and scenario is not None and concurrency > 1 and not self.of_server
        return Plan(
            load=Load(self.seconds, concurrency, self.rate, arrivals, self.seed or 0, samples),
            warmup_seconds=self.warmup_seconds,
            threads=1 if one_each else self.threads,
            cold_starts=self.cold_starts,
            price=self.price,
            scenario=scenario,
            limit_ms=self.limit_ms,
            find_rate=self.find_rate,
        )

    def _concurrency(self, scenario: str | None, cores: int, samples: int | None) -> int:
        """Returns how many images are processed at once by default."""
        if samples is not None:
            return samples if self.of_server else min(samples, cores)
        several = scenario in (scenarios.SERVER, scenarios.OFFLINE) or (self.of_server and self.rate is not None)
        return (CONNECTIONS if self.of_server else cores) if several else 1


def _check(chosen: Options, scenario: str | None) -> None:
    for refused, sentence, hint in (*_of_rates(chosen, scenario), *_of_scenarios(chosen, scenario)):
        if refused:
            raise UsageError(sentence, hint)


def _of_rates(chosen: Options, scenario: str | None) -> Iterator[tuple[bool, str, str]]:
    """Yields whether something is refused, why, and what to do instead."""
    server, rated, finds = scenario == scenarios.SERVER, chosen.rate is not None, chosen.find_rate
    yield finds and not server, f"the scenario {scenario} has no rate to find", "pass --scenario server"
    yield finds and rated, "a search finds the rate itself", "leave out --rate or --find-rate"
    yield finds and chosen.limit_ms is None, "a search for the highest rate needs a limit", "pass --p99 100ms"
    missing = server and not rated and not finds
    yield missing, "the server scenario needs a rate", "pass --rate R, or --find-rate --p99 100ms"
    unrated = scenario not in (None, scenarios.SERVER)
    yield unrated and rated, f"the scenario {scenario} takes no rate", "pass --scenario server"
    yield chosen.arrivals is not None and not rated, "arrivals need a rate", "pass --rate R"


def _of_scenarios(chosen: Options, scenario: str | None) -> Iterator[tuple[bool, str, str]]:
    """Yields whether something is refused, why, and what to do instead."""
    server, uniform = scenario == scenarios.SERVER, chosen.arrivals == UNIFORM
    yield server and uniform, "the server scenario has Poisson arrivals", "leave out --scenario or --arrivals"
    seeded = chosen.seed is not None and not server and chosen.arrivals != POISSON
    yield seeded, "a seed needs Poisson arrivals", "pass --arrivals poisson"
    several = chosen.samples is not None and scenario != scenarios.MULTI_STREAM
    yield several, "only multi-stream has queries of several images", "pass --scenario multi-stream"
    limited = chosen.limit_ms is not None and not server
    yield limited, "a limit of the p99 needs the server scenario", "pass --scenario server --rate R, or --find-rate"
    crowded = scenario == scenarios.SINGLE_STREAM and chosen.concurrency not in (None, 1)
    yield crowded, "single-stream has one image at a time", "leave out --concurrency or --scenario"


def milliseconds(text: str) -> float:
    """Parses a duration such as 100ms or 0.5s.

    Raises:
        UsageError: the text is not a duration above 0.
    """
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) ?(ms|s)", text)
    if found is None or float(found[1]) == 0:
        raise UsageError(f"{text!r} is not a duration", "pass one such as 100ms or 0.5s")
    return float(found[1]) * (1000 if found[2] == "s" else 1)
