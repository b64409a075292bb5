"""Hostile model files: one set for mlcycle's own reader and for that of the web page. Each must be refused by both."""

from __future__ import annotations

import json
from typing import Any

from onnx import helper
from tiny_model import CONTRACT, unsealed_model

from mlcycle.artifact.protobuf import LENGTH
from mlcycle.artifact.seal import seal_bytes
from mlcycle.artifact.self_test import EXACT, LOOSE, MAX_EXPECTED_ROWS, SelfTest

DEEP = "[" * 100_000
CONTRACT_JSON = json.loads(CONTRACT.to_json())
SELF_TEST = SelfTest(((1.0, 1.0, 9.0, 9.0),) * 2, (0.9, 0.8), (((1.0, 2.0),) * 5,) * 2, EXACT, LOOSE)
SELF_TEST_JSON = json.loads(SELF_TEST.to_json())
RANDOM = helper.make_node("RandomNormal", [], ["unread"], shape=[2]).SerializeToString()
FOREIGN = helper.make_node("QuickGelu", ["boxes"], ["unread"], domain="com.microsoft").SerializeToString()

AMBIGUOUS_JSON = {
    "deep": DEEP,
    "too deep": '{"a":' * 60 + "1" + "}" * 60,
    "repeated key": '{"a":1,"a":2}',
    "repeated key, escaped": '{"a":1,"\\u0061":2}',
    "repeated key, inside": '{"b":[{"a":1,"a":2}]}',
    "NaN": "[NaN]",
    "infinite": "[-Infinity]",
    "too large": "[1e999]",
    "too long": f"[{'9' * 5000}]",
    "truncated": "{",
    "byte order mark": "\ufeff{}",
    "raw line end": '{"a":"\n"}',
    "escape": '{"a":"\\x41"}',
}
# Paths in a contract, and values of the wrong type.
WRONG_TYPES: list[tuple[str, Any]] = [
    ("name", 3),
    ("name", "a\x1b[31mb"),
    ("name", "two\nlines"),
    ("name", "half \ud800"),
    ("name", "right to left \u202e"),
    ("name", "x" * 1000),
    ("labels", "face"),
    ("labels", [["face"]]),
    ("landmarks", {"left_eye": 1}),
    ("landmarks", ["left\x07eye"]),
    ("thresholds", [0.5]),
    ("thresholds", {"balanced": "0.5"}),
    ("thresholds", {"balanced": True}),
    ("thresholds", {"balanced": 0.5, "a\x1bb": 0.6}),
    ("thresholds", {"balanced": 10**400}),
    ("resize.long_side", "640"),
    ("resize.long_side", 640.5),
    ("resize.long_side", 640.0),
    ("resize.long_side", 0),
    ("resize.long_side", -640),
    ("resize.long_side", 10**30),
    ("selection.score_floor", "0"),
    ("selection.max_faces", [2]),
    ("selection.max_faces", 0),
    ("reduced_jpeg", "2"),
    ("parent", 5),
    ("precision", None),
    ("input_size", {"width": 64, "height": "64"}),
    ("input_size", {"width": 64, "height": -64}),
    ("input_size", 0),
    ("resize", []),
    ("resize", {"long_side": 640, "x" * 1000: 1}),
    ("format", True),
    ("format", [[1]]),
    ("format", 2),
]
# Values of the right type that a reader must not accept.
WRONG_VALUES: list[tuple[str, Any]] = [
    ("thresholds", {"balanced": 0}),
    ("thresholds", {"balanced": 1.5}),
    ("thresholds", {"balanced": 0.5, "sensitive": -0.1}),
    ("thresholds", {"sensitive": 0.5}),
    ("resize.rule", "stretch"),
    ("resize.filter", "nearest"),
    ("padding", {"side": "left-top", "value": 0}),
    ("padding", {"side": "right-bottom", "value": 128}),
    ("reduced_jpeg", 0.5),
    ("colour", "BGR"),
    ("box_order", "x y w h"),
]
# Values of the wrong type in a self-test.
WRONG_TYPES_IN_SELF_TEST: list[tuple[str, Any]] = [
    ("boxes", [[1, 1, 9, 9]]),
    ("boxes", [[1, 1, 9], [1, 1, 9]]),
    ("boxes", [[1, 1, 9, 9], [1, 1, 9]]),
    ("boxes", [["nan", 1, 9, 9]] * 2),
    ("boxes", [1, 2]),
    ("scores", {"0": 1}),
    ("scores", [0.9] * (MAX_EXPECTED_ROWS + 1)),
    ("landmarks", [[[1, 2, 3]]] * 2),
    ("landmarks", [[[1, 2]], []]),
    ("tolerance", {"pixels": "inf", "score": 1}),
    ("tolerance", {"pixels": True, "score": 1}),
    ("tolerance", [1, 1]),
    ("loose_tolerance", {"pixels": 1}),
    ("height", 10**400),
    ("height", -192),
    ("width", 10**6),
    ("width", "192"),
    ("width", 192.0),
    ("seed", None),
    ("seed", 1.5),
    ("formula", ["drawn-faces-1"]),
]


def changed(base: dict[str, Any], path: str, value: object) -> str:
    """Returns JSON with another value at a path such as resize.long_side."""
    whole = json.loads(json.dumps(base))
    *above, last = path.split(".")
    place = whole
    for name in above:
        place = place[name]
    place[last] = value
    return json.dumps(whole)


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def message(number: int, content: bytes, more: int = 0) -> bytes:
    """Returns a field with a length; `more` is added to its encoded field number."""
    return varint((number << 3 | LENGTH) + more) + varint(len(content)) + content


def node(content: bytes) -> bytes:
    """Returns a graph with a node; parsers merge repeated graph fields."""
    return message(7, message(1, content))


# Fields of a model that parsers read differently, or that are invalid.
FIELDS = {
    # Parsers skip a field with an unexpected wire type; a reader that accepts it would see another operator.
    "four bytes": node(RANDOM + b"\x25Relu"),
    "eight bytes": node(RANDOM + b"\x21Identity"),
    "a number": node(FOREIGN + b"\x25Relu\x38\x7f"),
    # Parsers truncate a field number to 32 bits, and so read this as a known field.
    "a long number": message(7, message(1, RANDOM, more=1 << 32)),
    "a long number of a graph": message(7, message(1, RANDOM), more=5 << 32),
    "repeated key": message(14, message(1, b"mlcycle.contract")),
    "not UTF-8": message(14, message(1, b"k\xff")),
    "negative dimension": message(7, message(5, b"\x08" + varint((1 << 64) - 3))),
    "many dimensions": message(7, message(5, message(1, b"\x01" * 10_000))),
    "truncated dimension": message(7, message(5, message(1, b"\xff"))),
    "a number of 70 bits": b"\x08" + b"\xff" * 9 + b"\x02",
    "an operator of another domain": node(FOREIGN),
    "an operator that is not listed": node(RANDOM),
    "another domain": message(8, message(1, b"com.microsoft") + b"\x10\x01"),
    "two versions of one opset": message(8, message(1, b"ai.onnx") + b"\x10\x11"),
    "another version of the opset": message(8, b"\x10\x11"),
    "onnxruntime's own format": message(2, b"..ORTM"),
    "endless metadata": message(14, message(1, b"a") + message(2, b"x" * (1 << 20))),
    "a function": message(25, b""),
}


def hostile_files() -> dict[str, bytes]:
    """Returns sealed model files by what is wrong with them; "" has nothing wrong."""
    contracts = {
        f"contract: {path} {str(value)[:40]}": changed(CONTRACT_JSON, path, value)
        for path, value in WRONG_TYPES + WRONG_VALUES
    }
    contracts |= {f"contract: {name}": text for name, text in AMBIGUOUS_JSON.items()}
    contracts["contract: a repeated key"] = CONTRACT.to_json().replace('{"about"', '{"name":"another","about"')
    tests = {
        f"self-test: {path} {str(value)[:40]}": changed(SELF_TEST_JSON, path, value)
        for path, value in WRONG_TYPES_IN_SELF_TEST
    }
    tests |= {f"self-test: {name}": text for name, text in AMBIGUOUS_JSON.items()}
    valid = sealed()
    return {
        "": valid,
        **{f"file: {name}": seal_bytes(field + unsealed_model().SerializeToString()) for name, field in FIELDS.items()},
        **{name: sealed(contract=text) for name, text in contracts.items()},
        **{name: sealed(self_test=text) for name, text in tests.items()},
    }


def sealed(contract: str = CONTRACT.to_json(), self_test: str = "") -> bytes:
    """Returns a sealed model file with these texts; without a self-test if that text is empty."""
    model = unsealed_model(contract_json=contract)
    if self_test:
        model.metadata_props.insert(1, type(model.metadata_props[0])(key="mlcycle.self_test", value=self_test))
    return seal_bytes(model.SerializeToString())
