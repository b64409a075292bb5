"""The simulations against formulas of queueing theory, against each other, and against ciw."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mlcycle.planning import coupled, independent
from mlcycle.planning.estimate import estimate
from mlcycle.planning.service_times import ServiceTimes, pooled
from mlcycle.planning.station import Station

# Milliseconds; all loads are relative to it.
MEAN = 10.0


def exponential() -> ServiceTimes:
    shares = np.linspace(0, 1, 20_001)
    return in_random_order(-MEAN * np.log1p(-np.minimum(shares, 1 - 1e-6)))


def uniform() -> ServiceTimes:
    return in_random_order(np.linspace(0.5 * MEAN, 1.5 * MEAN, 201))


def in_random_order(values_N: np.ndarray) -> ServiceTimes:
    return ServiceTimes(np.random.default_rng(11).permutation(values_N))


def constant() -> ServiceTimes:
    return ServiceTimes(np.full(201, MEAN))


def simulate(station: Station, load: float) -> np.ndarray:
    gap = MEAN / station.workers / load
    generator = np.random.default_rng(3)
    return independent.latencies(
        station,
        lambda generator, shape: generator.standard_exponential(shape) * gap,
        400,
        warmup=1500,
        steps=1000,
        generator=generator,
    )


def erlang_c(workers: int, load: float) -> float:
    """Returns the probability that a request waits, with exponential gaps and service times."""
    busy = workers * load
    last = busy**workers / math.factorial(workers) / (1 - load)
    return last / (sum(busy**n / math.factorial(n) for n in range(workers)) + last)


@pytest.mark.parametrize(("workers", "load"), [(1, 0.8), (2, 0.85), (8, 0.9)])
def test_mean_latency_is_that_of_erlang(workers, load):
    latencies = simulate(Station(exponential(), workers), load)
    wait = erlang_c(workers, load) * MEAN / (workers * (1 - load))
    assert latencies.mean() == pytest.approx(MEAN + wait, rel=0.03)


def test_percentiles_of_one_exponential_worker_are_exponential():
    p50, p99 = (MEAN / (1 - 0.8) * -math.log(1 - share) for share in (0.5, 0.99))
    found = estimate(simulate(Station(exponential(), 1), 0.8), 1, 1.0, 0.8)
    assert found.p50 == pytest.approx(p50, rel=0.03)
    assert found.p99 == pytest.approx(p99, rel=0.05)
    assert found.p99_interval[0] < p99 < found.p99_interval[1]


def test_constant_service_times_wait_as_pollaczek_and_khinchine_say():
    load = 0.85
    latencies = simulate(Station(constant(), 1), load)
    assert latencies.mean() == pytest.approx(MEAN + load * MEAN / (2 * (1 - load)), rel=0.03)


@pytest.mark.parametrize(("queue", "load"), [(0, 0.9), (3, 0.8), (3, 2.0)])
def test_a_bounded_queue_rejects_the_share_of_the_formula(queue, load):
    latencies = simulate(Station(exponential(), 1, queue), load)
    size = queue + 1  # M/M/1/K: the probability that the system is full
    rejected = (1 - load) * load**size / (1 - load ** (size + 1))
    assert np.isinf(latencies).mean() == pytest.approx(rejected, rel=0.03)


@pytest.mark.parametrize(("workers", "queue"), [(1, None), (1, 0), (2, 1), (3, 4)])
def test_both_simulations_give_each_request_the_same_latency(workers, queue):
    station = Station(constant(), workers, queue)
    generator = np.random.default_rng(5)
    gaps_SR = generator.standard_exponential((600, 4)) * MEAN / workers / 1.1
    blocks = iter(np.split(gaps_SR, range(independent.BLOCK, 600, independent.BLOCK)))
    by_column = independent.latencies(station, lambda *_: next(blocks), 4, warmup=0, steps=600, generator=generator)
    for column in range(4):
        balancer = coupled.Fixed(np.zeros(600, int))
        alone = coupled.latencies(station, np.cumsum(gaps_SR[:, column]), 1, balancer, generator)
        assert alone == pytest.approx(by_column[:, column])
    assert np.isinf(by_column).any() == (queue is not None)


def test_least_requests_uses_all_replicas_before_one_waits():
    replicas = 5
    # Five of ten requests at once find an idle replica; the other five wait for one each.
    arrivals_N = np.repeat(np.arange(20) * 3 * MEAN, 2 * replicas)
    balancer = coupled.LeastRequests(replicas, np.random.default_rng(0))
    latencies = coupled.latencies(Station(constant(), 1), arrivals_N, replicas, balancer, np.random.default_rng(1))
    assert latencies.reshape(20, 10) == pytest.approx(np.tile([MEAN] * 5 + [2 * MEAN] * 5, (20, 1)))


def test_least_requests_forgets_completed_requests():
    balancer = coupled.LeastRequests(2, np.random.default_rng(0))
    first = balancer.choose(0.0)
    balancer.accepted(first, 5.0)
    second = balancer.choose(1.0)
    assert second != first
    balancer.accepted(second, 20.0)
    assert {balancer.choose(5.0) for _ in range(8)} == {first}


@pytest.mark.parametrize(("workers", "queue"), [(1, 2), (2, None), (3, 4)])
def test_each_request_has_the_latency_that_ciw_gives_it(workers, queue):
    ciw = pytest.importorskip("ciw")
    station = Station(uniform(), workers, queue)
    gaps = (np.random.default_rng(1).standard_exponential(2000) * MEAN / workers / 0.9).tolist()
    services = list(itertools.islice(station.service.stream(np.random.default_rng(7)), len(gaps)))
    balancer, generator = coupled.Fixed(np.zeros(len(gaps), int)), np.random.default_rng(7)
    latencies = coupled.latencies(station, np.cumsum(gaps), 1, balancer, generator)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential(gaps)],
        service_distributions=[ciw.dists.Sequential(services)],
        number_of_servers=[workers],
        queue_capacities=[float("inf") if queue is None else queue],
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(sum(gaps))
    records = simulation.get_all_records()
    answered = {round(each.arrival_date, 6): each.exit_date for each in records if each.record_type == "service"}
    rejected = {round(each.arrival_date, 6) for each in records if each.record_type == "rejection"}
    arrivals = np.cumsum(gaps)
    ours = {round(arrival, 6): arrival + latency for arrival, latency in zip(arrivals, latencies, strict=True)}
    assert len(answered) > 1700
    assert {arrival: ours[arrival] for arrival in answered} == pytest.approx(answered)
    assert rejected == {arrival for arrival, ends in ours.items() if math.isinf(ends) and arrival < sum(gaps)}
    assert bool(rejected) == (queue is not None)


@pytest.mark.slow
def test_balancing_by_least_requests_is_that_of_ciw():
    ciw = pytest.importorskip("ciw")
    ciw.seed(1)
    replicas, rate = 3, 3 * 0.6 / MEAN
    balancing = ciw.routing.LoadBalancing(destinations=[2, 3, 4])
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate)] + [None] * replicas,
        service_distributions=[ciw.dists.Deterministic(0), *[ciw.dists.Uniform(0.5 * MEAN, 1.5 * MEAN)] * replicas],
        number_of_servers=[float("inf")] + [1] * replicas,
        routing=ciw.routing.NetworkRouting([balancing, *[ciw.routing.Leave() for _ in range(replicas)]]),
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(15_000 / rate)
    expected = [each.exit_date - each.arrival_date for each in simulation.get_all_records() if each.node > 1]
    station = Station(uniform(), 1)
    generator = np.random.default_rng(7)
    arrivals_N = np.cumsum(generator.standard_exponential(100_000)) / rate
    balancer = coupled.LeastRequests(replicas, generator)
    latencies = coupled.latencies(station, arrivals_N, replicas, balancer, generator)
    assert np.mean(latencies) == pytest.approx(np.mean(expected), rel=0.03)
    assert np.quantile(latencies, [0.5, 0.99]) == pytest.approx(np.quantile(expected, [0.5, 0.99]), rel=0.08)


def test_draws_are_runs_of_the_measurement():
    service = ServiceTimes(np.arange(1000.0))
    drawn = service.draw(np.random.default_rng(1), (300, 400))
    assert np.all(np.diff(drawn, axis=0) % 1000 == 1)
    assert np.mean(drawn) == pytest.approx(service.mean, rel=0.05)
    assert len(np.unique(drawn[0])) > 300


def test_a_machine_that_is_slow_for_a_while_makes_requests_wait_longer():
    mixed = np.r_[np.full(500, 0.7 * MEAN), np.full(500, 1.3 * MEAN)]
    in_turn, in_phases = (simulate(Station(each, 1), 0.75) for each in (in_random_order(mixed), ServiceTimes(mixed)))
    assert np.quantile(in_phases, 0.99) > 1.3 * np.quantile(in_turn, 0.99)


def test_pooled_measurements_have_the_weight_of_their_requests():
    both = pooled([ServiceTimes(np.full(300, 2.0)), ServiceTimes(np.full(100, 12.0))])
    assert both.mean == pytest.approx(4.5)
    assert (both.at(0.5), both.at(0.9)) == (2, 12)


def test_percentiles_count_rejected_requests_as_slowest():
    latencies = np.tile(np.r_[np.arange(1.0, 96.0), np.full(5, np.inf)], (2, 1)).T
    found = estimate(latencies, 1, 10.0, 0.8)
    assert (found.p50, found.p99, found.rejected) == (50, math.inf, pytest.approx(0.05))
    assert found.answered_p99 == 95
    assert found.utilisation == pytest.approx(0.76)
    assert found.as_dict()["p99_ms"] is None
    assert not found.keeps(1e9)
