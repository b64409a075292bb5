"""What a machine costs an hour → what a million images cost on it."""

from __future__ import annotations

import re

from mlcycle.errors import UsageError


def price_an_hour(text: str) -> float:
    """Reads a price such as 0.9/h: of this machine, for an hour, in any currency.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)/h", text)
    if found is None or float(found[1]) == 0:
        raise UsageError(f"{text!r} is no price of an hour", "write what this machine costs an hour, as --price 0.9/h")
    return float(found[1])


def a_million(price: float, throughput: float) -> dict[str, float]:
    """Returns price_per_hour and per_million_images, in the currency of the price.

    `throughput` is images a second, more than 0, and the machine is taken to do nothing else.
    """
    return {"price_per_hour": price, "per_million_images": round(price / 3600 / throughput * 1e6, 4)}
