"""Predicts what a load does to some replicas: chooses how to simulate them, and for how long."""

from __future__ import annotations

import math

import numpy as np

from mlcycle.planning import coupled, independent
from mlcycle.planning.estimate import Estimate, estimate
from mlcycle.planning.kinds import Kind
from mlcycle.planning.requirements import LEAST_REQUESTS, RANDOM, Requirements, mean_rate
from mlcycle.planning.station import Station

# Simulated requests: of independent replicas as COLUMNS groups, of coupled ones as BATCHES.
STEPS, COLUMNS = 1000, 1000
COUPLED_REQUESTS, BATCHES = 200_000, 20
# Repetitions of the same arrivals.
REPEATS = 200
# The warm-up: so many relaxation times, and at most so many arrivals at a replica, or at all that are coupled.
RELAXATIONS, LONGEST_WARMUP, LONGEST_COUPLED_WARMUP = 5, 20_000, 400_000


def predict(kind: Kind, requirements: Requirements, replicas: int, rate: float) -> Estimate:
    """Simulates at least one replica under `rate` requests per second in all, in the steady state.

    Recorded arrivals are compressed or stretched to the rate, and find empty replicas at first.
    """
    station = Station(kind.service, kind.workers, requirements.queue)
    offered = rate / (replicas * station.capacity)
    if requirements.recorded_N is None and requirements.balancing != LEAST_REQUESTS:
        latencies_SG = _independent(station, requirements, replicas, rate)
    else:
        latencies_SG = _coupled(station, requirements, replicas, rate)
    return estimate(latencies_SG + kind.overhead_ms, replicas, rate, offered)


def repeat(kind: Kind, arrivals_N: np.ndarray, queue: int | None, seed: int) -> np.ndarray:
    """Simulates the same arrivals at one replica REPEATS times, each with other service times.

    Args:
        arrivals_N: milliseconds, in order; the replica is empty at first.

    Returns:
        latencies_NR: milliseconds, inf if rejected; a column is a repetition.
    """
    gaps_N1 = iter(np.diff(arrivals_N, prepend=0.0)[:, None])

    def gaps(generator: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        return np.repeat(np.stack([next(gaps_N1) for _ in range(size[0])]), size[1], axis=1)

    station, generator = Station(kind.service, kind.workers, queue), np.random.default_rng(seed)
    found = independent.latencies(station, gaps, REPEATS, warmup=0, steps=len(arrivals_N), generator=generator)
    return found + kind.overhead_ms


def _independent(station: Station, requirements: Requirements, replicas: int, rate: float) -> np.ndarray:
    """Simulates COLUMNS copies of one replica: its own Poisson stream, or every n-th arrival of the whole stream."""
    gap = 1000 / rate
    shape, scale = (1, gap * replicas) if requirements.balancing == RANDOM else (replicas, gap)

    def gaps(generator: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        return generator.standard_gamma(shape, size) * scale

    warmup = min(_warmup(station, rate / replicas), LONGEST_WARMUP)
    generator = np.random.default_rng(requirements.seed)
    return independent.latencies(station, gaps, COLUMNS, warmup=warmup, steps=STEPS, generator=generator)


def _coupled(station: Station, requirements: Requirements, replicas: int, rate: float) -> np.ndarray:
    generator = np.random.default_rng(requirements.seed)
    if requirements.recorded_N is None:
        warmup = min(_warmup(station, rate / replicas) * replicas, LONGEST_COUPLED_WARMUP)
        arrivals_N = np.cumsum(generator.standard_exponential(warmup + COUPLED_REQUESTS)) * 1000 / rate
    else:
        warmup, arrivals_N = 0, requirements.recorded_N * mean_rate(requirements.recorded_N) / rate
    balancer = _balancer(requirements.balancing, replicas, len(arrivals_N), generator)
    latencies_N = coupled.latencies(station, arrivals_N, replicas, balancer, generator)[warmup:]
    whole = len(latencies_N) // BATCHES * BATCHES
    return latencies_N[-whole:].reshape(BATCHES, -1).T


def _balancer(balancing: str, replicas: int, requests: int, generator: np.random.Generator) -> coupled.Balancer:
    if balancing == LEAST_REQUESTS:
        return coupled.LeastRequests(replicas, generator)
    if balancing == RANDOM:
        return coupled.Fixed(generator.integers(replicas, size=requests))
    return coupled.Fixed(np.arange(requests) % replicas)


def _warmup(station: Station, rate: float) -> int:
    """Returns the arrivals at one replica until its queue, empty at first, is steady.

    At utilisation u the relaxation time of a queue is about u / (1 - sqrt(u))^2 arrivals for exponential gaps and
    service times, and longer if these vary more. An overloaded one is full after as many arrivals as it holds, divided
    by the share of them that is too much.
    """
    load = rate / station.capacity
    if load < 1:
        steady = load / (1 - math.sqrt(load)) ** 2 * max(1.0, (1 + station.service.squared_variation) / 2)
    else:
        steady = station.queue / (load - 1) if station.queue is not None and load > 1 else math.inf
    return RELAXATIONS * math.ceil(min(steady, LONGEST_WARMUP) + station.workers)
