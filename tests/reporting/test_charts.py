"""Charts: round ticks, thinned lines that keep their end, and escaped names."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mlcycle.evaluation.matches import match_images
from mlcycle.reporting.charts.axes import BOTTOM, LARGE, SMALL, TOP, Scale, score_range, tick_label
from mlcycle.reporting.charts.detection import Curve, Mark, precision_recall, score_histogram
from mlcycle.reporting.charts.series import POINTS, Series, Trials, over_steps, over_values, thin


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
def test_any_values_can_be_drawn(values, is_log):
    points = list(enumerate(values, 1))
    page = over_steps("Any", [Series("any", points)], is_log=is_log)
    line = next(drawing(page).iter("polyline")).get("points")
    places = [float(each) for each in re.split("[ ,]", line)]
    assert all(0 <= each <= 400 for each in places)


@pytest.mark.parametrize(
    ("scores", "ends"),
    [
        ([0.674, 0.644, 0.663], (0.559, 0.759)),  # a run from trained weights: its noise spans a seventh of the axis
        ([0.02, 0.06], (0.0, 0.2)),
        ([0.99, 0.97], (0.8, 1.0)),
        ([0.5], (0.4, 0.6)),
        ([0.1, 0.7], (0.064, 0.736)),
        ([0.0, 1.0], (0.0, 1.0)),
    ],
)
def test_axis_of_scores_is_never_so_fine_that_chance_looks_like_a_trend(scores, ends):
    assert score_range(scores) == pytest.approx(ends)
    page = over_steps("AP", [Series("AP", list(enumerate(scores)))], is_score=True)
    heights = [float(each.get("cy")) for each in drawing(page).iter("circle")]
    share = (max(heights) - min(heights)) / (SMALL[1] - TOP - BOTTOM)
    assert share == pytest.approx((max(scores) - min(scores)) / (ends[1] - ends[0]), abs=0.01)


def test_single_runs_are_not_joined_by_a_line():
    single = Trials("zoom a", [[0.40], [0.41], []])
    page = over_values("AP50", ["1", "2", "3"], [single, Trials("zoom b", [[0.42], [], [0.40]])])
    assert not list(drawing(page).iter("polyline"))
    assert not list(drawing(page).iter("path"))
    assert len(list(drawing(page).iter("circle"))) == 4
    assert drawing(page).get("aria-label") == "AP50: zoom a: 1 0.400, 2 0.410; zoom b: 1 0.420, 3 0.400"
    assert 'class="sample"' not in page  # no line in the legend either


def test_means_of_several_runs_have_error_bars_and_lines_only_between_them():
    page = over_values("AP50", ["1", "2", "3"], [Trials("all", [[0.40, 0.44], [0.46, 0.44], [0.48]])])
    svg = drawing(page)
    assert [each.text for each in svg.iter("title")][:2] == ["all, 1: 0.4200 ± 0.0283", "all, 2: 0.4500 ± 0.0141"]
    [line] = svg.iter("polyline")
    assert len(line.get("points").split()) == 2
    bars = [[float(each) for each in re.findall(r"[-\d.]+", bar.get("d"))] for bar in svg.iter("path")]
    lengths = [bottom - top for _, top, bottom, *_ in bars]
    assert lengths[0] / lengths[1] == pytest.approx(2, abs=0.02)
    assert all(TOP <= end <= SMALL[1] - BOTTOM for _, top, bottom, *_ in bars for end in (top, bottom))


@pytest.mark.parametrize(
    ("value", "label"),
    [(0, "0"), (0.00075, "7.5e-4"), (0.00025, "2.5e-4"), (2e-5, "2e-5"), (0.001, "0.001"), (12_500, "12.5k")],
)
def test_tick_labels_fit_beside_the_axis(value, label):
    assert tick_label(value) == label


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
