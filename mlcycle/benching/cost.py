"""The price of a machine per hour → the cost of a million images."""

from __future__ import annotations

import re

from mlcycle.errors import UsageError


def price_per_hour(text: str) -> float:
    """Parses a price per hour such as 0.9/h, in any currency.

    Raises:
        UsageError: the text is not a price.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)/h", text)
    if found is None or float(found[1]) == 0:
        raise UsageError(f"{text!r} is not a price per hour", "pass the price of this machine, such as --price 0.9/h")
    return float(found[1])


def per_million(price: float, throughput: float) -> dict[str, float]:
    """Returns price_per_hour and per_million_images, in the currency of the price.

    `throughput` is in images per second, above 0. The machine is assumed to run nothing else.
    """
    return {"price_per_hour": price, "per_million_images": round(price / 3600 / throughput * 1e6, 4)}
