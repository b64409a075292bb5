"""JSON out of a file that nobody trusts yet: what two readers could understand in two ways is refused."""

from __future__ import annotations

import json
import math
from typing import Any

# A contract has five levels. A thousand would end whoever walks through them.
DEEPEST = 50


def loads(text: str) -> Any:
    """Reads a text of JSON.

    Raises:
        ValueError: it is none, names something twice in one object, holds what is no number or too large for one, or is
            nested deeper than DEEPEST.
    """
    try:
        value = json.loads(text, object_pairs_hook=_named_once, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None
    _must_be_shallow(value, DEEPEST)
    return value


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError("a name twice in one object")
    return named


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("no number, or too large for one")
    return value


def _must_be_shallow(value: Any, levels: int) -> None:
    if not levels:
        raise ValueError("nested too deep")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _must_be_shallow(each, levels - 1)
