"""Protocol buffers' wire format, as far as it takes to look into a model file without trusting a parser to it.

The format is Google's, https://protobuf.dev/programming-guides/encoding: a message is a row of fields, each a number
and a value; what the numbers mean is for the caller to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
_WIDTHS = {EIGHT_BYTES: 8, FOUR_BYTES: 4}
# What is above, parsers cut off in silence, so that a field or a value would be another one to them.
_MOST_TAG, _MOST_VALUE = (1 << 32) - 1, (1 << 64) - 1


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: which field of the message it is.
        kind: how its value is written, VARINT or LENGTH or as so many bytes. A parser takes a field that is of another
            kind than it should be for one that it does not know, and passes over it.
        value: an integer, or where its bytes begin in the data if it has a length (a text, a message, packed numbers).
        begin, end: where the field lies in the data, its number included.
    """

    number: int
    kind: int
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
        start, tag, place = place, data[place], place + 1
        if tag > 0x7F:  # hardly ever; to ask first saves a tenth of the time
            tag, place = _varint(data, start, end)
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
        if place > end or not number or tag > _MOST_TAG:
            raise BrokenMessageError("a field that ends behind its message, or has no number")
        yield Field(number, kind, value, start, place)


def numbers(data: bytes, each: Field, most: int) -> list[int]:
    """Returns the values of a field of a repeated number: a single one, or all of them packed into it.

    Raises:
        BrokenMessageError: the field holds something else, or more than `most`.
    """
    if each.kind == VARINT:
        return [each.value]
    if each.kind != LENGTH:
        raise BrokenMessageError("a fraction where whole numbers should be")
    values, place = [], each.value
    while place < each.end:
        value, place = _varint(data, place, each.end)
        values.append(value)
        if len(values) > most:
            raise BrokenMessageError("too many numbers")
    return values


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
        if byte < 0x80 and value <= _MOST_VALUE:
            return value, behind
        shift += 7
    raise BrokenMessageError("a number that does not end")
