"""A reader of the protocol buffers wire format, enough to inspect a model file without trusting a parser.

The format is described at https://protobuf.dev/programming-guides/encoding: a message is a sequence of fields, each
with a number and a value. The caller knows what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
_WIDTHS = {EIGHT_BYTES: 8, FOUR_BYTES: 4}
# Parsers silently truncate larger numbers, and would then read another field or value.
_MAX_TAG, _MAX_VALUE = (1 << 32) - 1, (1 << 64) - 1


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: the field number.
        kind: the wire type: VARINT, LENGTH, FOUR_BYTES or EIGHT_BYTES. A parser skips a field of an unexpected wire
            type as unknown.
        value: an integer, or the offset of its bytes if it has a length (a text, a message, packed numbers).
        begin, end: the field's byte range in the data, its number included.
    """

    number: int
    kind: int
    value: int
    begin: int
    end: int


class BrokenMessageError(ValueError):
    """The bytes are not a message."""


def fields(data: bytes, begin: int, end: int) -> Iterator[Field]:
    """Yields the fields of the message in data[begin:end].

    Raises:
        BrokenMessageError: it is not a message.
    """
    offset = begin
    while offset < end:
        start, tag, offset = offset, data[offset], offset + 1
        if tag > 0x7F:  # rare; testing first saves a tenth of the time
            tag, offset = _varint(data, start, end)
        number, kind = tag >> 3, tag & 7
        if kind == LENGTH:
            length, value = _varint(data, offset, end)
            offset = value + length
        elif kind == VARINT:
            value, offset = _varint(data, offset, end)
        elif kind in _WIDTHS:
            value, offset = offset, offset + _WIDTHS[kind]
        else:
            raise BrokenMessageError(f"a field of the unknown wire type {kind}")
        if offset > end or not number or tag > _MAX_TAG:
            raise BrokenMessageError("a field that ends beyond its message, or has no number")
        yield Field(number, kind, value, start, offset)


def numbers(data: bytes, field: Field, limit: int) -> list[int]:
    """Returns the values of a repeated number field: a single one, or all of them if packed.

    Raises:
        BrokenMessageError: the field has another type, or more than `limit` values.
    """
    if field.kind == VARINT:
        return [field.value]
    if field.kind != LENGTH:
        raise BrokenMessageError("a fixed-width number in place of integers")
    values, offset = [], field.value
    while offset < field.end:
        value, offset = _varint(data, offset, field.end)
        values.append(value)
        if len(values) > limit:
            raise BrokenMessageError("too many numbers")
    return values


def _varint(data: bytes, offset: int, end: int) -> tuple[int, int]:
    """Returns the number at an offset, seven bits a byte, and the offset after it."""
    if offset >= end:
        raise BrokenMessageError("a truncated message")
    byte = data[offset]
    if byte < 0x80:  # nearly always
        return byte, offset + 1
    value = shift = 0
    for after, byte in enumerate(data[offset : min(offset + 10, end)], offset + 1):
        value |= (byte & 0x7F) << shift
        if byte < 0x80 and value <= _MAX_VALUE:
            return value, after
        shift += 7
    raise BrokenMessageError("a number that does not end")
