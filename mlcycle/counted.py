"""Numbers with their nouns in sentences for people."""

from __future__ import annotations


def counted(number: float, noun: str, nouns: str = "") -> str:
    """Returns "1 face", "1,234 faces" or "0.05 faces"; `nouns` is the plural if it is not the noun with an s."""
    text = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{text} {noun if number == 1 else nouns or noun + 's'}"
