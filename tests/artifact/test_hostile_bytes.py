"""Bytes that parsers could read differently: what is admitted is read as onnx, and so the runtime, reads it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hostile_files import FIELDS, message, node
from mutants import mutants, parsed, written
from tiny_model import unsealed_model

from mlcycle.artifact import structure
from mlcycle.artifact.admission import admit
from mlcycle.artifact.protobuf import BrokenMessageError, fields
from mlcycle.artifact.seal import SealedBytes
from mlcycle.artifact.structure import structure_of
from mlcycle.errors import ModelFileError

onnx = pytest.importorskip("onnx")

from google.protobuf.message import DecodeError  # noqa: E402

VALID = unsealed_model().SerializeToString()


def with_node(content: bytes) -> bytes:
    """Returns the valid model with one more node."""
    return VALID + node(content)


def admitted(data: bytes) -> structure.Structure:
    return admit(SealedBytes(data, "", Path("model.onnx")))


@pytest.mark.parametrize(
    "field",
    ["four bytes", "eight bytes", "a number", "a long number", "a long number of a graph"],
)
def test_bytes_that_a_runtime_reads_differently_are_refused(field: str) -> None:
    admitted(VALID)
    with pytest.raises(ModelFileError, match="its structure cannot be read"):
        admitted(VALID + FIELDS[field])


def test_a_file_in_onnxruntimes_own_format_is_refused() -> None:
    """onnxruntime checks bytes 5 to 8 alone, even if the file also parses as ONNX."""
    data = message(2, b"..ORTM") + VALID
    assert data[4:8] == b"ORTM"
    onnx.load_model_from_string(data)
    with pytest.raises(ModelFileError, match="ORT format"):
        admitted(data)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("repeated key", "two metadata entries with the same key"),
        ("not UTF-8", "cannot be read"),
        ("negative dimension", "cannot be read"),
        ("many dimensions", "cannot be read"),
        ("truncated dimension", "cannot be read"),
    ],
)
def test_invalid_messages_are_refused(field: str, words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        admitted(VALID + FIELDS[field])


def test_a_file_with_too_many_fields_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "MAX_FIELDS", 5_000)
    admitted(VALID)
    for many in (message(7, message(1, b"") * 6_000), b"\x98\x06\x00" * 6_000, with_node(b"\x98\x06\x00" * 6_000)):
        with pytest.raises(BrokenMessageError, match="more fields"):
            structure_of(VALID + many)


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
    counts = Counter[str]()
    assert written(parsed(VALID, "model")) == VALID
    for data in mutants(VALID, 500):
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
