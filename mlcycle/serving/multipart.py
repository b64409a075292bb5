"""Splits a multipart body into its files: in memory, and without a parser that takes seconds for a hostile one."""

from __future__ import annotations

import re
from email.message import Message
from email.parser import HeaderParser

from mlcycle.serving.problems import RequestError

MAX_PARTS = 64
_MAX_PART_HEAD_BYTES = 1 << 13
# As RFC 2046 has it; and what is allowed there needs no escaping.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


def files_of(body: bytes, content_type: str) -> list[tuple[str, bytes]]:
    """Returns the name and the bytes of each file in a multipart body; "" for a file without a name.

    A part is a file if it has a file name, or a content type other than text.

    Raises:
        RequestError: 400, the body is malformed, has no file, a part that is no file, or too many.
    """
    delimiter = b"\r\n--" + _boundary(content_type)
    files: list[tuple[str, bytes]] = []
    position = 0 if body.startswith(delimiter[2:]) else _found(body, delimiter, 0) + 2
    position += len(delimiter) - 2
    while not body.startswith(b"--", position):
        if len(files) == MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        start = _found(body, b"\r\n", position)
        if body[position:start].strip(b" \t"):
            raise _malformed("a line that starts with its boundary goes on")
        end = _found(body, delimiter, start + 2)
        files.append(_file(body, start + 2, end))
        position = end + len(delimiter)
    if not files:
        raise _malformed("it has no file")
    return files


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary):
        raise _malformed("its content type has no boundary of 1 to 70 characters")
    return boundary.encode()


def _file(body: bytes, start: int, end: int) -> tuple[str, bytes]:
    """Returns the file of the part from `start` to `end`."""
    head_end = body.find(b"\r\n\r\n", start, end)
    if not 0 <= head_end - start <= _MAX_PART_HEAD_BYTES:
        raise _malformed("a part of it has no headers, or too large ones")
    headers = HeaderParser().parsestr(body[start:head_end].decode("utf-8", "replace"))
    if headers.get_content_disposition() != "form-data":
        raise _malformed("a part of it is not form-data")
    name = headers.get_param("filename", header="content-disposition")
    if isinstance(name, tuple):  # filename*, which RFC 7578 does not allow and some clients send
        name = name[2].encode("latin-1", "replace").decode("utf-8", "replace")
    if name is None and headers.get_content_maintype() == "text":
        raise _malformed("a part of it is not a file; parameters belong into the address: ?threshold=0.5")
    return name or "", body[head_end + 4 : end]


def _found(body: bytes, wanted: bytes, start: int) -> int:
    position = body.find(wanted, start)
    if position < 0:
        raise _malformed("it has no boundary, or no end")
    return position


def _malformed(why: str) -> RequestError:
    return RequestError(400, "bad-request", f"the multipart body is malformed: {why}")
