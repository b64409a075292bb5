"""Reads the structure of a model file from its bytes, without onnx and before any runtime sees them.

An ONNX file is one protocol buffers message. Its sections are the weights, the graph around them, and each metadata
entry. Field numbers are those of onnx.proto (https://github.com/onnx/onnx).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from mlcycle.artifact import strict_json
from mlcycle.artifact.contract import CONTRACT_KEY, SECTIONS_KEY
from mlcycle.artifact.protobuf import LENGTH, VARINT, BrokenMessageError, Field, fields, numbers

# Fields of ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto, OperatorSetIdProto, StringStringEntryProto.
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 1, 7, 8, 14
_MODEL_TRAINING, _MODEL_FUNCTION = 20, 25
_GRAPH_NODE, _GRAPH_WEIGHTS, _GRAPH_SPARSE_WEIGHTS = 1, 5, 15
_NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 2, 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = 5, 10, (6, 11), (22, 23)
_TENSOR_DIMENSION, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

# Metadata entries that are sections, and their names in errors.
_NAMES = {CONTRACT_KEY: "contract", "mlcycle.self_test": "self-test"}
# A damaged digest differs in at most this many hex digits; the digest of damaged data differs in nearly all.
_MAX_DAMAGED_DIGITS = 8
# A bundled model has about five thousand fields. A file of nothing but fields would take minutes and exhaust memory.
# Runtimes support far fewer dimensions than 64.
MAX_FIELDS, _MAX_DIMENSIONS = 1_000_000, 64

# TensorProto's data types by numpy's names; numpy lacks some of the 8-bit and 16-bit types.
TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """Weights: the shape, numpy's name of the type ("?" if it has none), and the byte range of the raw values."""

    shape: tuple[int, ...]
    type: str
    begin: int
    end: int

    @property
    def count(self) -> int:
        """The number of values."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(slots=True)
class Structure:
    """The contents of a model file.

    Attributes:
        ir_version: ONNX's version of the file format.
        opsets: domain → operator set version; the default domain is "".
        operators: (domain, operator) → number of uses.
        tensors: name → weights, of the initializers.
        metadata: key → text.
        sections: sha256 (hex) of the "weights" and of the "graph", which is everything except weights and metadata.
        violations: forbidden contents, in words; empty for a valid model file.
    """

    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    operators: Counter[tuple[str, str]] = field(default_factory=Counter)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Damage:
    """How a damaged model file differs from the sealed one.

    Attributes:
        sentence: for people, e.g. "what differs is its weights".
        is_seal_alone: whether every section is intact, so that the damage is in the seal itself.
    """

    sentence: str
    is_seal_alone: bool = False


def structure_of(data: bytes) -> Structure:
    """Reads the structure of a model file's bytes in one pass, without computing or allocating tensors.

    Raises:
        BrokenMessageError: they are not a protocol buffers message, or have other fields than ONNX.
    """
    return _Reader(data).read()


def section_digests(data: bytes) -> dict[str, str]:
    """Returns section name → sha256 (hex), as `pack` writes them into the model file.

    Raises:
        BrokenMessageError: the bytes are not a model.
    """
    found = structure_of(data)
    texts = {_NAMES[key]: value for key, value in found.metadata.items() if key in _NAMES}
    return found.sections | {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


def damage_of(data: bytes) -> Damage:
    """Compares the sections of a damaged model file with the section digests in its metadata."""
    try:
        now = section_digests(data)
        written = strict_json.loads(structure_of(data).metadata[SECTIONS_KEY])
        if not isinstance(written, dict) or written.keys() != now.keys():
            return Damage("its metadata differ")
    except BrokenMessageError:
        return Damage("its structure cannot be read")
    except (KeyError, ValueError):
        return Damage("its bytes do not match its seal")
    differ = {name: sum(a != b for a, b in zip(now[name], str(written[name]), strict=False)) for name in now}
    if worst := sorted(name for name, digits in differ.items() if digits > _MAX_DAMAGED_DIGITS):
        return Damage(f"what differs is its {' and its '.join(worst)}")
    if any(differ.values()):
        return Damage("what differs is its list of digests")
    return Damage("what differs is its seal", is_seal_alone=True)


class _Reader:
    """Reads all fields once and collects them in `found`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.found, self.count = Structure(), 0
        self.weights, self.graph = hashlib.sha256(), hashlib.sha256()

    def read(self) -> Structure:
        for each in self._fields(0, len(self.data)):
            if each.number == _MODEL_GRAPH:
                self._read_graph(each)
            elif each.number == _MODEL_METADATA:
                self._read_entry(each)
            else:
                self._read_model_field(each)
                self.graph.update(self.data[each.begin : each.end])
        self.found.sections = {"weights": self.weights.hexdigest(), "graph": self.graph.hexdigest()}
        return self.found

    def _read_entry(self, entry: Field) -> None:
        key, value = self._texts(entry, _ENTRY_KEY, _ENTRY_VALUE)
        if key in self.found.metadata:
            self.found.violations.append("two metadata entries with the same key")
        self.found.metadata[key] = value

    def _read_model_field(self, each: Field) -> None:
        if each.number == _MODEL_IR_VERSION:
            self.found.ir_version = self._number(each)
        elif each.number == _MODEL_OPSET:
            (domain,) = self._texts(each, _OPSET_DOMAIN)
            versions = [self._number(part) for part in self._inside(each) if part.number == _OPSET_VERSION]
            version = versions[-1] if versions else 0
            if self.found.opsets.setdefault(_plain(domain), version) != version:
                self.found.violations.append("two versions of one opset")
        elif each.number in (_MODEL_TRAINING, _MODEL_FUNCTION):
            self.found.violations.append("functions or training steps")

    def _read_graph(self, graph: Field) -> None:
        for each in self._inside(graph):
            if each.number == _GRAPH_WEIGHTS:
                name, tensor = self._tensor(each)
                self.found.tensors[name] = tensor
                self.weights.update(self.data[each.begin : each.end])
                continue
            if each.number == _GRAPH_NODE:
                self._read_node(each)
            elif each.number == _GRAPH_SPARSE_WEIGHTS:
                self.found.violations.append("sparse weights")
            self.graph.update(self.data[each.begin : each.end])

    def _read_node(self, node: Field) -> None:
        operator = domain = ""
        for each in self._inside(node):
            if each.number == _NODE_OPERATOR:
                operator = self._text(each)
            elif each.number == _NODE_DOMAIN:
                domain = _plain(self._text(each))
            elif each.number == _NODE_ATTRIBUTE:
                self._read_attribute(each)
        self.found.operators[domain, operator] += 1

    def _read_attribute(self, attribute: Field) -> None:
        for each in self._inside(attribute):
            if each.number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                self._tensor(each)
            elif each.number in _ATTRIBUTE_GRAPHS:
                self.found.violations.append("a nested graph")
            elif each.number in _ATTRIBUTE_SPARSE:
                self.found.violations.append("sparse weights")

    def _tensor(self, tensor: Field) -> tuple[str, Tensor]:
        name, type_name, shape, raw = "", "?", [], (0, 0)
        for each in self._inside(tensor):
            if each.number == _TENSOR_DIMENSION:
                shape += numbers(self.data, each, _MAX_DIMENSIONS)
            elif each.number == _TENSOR_TYPE:
                type_name = TYPES.get(self._number(each), "?")
            elif each.number == _TENSOR_NAME:
                name = self._text(each)
            elif each.number == _TENSOR_RAW:
                raw = self._range(each)
            elif each.number == _TENSOR_EXTERNAL or (each.number == _TENSOR_LOCATION and each.value):
                self.found.violations.append("weights in another file (external data)")
        if len(shape) > _MAX_DIMENSIONS or any(size >> 63 for size in shape):
            raise BrokenMessageError("a tensor with a negative size or too many dimensions")
        return name, Tensor(tuple(shape), type_name, *raw)

    def _fields(self, begin: int, end: int) -> Iterator[Field]:
        for each in fields(self.data, begin, end):
            self.count += 1
            if self.count > MAX_FIELDS:
                raise BrokenMessageError("more fields than a model can have")
            yield each

    def _inside(self, each: Field) -> Iterator[Field]:
        return self._fields(*self._range(each))

    def _number(self, each: Field) -> int:
        if each.kind != VARINT:
            raise BrokenMessageError("another type in place of a number")
        return each.value

    def _texts(self, message: Field, *fields_of_it: int) -> list[str]:
        texts = dict.fromkeys(fields_of_it, "")
        for each in self._inside(message):
            if each.number in texts:
                texts[each.number] = self._text(each)
        return list(texts.values())

    def _range(self, each: Field) -> tuple[int, int]:
        if each.kind != LENGTH:
            raise BrokenMessageError("a number in place of a text or a message")
        return each.value, each.end

    def _text(self, each: Field) -> str:
        begin, end = self._range(each)
        try:
            return self.data[begin:end].decode()
        except UnicodeDecodeError:
            raise BrokenMessageError("a text that is not UTF-8") from None


def _plain(domain: str) -> str:
    """Returns "" for the default domain, which has two names."""
    return "" if domain == "ai.onnx" else domain
