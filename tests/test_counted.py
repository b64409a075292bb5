"""Numbers with their nouns."""

from __future__ import annotations

import pytest

from mlcycle.counted import counted


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 boxes"), (1, "1 box"), (1.0, "1 box"), (0.05, "0.05 boxes"), (1234, "1,234 boxes")]
)
def test_one_is_singular(number: float, expected: str) -> None:
    assert counted(number, "box", "boxes") == expected
