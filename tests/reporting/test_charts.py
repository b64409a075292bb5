"""Charts: round ticks, thinned lines that keep their end, and escaped names."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mlcycle.evaluation.matches import match_images
from mlcycle.reporting.charts.axes import BOTTOM, LARGE, Scale
from mlcycle.reporting.charts.detection import Curve, Mark, precision_recall, score_histogram
from mlcycle.reporting.charts.series import POINTS, Series, over_steps, thin


def drawing(page):
    return ElementTree.fromstring(re.sub(r'<ul class="legend">.*', "", page))


def texts(page):
    return [each.text for each in drawing(page).iter("text")]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 12_500, [0, 2500, 5000, 7500, 10_000, 12_500]),
        (0.83, 0.86, [0.83, 0.84, 0.85, 0.86]),
        (-0.3, 0.3, [-0.2, 0, 0.2]),
    ],
)
def test_ticks_are_round_and_few(low, high, ticks):
    assert Scale(low, high, 0, 100).ticks() == pytest.approx(ticks)


def test_logarithmic_scale_has_the_ticks_that_fit():
    assert Scale(0.04, 1.2, 100, 0, is_log=True).ticks() == pytest.approx([0.1, 0.3, 1])
    assert len(Scale(0.7, 1.1, 100, 0, is_log=True).ticks()) > 2
    scale = Scale(0.01, 1, 100, 0, is_log=True)
    assert (scale.place(1), scale.place(0.1), scale.place(0.01)) == pytest.approx((0, 50, 100))


def test_long_line_is_thinned_by_means_and_reaches_its_end():
    points = [(step, float(step % 2)) for step in range(1, 10_001)]
    thinned = thin(points)
    assert len(thinned) == POINTS
    assert thinned[-1][0] == 10_000
    assert all(value == pytest.approx(0.5, abs=0.01) for _, value in thinned)
    assert thin(points[:5]) == points[:5]


def test_legend_has_the_last_value_and_axes_are_named():
    page = over_steps("Loss", [Series("loss", [(20, 2.0), (40_000, 0.5)])])
    assert drawing(page).get("aria-label") == "Loss: loss ends at 0.5"
    assert {"step", "20k", "40k", "0"} <= set(texts(page))
    assert "<b>0.5</b>" in page


def test_shares_are_in_percent_and_marks_have_titles():
    page = over_steps(
        "Waiting", [Series("waiting", [(1, 0.1), (9, 0.25)])], as_percent=True, marks=[(4, "resumed <4>")]
    )
    assert "25.0 %" in page
    assert "20 %" in texts(page)
    assert next(each.text for each in drawing(page).iter("title")) == "resumed <4>"


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [3.0, 3.0], [-1.0, 1.0], [1e-9, 2e-9], [1e12, 3e12]])
@pytest.mark.parametrize("is_log", [False, True])
@pytest.mark.parametrize("from_zero", [False, True])
def test_any_values_can_be_drawn(values, is_log, from_zero):
    points = list(enumerate(values, 1))
    page = over_steps("Any", [Series("any", points)], is_log=is_log, from_zero=from_zero)
    line = next(drawing(page).iter("polyline")).get("points")
    places = [float(each) for each in re.split("[ ,]", line)]
    assert all(0 <= each <= 400 for each in places)


def test_empty_series_draws_nothing_and_names_are_escaped():
    assert over_steps("Empty", [Series("empty", [])]) == ""
    page = over_steps('"<b>', [Series("<script>", [(1, 1.0), (2, 2.0)])])
    assert "<script>" not in page
    assert drawing(page).get("aria-label").startswith('"<b>: <script>')


def test_names_of_marks_stay_above_the_axis_and_apart():
    curve = Curve("IoU 0.50", 0.9, np.array([0.0, 1.0]), np.array([1.0, 0.9]))
    marks = [Mark("a", 0.98, 0.01), Mark("b", 0.99, 0.0), Mark("c", 0.01, 0.99), Mark("d", 0.99, 0.005)]
    svg = drawing(precision_recall("All", [curve], marks))
    heights = {each.text: float(each.get("y")) for each in svg.iter("text") if each.text in "abcd"}
    assert set(heights) == set("abcd")
    assert max(heights.values()) < LARGE[1] - BOTTOM
    left = sorted(heights[name] for name in "abd")
    assert min(np.diff(left)) >= 16
    assert "a: recall 0.98, precision 0.01" in svg.get("aria-label")


def test_histogram_bars_have_the_height_of_their_counts():
    boxes_N4 = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    found_M4 = np.concatenate([boxes_N4, boxes_N4 + 100])
    matches = match_images([(boxes_N4, np.zeros(2, bool))], [(found_M4, np.array([0.91, 0.91, 0.11, 0.52]))])
    svg = drawing(score_histogram(matches, 0.5))
    heights = [float(each.get("height")) for each in svg.iter("rect")]
    assert svg.get("aria-label") == "Scores of 2 hits and 2 false alarms"
    # One bar of two hits, and two bars of one false alarm each.
    assert heights == pytest.approx([152 * np.log10(3), 152 * np.log10(2), 152 * np.log10(2)], abs=0.06)
