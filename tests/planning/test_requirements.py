"""Rates, durations, prices and recorded arrivals as text."""

from __future__ import annotations

import pytest

from mlcycle.errors import InputError, UsageError
from mlcycle.planning import requirements


def test_rates_and_durations_have_units():
    assert [requirements.rate_per_second(text) for text in ("300/s", "18000/min", "1e6/s", "1.8e3/h")] == pytest.approx(
        [300, 300, 1e6, 0.5]
    )
    assert [requirements.milliseconds(text) for text in ("100ms", "0.1s", "1.5 s")] == pytest.approx([100, 100, 1500])
    for text in ("300", "0/s", "-3/s", "nan/s", "3/day", "", "1e99/s/s"):
        with pytest.raises(UsageError, match="is not a rate"):
            requirements.rate_per_second(text)
    for text in ("100", "0ms", "1h", "inf ms"):
        with pytest.raises(UsageError, match="is not a duration"):
            requirements.milliseconds(text)


def test_a_price_is_of_one_kind_or_of_all():
    names = ["small", "big"]
    assert requirements.prices(["0.09/h"], names) == {"small": 0.09, "big": 0.09}
    assert requirements.prices(["big=0.4/h", "0.09/h"], names) == {"small": 0.09, "big": 0.4}
    assert requirements.prices([], names) == {}
    for texts in (["huge=1/h"], ["0.09"], ["big=0"]):
        with pytest.raises(UsageError):
            requirements.prices(texts, names)


def test_recorded_arrivals_are_times_in_seconds(tmp_path):
    file = tmp_path / "arrivals.txt"
    file.write_text("# seconds\n\n" + "\n".join(str(1.7e9 + number / 50) for number in reversed(range(2001))))
    times_N = requirements.recorded_arrivals(file)
    assert (len(times_N), times_N[0], times_N[-1]) == (2001, 0, pytest.approx(40_000))
    assert requirements.mean_rate(times_N) == pytest.approx(50)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\n2\n3", "has 3 arrivals, too few for a p99"),
        ("yesterday\n" * 2000, "are not numbers"),
        ("5\n" * 2000, "are not spread over a finite time"),
        ("nan\n" * 2000, "are not spread over a finite time"),
    ],
)
def test_other_arrivals_are_refused(tmp_path, content, message):
    file = tmp_path / "arrivals.txt"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        requirements.recorded_arrivals(file)
