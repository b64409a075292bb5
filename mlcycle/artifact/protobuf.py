"""Protocol buffers' wire format, as far as it takes to look into a model file without trusting a parser to it.

The format is Google's, https://protobuf.dev/programming-guides/encoding: a message is a row of fields, each a number
and a value; what the numbers mean is for the caller to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
_WIDTHS = {EIGHT_BYTES: 8, FOUR_BYTES: 4}


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: which field of the message it is.
        value: an integer, or where its bytes begin in the data if it has a length (a text, a message, packed numbers).
        begin, end: where the field lies in the data, its number included.
    """

    number: int
    value: int
    begin: int
    end: int


class BrokenMessageError(ValueError):
    """The bytes are no message."""


def fields(data: bytes, begin: int, end: int) -> Iterator[Field]:
    """Yields the fields of the message that lies in data[begin:end].

    Raises:
        BrokenMessageError: it is none.
    """
    place = begin
    while place < end:
        start = place
        tag, place = _varint(data, place, end)
        number, kind = tag >> 3, tag & 7
        if kind == LENGTH:
            length, value = _varint(data, place, end)
            place = value + length
        elif kind == VARINT:
            value, place = _varint(data, place, end)
        elif kind in _WIDTHS:
            value, place = place, place + _WIDTHS[kind]
        else:
            raise BrokenMessageError(f"a field of the unknown kind {kind}")
        if place > end or not number:
            raise BrokenMessageError("a field that ends behind its message")
        yield Field(number, value, start, place)


def _varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    """Returns the number at a place, seven bits a byte, and the place behind it."""
    if place >= end:
        raise BrokenMessageError("a message that is cut short")
    byte = data[place]
    if byte < 0x80:  # nearly always
        return byte, place + 1
    value = shift = 0
    for behind, byte in enumerate(data[place : min(place + 10, end)], place + 1):
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, behind
        shift += 7
    raise BrokenMessageError("a number that does not end")
