"""Parses JSON from an untrusted file; anything that two parsers could read differently is refused."""

from __future__ import annotations

import json
import math
from typing import Any

# A contract has five levels. A thousand would overflow the stack of a recursive reader.
MAX_DEPTH = 50


def loads(text: str) -> Any:
    """Parses a JSON text.

    Raises:
        ValueError: it is not JSON, repeats a key within an object, has a number that is not finite, or is nested deeper
            than MAX_DEPTH.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None
    _check_depth(value, MAX_DEPTH)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("a repeated key")
    return unique


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number that is not finite")
    return value


def _check_depth(value: Any, levels: int) -> None:
    if not levels:
        raise ValueError("nested too deep")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(each, levels - 1)
