"""When requests are due: evenly spaced, or at random."""

from __future__ import annotations

from itertools import pairwise

import pytest
from scipy import stats

from mlcycle.benching.sending.arrivals import due_times


def test_uniform_arrivals_are_evenly_spaced():
    assert list(due_times("uniform", 4, 1)) == [0, 0.25, 0.5, 0.75]
    assert list(due_times("uniform", 0.5, 1)) == [0]
    assert len(due_times("uniform", 30, 0.1)) == 3


def test_a_seed_gives_the_same_poisson_arrivals_and_another_seed_others():
    first = list(due_times("poisson", 50, 2, seed=1))
    assert first == list(due_times("poisson", 50, 2, seed=1))
    assert first != list(due_times("poisson", 50, 2, seed=2))
    assert (len(first), first) == (100, sorted(first))
    assert 0 <= first[0] < first[-1] < 2


def test_the_gaps_between_poisson_arrivals_are_exponential():
    times = due_times("poisson", 20, 1000, seed=5)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert stats.kstest(gaps, "expon", args=(0, 1 / 20)).pvalue > 0.01
    each_second = [0] * 1000
    for time in times:
        each_second[int(time)] += 1
    assert stats.tvar(each_second) == pytest.approx(20, rel=0.15)  # as of a Poisson distribution; of even gaps it is 0
