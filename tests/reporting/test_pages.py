"""Pages: escaped values, errors for missing values, and numbers as text."""

from __future__ import annotations

import jinja2
import pytest
from markupsafe import Markup

from mlcycle.evaluation.bootstrap import Interval
from mlcycle.reporting import pages

NAN = float("nan")
VALUES = {
    "title": "<b>1 & 2</b>",
    "names": ["<i>", "b"],
    "is_same_data": True,
    "data_note": "",
    "metrics": [("AP50", ["0.5", "<u>"])],
    "recipe": [],
    "curves": [("loss", Markup("<svg/>"))],
}


def test_values_are_escaped_and_markup_is_not() -> None:
    page = pages.render("comparison.html", **VALUES)
    assert page.count("&lt;b&gt;1 &amp; 2&lt;/b&gt;") == 2  # title and heading
    assert "&lt;i&gt;" in page
    assert "&lt;u&gt;" in page
    assert not any(tag in page for tag in ("<b>", "<i>", "<u>"))
    assert "<svg/>" in page


def test_missing_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'data_note' is undefined"):
        pages.render("comparison.html", **{name: value for name, value in VALUES.items() if name != "data_note"})


def test_undefined_numbers_are_dashes() -> None:
    assert (pages.share(0.12345), pages.share(NAN), pages.share(None)) == ("0.123", "–", "–")
    assert (pages.percent(0.1234), pages.percent(NAN)) == ("12.3 %", "–")
    assert pages.interval(Interval(0.1, 0.25)) == "0.100 to 0.250"
    assert pages.interval(Interval(NAN, NAN)) == "–"


def test_units_are_small() -> None:
    assert pages.small_units("1 h 46 min") == Markup("1<i>h</i> 46<i>min</i>")
    assert pages.small_units("<3>") == Markup("&lt;3&gt;")
