"""Broken and hostile requests, each with the answer that it must get."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hostile_files import AMBIGUOUS_JSON
from raw_client import HOST

INFER = "/v2/models/face-nano/infer"
HEADER_LENGTH = "inference-header-content-length"
BOUNDARY = "line-7"
START = b"POST /v1/detect HTTP/1.1\r\n" + HOST
# What is not HTTP, or what proxies read differently: each is answered with 400, and its connection closed.
BROKEN_HTTP = [
    START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    START + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nX",
    START + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    START + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    START + b"Content-Length: -1\r\n\r\n",
    START + b"Content-Length: +5\r\n\r\nabcde",
    START + b"Content-Length: 5, 5\r\n\r\nabcde",
    START + b"Content-Length: 0x5\r\n\r\nabcde",
    START + b"Content-Length: 99999999999999999999999\r\n\r\n",
    START + b"Transfer-Encoding: identity\r\n\r\n",
    START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    START + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    START + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    START + b"Transfer-Encoding\r\n: chunked\r\n\r\n0\r\n\r\n",
    START + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    START + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    START + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
    START + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
    START + b"X: a\r\n b\r\n\r\n",
    START + b"X: a\0b\r\n\r\n",
    START + b"X: a\rTransfer-Encoding: chunked\r\n\r\n",
    START + "Ümlaut: a\r\n\r\n".encode(),
    START + b": a\r\n\r\n",
    b"GET /v2 HTTP/1.1\nHost: localhost\n\n",
    b"GET /v2 HTTP/1.1\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n",
    b"GET /v2 HTTP/9.9\r\n" + HOST + b"\r\n",
    b"get /v2 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET http://localhost HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET nowhere HTTP/1.1\r\n" + HOST + b"\r\n",
    "GET /vü HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\0" * 100,
]


@dataclass(frozen=True)
class Hostile:
    """A request.

    Attributes:
        name: what is wrong with it.
        status: of the answer.
    """

    name: str
    path: str
    body: bytes
    status: int
    headers: dict[str, str] = field(default_factory=dict)


def hostile_tensors(photo: bytes) -> Iterator[Hostile]:
    """Yields requests of the Open Inference Protocol."""
    for name, document in _documents(photo):
        yield Hostile(f"JSON: {name}", INFER, json.dumps(document).encode(), 400)
    for name, text in _texts(photo):
        yield Hostile(f"text: {name}", INFER, text, 400)
    for name, document, binary in _binaries(photo):
        yield with_binary(f"binary: {name}", document, binary)
    many = b'{"inputs":[' + b"[]," * (1 << 21) + b"[]]}"
    yield Hostile("text: millions of lists", INFER, many, 413)
    for length in ("-1", "3.5", "99999999", "9" * 5000, "\u00b2", "0x10", ""):
        yield Hostile(f"header length {length[:8]}", INFER, b"{}", 400, {HEADER_LENGTH: length})
    encoded = [(b"nothing", 415), (b"", 422), (photo[: len(photo) // 2], 422)]
    for data, status in encoded:
        yield with_binary(f"image of {len(data)} bytes", _encoded([1], None), _element(data), status)
        text = json.dumps(_encoded([1], [base64.b64encode(data).decode()])).encode()
        yield Hostile(f"image of {len(data)} bytes in base64", INFER, text, status)
    yield with_binary("pixels, too wide", _pixels([1, 1, 200_000, 3], None), bytes(600_000), 413)
    yield Hostile("compressed", INFER, b"\x1f\x8b\x08\0", 415, {"content-encoding": "gzip"})


def hostile_multiparts(photo: bytes) -> Iterator[Hostile]:
    """Yields multipart bodies."""
    good = part(photo)
    end = f"--{BOUNDARY}--\r\n".encode()
    bodies = {
        "nothing": b"",
        "only the end": end,
        "no boundary in it": photo,
        "no end": good,
        "no end of a line": good.removesuffix(b"\r\n") + end,
        "truncated": (good + end)[:-8],
        "another boundary": (good + end).replace(BOUNDARY.encode(), b"line-8"),
        "a longer boundary": (good + end).replace(BOUNDARY.encode(), BOUNDARY.encode() + b"8"),
        "line ends of Unix": (good + end).replace(b"\r\n", b"\n"),
        "endless parts": good[:200] + b"\r\n" + part(b"x") * 5000 + end,
        "endless empty parts": f"--{BOUNDARY}\r\n".encode() * 50_000 + end,
        "endless almost-boundaries": good[:-2] + f"\r\n--{BOUNDARY[:-1]}".encode() * 200_000,
        "endless headers": f"--{BOUNDARY}\r\n".encode() + b"X: y\r\n" * 100_000 + b"\r\n" + end,
        "one endless header": f"--{BOUNDARY}\r\nContent-Disposition: form-data; a=".encode() + b"b" * 500_000 + end,
        "endless parameters": part(photo, "form-data; filename=a" + "; b=c" * 2000) + end,
        "no headers": f"--{BOUNDARY}\r\n\r\n".encode() + photo + b"\r\n" + end,
        "a field": part(b"0.5", 'form-data; name="threshold"') + good + end,
        "not form-data": part(photo, 'attachment; filename="a.jpg"') + end,
    }
    content_type = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    for name, body in bodies.items():
        yield Hostile(f"multipart: {name}", "/v1/detect", body, 400, content_type)
    for boundary in (
        "",
        "; boundary=",
        '; boundary=""',
        "; boundary=" + "b" * 71,
        "; boundary=a\u00fc",
        "; boundary*0=a",
    ):
        headers = {"content-type": f"multipart/form-data{boundary}"}
        yield Hostile(f"multipart: {boundary[:14]}", "/v1/detect", good + end, 400, headers)
    yield Hostile("multipart: redact", "/v1/redact", good + end, 415, content_type)


def part(data: bytes, disposition: str = 'form-data; name="image"; filename="a.jpg"', *headers: str) -> bytes:
    lines = [f"--{BOUNDARY}", f"Content-Disposition: {disposition}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data + b"\r\n"


def with_binary(name: str, document: dict[str, Any], binary: bytes, status: int = 400) -> Hostile:
    """Returns a request whose only input has its data after the JSON, and says so unless it says something else."""
    parameters = document["inputs"][0].setdefault("parameters", {})
    parameters.setdefault("binary_data_size", len(binary))
    text = json.dumps(document).encode()
    return Hostile(name, INFER, text + binary, status, {HEADER_LENGTH: str(len(text))})


def _pixels(shape: Any, data: Any, **more: Any) -> dict[str, Any]:
    values = {} if data is None else {"data": data}
    return {"inputs": [{"name": "images", "datatype": "UINT8", "shape": shape, **values, **more}]}


def _encoded(shape: Any, data: Any, **more: Any) -> dict[str, Any]:
    values = {} if data is None else {"data": data}
    return {"inputs": [{"name": "encoded_images", "datatype": "BYTES", "shape": shape, **values, **more}]}


def _element(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def _documents(photo: bytes) -> Iterator[tuple[str, Any]]:
    """Yields JSON documents that are no request, or one whose tensor is none."""
    image = base64.b64encode(photo).decode()
    one = [1, 2, 2, 3]
    yield from [("a list", []), ("a number", 7), ("null", None), ("empty", {})]
    for value in (None, {}, [], [1], [None], "images", [[]]):
        yield f"inputs {value}", {"inputs": value}
    yield "two inputs", {"inputs": _pixels(one, [0] * 12)["inputs"] * 2}
    shapes = [
        [], [12], [2, 2, 3], [1, 2, 2, 4], [1, 2, 2, 3, 1], [0, 2, 2, 3], [1, 0, 2, 3], [-1, 2, 2, 3], [1, 2, 2, -3],
        [1.0, 2, 2, 3], ["1", 2, 2, 3], [True, 2, 2, 3], [1, 2, 2, 3.0], [2**31, 2, 2, 3], [2**63, 2**63, 2**63, 3],
        [10**400, 2, 2, 3], None, 12, "1x2x2x3", {"0": 1}, [[1, 2, 2, 3]], [65, 1, 1, 3], [1, 2, 2, 3] * 10_000,
    ]  # fmt: skip
    for shape in shapes:
        yield f"pixels of shape {str(shape)[:30]}", _pixels(shape, [0] * 12)
    values: list[Any] = [
        [], [0] * 11, [0] * 13, [256] * 12, [-1] * 12, [0.5] * 12, [1.0] * 12, ["0"] * 12, [True] * 12, [None] * 12,
        [[0] * 6, 0, [0] * 5], [[0] * 12, [0]], {"0": 1}, "AAAAAAAAAAAAAAAA", 0, None, [10**400] * 12,
        [[[[[0] * 12]]], [0]], [[[[[[[0] * 12]]]]]],
    ]  # fmt: skip
    for each in values:
        yield f"pixels {str(each)[:30]}", _pixels(one, each)
    for each in (
        [],
        [1],
        [None],
        [[image]] * 2,
        ["?"],
        ["A"],
        ["AAAA "],
        ["\u00fc"],
        ["\ud800"],
        image,
        {},
        [image, image],
    ):
        yield f"image {str(each)[:30]}", _encoded([1], each)
    for shape in ([], [0], [2], [-1], [65], [1, 1, 1, 1, 1], [2**31 - 1] * 4, [2**31 - 1] * 100_000):
        yield f"images of shape {str(shape)[:30]}", _encoded(shape, [image])
    for key, wrong in {"name": [None, 3, "pictures", "scores", ""], "datatype": [None, "FP32", "uint8", 3, []]}.items():
        for each in wrong:
            yield f"{key} {each}", {"inputs": [_pixels(one, [0] * 12)["inputs"][0] | {key: each}]}
    yield "a name for another datatype", _encoded([1], [image], name="images")
    yield "a datatype for another name", _pixels(one, [0] * 12, name="encoded_images")
    for key, wrong in {
        "id": [3, [], {}],
        "outputs": [{}, "scores", [3], [{}], [{"name": 3}], [{"name": "masks"}], [{"name": "\x00"}]],
        "parameters": [
            [], "x", {"treshold": 1}, {"threshold": "0.5"}, {"threshold": True}, {"threshold": 2}, {"threshold": -1},
            {"threshold": 10**400}, {"threshold": [0.5]}, {"at": 1}, {"at": "no"}, {"at": "precise", "threshold": 0.5},
            {"long_side": 640}, {"long_side": "640,640"}, {"long_side": "99999"}, {"binary_data_output": "true"},
            {"sequence_id": 1},
        ],
    }.items():  # fmt: skip
        for each in wrong:
            yield f"{key} {str(each)[:40]}", _encoded([1], [image]) | {key: each}
    wrong_parameters: list[Any] = [{"classification": 1}, {"binary_data": 1}, [], {"shared_memory_region": "a"}]
    for each in wrong_parameters:
        yield f"an output with {each}", _encoded([1], [image]) | {"outputs": [{"name": "scores", "parameters": each}]}
    yield "shared memory", _pixels(one, None, parameters={"shared_memory_region": "a", "shared_memory_byte_size": 12})
    yield "a binary size without bytes", _pixels(one, None, parameters={"binary_data_size": 12})
    yield "a threshold for pixels", _pixels(one, [0] * 12) | {"parameters": {"threshold": 0.5}}


def _texts(photo: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields what is not JSON, or what two parsers could read differently."""
    for name, text in AMBIGUOUS_JSON.items():
        yield name, text.encode()
        yield (
            f"{name}, inside",
            b'{"inputs":[{"name":"images","shape":[1,1,1,3],"data":[0,0,0],"datatype":"UINT8","x":%s}]}'
            % (text.encode()),
        )
    yield "no bytes", b""
    yield "an image", photo
    yield "UTF-16", "{}".encode("utf-16")
    yield "not UTF-8", b'{"id":"\xff"}'
    yield "form", b"threshold=0.5&image=photo.jpg"
    yield "XML", b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"
    yield "deep objects", b'{"a":' * 100_000
    yield "bytes after it", json.dumps(_pixels([1, 1, 1, 3], [0, 0, 0])).encode() + b"\0\0\0"


def _binaries(photo: bytes) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """Yields tensors after the JSON that are malformed."""
    yield "too short", _pixels([1, 2, 2, 3], None), bytes(11)
    yield "too long", _pixels([1, 2, 2, 3], None), bytes(13)
    yield "nothing", _pixels([1, 2, 2, 3], None), b""
    yield "data in the JSON too", _pixels([1, 1, 1, 3], [0, 0, 0]), bytes(3)
    for size in (0, -3, 3.0, "3", True, 2**70, [3], {}):
        yield f"size {size}", _pixels([1, 1, 1, 3], None, parameters={"binary_data_size": size}), bytes(3)
    yield "length of no bytes", _encoded([1], None), b"\0\0\0"
    yield "length beyond the end", _encoded([1], None), struct.pack("<I", 2**32 - 1) + photo
    yield "length one too large", _encoded([1], None), struct.pack("<I", len(photo) + 1) + photo
    yield "length one too small", _encoded([1], None), struct.pack("<I", len(photo) - 1) + photo
    yield "no length", _encoded([1], None), photo
    yield "millions of elements", _encoded([1], None), bytes(4_000_000)
    yield "sixty-five elements", _encoded([65], None), bytes(260)
    yield "two elements for one", _encoded([1], None), _element(photo) * 2
    yield "one element for two", _encoded([2], None), _element(photo)
    yield "images in base64", _encoded([1], None), _element(photo)[:-1]
