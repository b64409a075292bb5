"""HTML pages from Jinja2 templates: one file each, which loads nothing and runs no script.

All values are escaped unless they are Markup, such as a chart. A name that a template uses and nobody passes is an
error.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mlcycle.evaluation.bootstrap import Interval


def render(template: str, **values: Any) -> str:
    """Returns the page of a template in mlcycle/reporting/templates."""
    return _environment().get_template(template).render(values)


def style() -> str:
    """Returns the style that all pages share, for a page that is not made from a template."""
    source, _, _ = PackageLoader("mlcycle.reporting").get_source(_environment(), "page.css")
    return source


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mlcycle.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "interval": interval,
        "number": "{:,}".format,
        "percent": percent,
        "share": share,
        "small_units": small_units,
        "words": lambda name: name.replace("_", " "),
    }
    return environment


def share(value: float | None, digits: int = 3) -> str:
    """Returns a number of 0 to 1, or a dash for none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def percent(value: float) -> str:
    """Returns a share in percent, or a dash for NaN."""
    return "–" if math.isnan(value) else f"{value * 100:.1f} %"


def interval(interval: Interval) -> str:
    """Returns both ends of an interval, or a dash for NaN."""
    return "–" if math.isnan(interval.least) else f"{interval.least:.3f} to {interval.most:.3f}"


def small_units(value: str) -> Markup:
    """Returns "1 h 46 min" with its units in small type."""
    number, *rest = value.split()
    return Markup("").join(
        [
            number,
            *(Markup(" {}").format(word) if word[0].isdigit() else Markup("<i>{}</i>").format(word) for word in rest),
        ]
    )
