"""Bytes that parsers could read differently: what is admitted is read as onnx, and so the runtime, reads it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from tiny_model import unsealed_model

from mlcycle.artifact import structure
from mlcycle.artifact.admission import admit
from mlcycle.artifact.protobuf import LENGTH, VARINT, BrokenMessageError, fields
from mlcycle.artifact.seal import SealedBytes
from mlcycle.artifact.structure import structure_of
from mlcycle.errors import ModelFileError

onnx = pytest.importorskip("onnx")

from google.protobuf.message import DecodeError  # noqa: E402
from onnx import helper  # noqa: E402

VALID = unsealed_model().SerializeToString()
RANDOM = helper.make_node("RandomNormal", [], ["unread"], shape=[2]).SerializeToString()
FOREIGN = helper.make_node("QuickGelu", ["boxes"], ["unread"], domain="com.microsoft").SerializeToString()
# Message → its fields that are messages themselves and are parsed.
INSIDE = {
    "model": {7: "graph", 8: "opset", 14: "entry"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
}
Tree = list[tuple[int, int, "bytes | int | Tree", str]]


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def message(number: int, content: bytes, more: int = 0) -> bytes:
    """Returns a field with a length; `more` is added to its encoded field number."""
    return varint((number << 3 | LENGTH) + more) + varint(len(content)) + content


def with_node(node: bytes) -> bytes:
    """Returns the valid model with one more node: parsers merge repeated graph fields."""
    return VALID + message(7, message(1, node))


def admitted(data: bytes) -> structure.Structure:
    return admit(SealedBytes(data, "", Path("model.onnx")))


@pytest.mark.parametrize(
    "data",
    [
        # Parsers skip a field with an unexpected wire type; a reader that accepts it would see another operator.
        with_node(RANDOM + b"\x25Relu"),
        with_node(RANDOM + b"\x21Identity"),
        with_node(FOREIGN + b"\x25Relu\x38\x7f"),
        # Parsers truncate a field number to 32 bits, and so read this as a known field.
        VALID + message(7, message(1, RANDOM, more=1 << 32)),
        VALID + message(7, message(1, RANDOM), more=5 << 32),
    ],
    ids=["four bytes", "eight bytes", "a number", "a long number", "a long number of a graph"],
)
def test_bytes_that_a_runtime_reads_differently_are_refused(data: bytes) -> None:
    admitted(VALID)
    with pytest.raises(ModelFileError, match="its structure cannot be read"):
        admitted(data)


def test_a_file_in_onnxruntimes_own_format_is_refused() -> None:
    """onnxruntime checks bytes 5 to 8 alone, even if the file also parses as ONNX."""
    data = message(2, b"..ORTM") + VALID
    assert data[4:8] == b"ORTM"
    onnx.load_model_from_string(data)
    with pytest.raises(ModelFileError, match="ORT format"):
        admitted(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (VALID + message(14, message(1, b"mlcycle.contract")), "two metadata entries with the same key"),
        (VALID + message(14, message(1, b"k\xff")), "cannot be read"),
        (VALID + message(7, message(5, b"\x08" + varint((1 << 64) - 3))), "cannot be read"),
        (VALID + message(7, message(5, message(1, b"\x01" * 10_000))), "cannot be read"),
        (VALID + message(7, message(5, message(1, b"\xff"))), "cannot be read"),
    ],
    ids=["repeated key", "not UTF-8", "negative dimension", "many dimensions", "truncated dimension"],
)
def test_invalid_messages_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        admitted(data)


def test_a_file_with_too_many_fields_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "MAX_FIELDS", 5_000)
    admitted(VALID)
    for many in (message(7, message(1, b"") * 6_000), b"\x98\x06\x00" * 6_000, with_node(b"\x98\x06\x00" * 6_000)):
        with pytest.raises(BrokenMessageError, match="more fields"):
            structure_of(VALID + many)


def parsed(data: bytes, kind: str) -> Tree:
    inside = INSIDE.get(kind, {})
    tree: Tree = []
    for each in fields(data, 0, len(data)):
        content = data[each.value : each.end]
        inner = inside.get(each.number, "")
        value = each.value if each.kind == VARINT else parsed(content, inner) if inner else content
        tree.append((each.number, each.kind, value, inner))
    return tree


def written(tree: Tree) -> bytes:
    parts = []
    for number, kind, value, _ in tree:
        content = varint(value) if isinstance(value, int) else written(value) if isinstance(value, list) else value
        length = varint(len(content)) if kind == LENGTH else b""
        parts.append(varint(number << 3 | kind) + length + content)
    return b"".join(parts)


def mutate(tree: Tree, chance: random.Random) -> None:
    """Adds, repeats, drops or moves a random field."""
    place = tree
    while chance.random() < 0.8 and (deeper := [value for _, _, value, _ in place if isinstance(value, list)]):
        place = chance.choice(deeper)
    mutation = chance.choice(("add", "add", "repeat", "drop", "move"))
    if mutation == "add":
        kind = chance.choice((0, 1, 2, 2, 2, 5))
        texts = [b"Relu", b"", b"ai.onnx", b"com.microsoft", b"Loop", b"\x08\x02", b"\x01\x01"]
        numbers = [0, 1, 10, 1 << 32, (1 << 64) - 1]
        value: bytes | int = {0: chance.choice(numbers), 1: b"Identity", 2: chance.choice(texts), 5: b"Relu"}[kind]
        place.insert(chance.randint(0, len(place)), (chance.randint(1, 26), kind, value, ""))
    elif mutation == "repeat" and place:
        place.insert(chance.randint(0, len(place)), chance.choice(place))
    elif mutation == "drop" and place:
        place.pop(chance.randrange(len(place)))
    else:
        chance.shuffle(place)


def parsed_by_onnx(model: onnx.ModelProto) -> tuple[object, ...]:
    weights = [each for node in model.graph.node for attribute in node.attribute for each in attribute.tensors]
    weights += [attribute.t for node in model.graph.node for attribute in node.attribute]
    weights += model.graph.initializer
    return (
        Counter((node.domain.replace("ai.onnx", ""), node.op_type) for node in model.graph.node),
        {each.key: each.value for each in model.metadata_props},
        {each.name: tuple(each.dims) for each in model.graph.initializer},
        any(each.data_location or each.external_data for each in weights),
        any(part.HasField("g") or part.graphs for node in model.graph.node for part in node.attribute),
    )


def test_admitted_bytes_are_read_as_onnx_reads_them() -> None:
    chance, counts = random.Random(0), Counter[str]()
    assert written(parsed(VALID, "model")) == VALID
    for _ in range(500):
        tree = parsed(VALID, "model")
        for _ in range(chance.randint(1, 3)):
            mutate(tree, chance)
        data = written(tree)
        try:
            found = admitted(data)
            model = onnx.load_model_from_string(data)
        except (ModelFileError, DecodeError) as problem:
            counts[type(problem).__name__] += 1
            continue
        shapes = {name: each.shape for name, each in found.tensors.items()}
        assert parsed_by_onnx(model) == (found.operators, found.metadata, shapes, False, False)
        counts["admitted"] += 1
    assert min(counts["admitted"], counts["ModelFileError"]) > 50


def test_numbers_are_read_as_onnx_reads_them() -> None:
    def read(data: bytes) -> list[int]:
        return [each.value for each in fields(data, 0, len(data))]

    assert read(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01") == [(1 << 64) - 1]
    for data in (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", b"\x08" + b"\x80" * 10 + b"\x01", b"\x00\x01"):
        with pytest.raises(BrokenMessageError):
            read(data)
