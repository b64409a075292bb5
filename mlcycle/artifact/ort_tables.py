"""The tables of onnxruntime's ORT format, and their reader: a file of it is walked before the runtime sees it.

An ORT file is a FlatBuffer (flatbuffers.dev): tables that name their fields by slots, and point at what is longer than
a number. Here is the part of onnxruntime's schema, version 6, that a model uses; a table is read as a dictionary from
field to value. The reader believes nothing: what points outside, nests too deep or repeats without end is a ValueError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

from mlcycle.artifact.admission import ORT_FORMAT

ROOT = "InferenceSession"
# Of each table its fields in the order of their slots, "-" for one that is no longer used. A letter is a number as
# Python's struct names it, [letter] a row of such; EdgeEnd stands in its row itself, all other tables are pointed at.
SCHEMA = {
    "InferenceSession": "ort_version:string model:Model - kernel_types:KernelTypeStrResolver",
    "Model": "ir_version:q opset_import:[OperatorSetId] producer_name:string producer_version:string domain:string"
    " model_version:q doc_string:string graph:Graph graph_doc_string:string metadata_props:[StringStringEntry]",
    "OperatorSetId": "domain:string version:q",
    "StringStringEntry": "key:string value:string",
    "Graph": "initializers:[Tensor] node_args:[ValueInfo] nodes:[Node] max_node_index:I node_edges:[NodeEdge]"
    " inputs:[string] outputs:[string] sparse_initializers:[Unread] runtime_optimizations:RuntimeOptimizations",
    "Tensor": "name:string doc_string:string dims:[q] data_type:i raw_data:[B] string_data:[string]"
    " external_data_offset:q",
    "ValueInfo": "name:string doc_string:string type:TypeInfo",
    "TypeInfo": "denotation:string value_type:B value:TypeInfoValue",
    "TensorTypeAndShape": "elem_type:i shape:Shape",
    "SequenceType": "elem_type:TypeInfo",
    "MapType": "key_type:i value_type:TypeInfo",
    "Shape": "dim:[Dimension]",
    "Dimension": "value:DimensionValue denotation:string",
    "DimensionValue": "dim_type:b dim_value:q dim_param:string",
    "Node": "name:string doc_string:string domain:string since_version:i index:I op_type:string type:i"
    " execution_provider_type:string inputs:[string] outputs:[string] attributes:[Attribute] input_arg_counts:[i]"
    " implicit_inputs:[string]",
    "NodeEdge": "node_index:I input_edges:[EdgeEnd] output_edges:[EdgeEnd]",
    "Attribute": "name:string doc_string:string type:i f:f i:q s:string t:Tensor g:Graph floats:[f] ints:[q]"
    " strings:[string] tensors:[Tensor] graphs:[Graph]",
    "KernelTypeStrResolver": "operators:[OpIdKernelTypeStrArgsEntry]",
    "OpIdKernelTypeStrArgsEntry": "op_id:string kernel_type_str_args:[KernelTypeStrArgsEntry]",
    "KernelTypeStrArgsEntry": "kernel_type_str:string args:[ArgTypeAndIndex]",
    "ArgTypeAndIndex": "arg_type:b index:I",
    "RuntimeOptimizations": "records:[Unread]",
    "Unread": "",
}
# TypeInfoValue is one of these tables; the field before says which.
TYPES = {1: "TensorTypeAndShape", 2: "SequenceType", 3: "MapType"}
SIZES = {"B": 1, "b": 1, "i": 4, "I": 4, "f": 4, "q": 8, "EdgeEnd": 12}
# A model of a thousand nodes has some sixty thousand tables and rows. A small file that points at the same ones over
# and over could have them without end; and rows that are read more than once would fill the memory.
MOST_PARTS = 1_000_000

Table = dict[str, Any]


@cache
def fields(table: str) -> tuple[tuple[str, str], ...]:
    """Returns name and kind of a table's fields, in the order of their slots."""
    pairs = (field.partition(":") for field in SCHEMA[table].split())
    return tuple((name, kind) for name, _, kind in pairs)


def read_tables(data: bytes) -> Table:
    """Reads a file in the ORT format as nested dictionaries; strings and rows of numbers stay bytes.

    Raises:
        ValueError: it is no such file.
    """
    if data[4:8] != ORT_FORMAT:
        raise ValueError("it does not begin as an ORT file does")
    try:
        reader = _Reader(data)
        return reader.table(reader.pointed_at(0), ROOT)
    except (struct.error, RecursionError, KeyError) as problem:
        raise ValueError(f"its tables do not hold together: {problem}") from None


def graphs_of(tables: Table) -> Iterator[Table]:
    """Yields the graph of a file that was read, and the graphs inside its nodes."""
    waiting = [tables.get("model", {}).get("graph", {})]
    while waiting:
        graph = waiting.pop()
        yield graph
        for attribute in (each for node in graph.get("nodes", ()) for each in node.get("attributes", ())):
            waiting += [attribute["g"]] if "g" in attribute else attribute.get("graphs", [])


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.parts, self.left = data, 0, 2 * len(data)

    def count(self, size: int = 0) -> None:
        """Counts a table, or a row of so many bytes, which may be pointed at by several."""
        self.parts += 1
        self.left -= size
        if self.parts > MOST_PARTS or self.left < 0:
            raise ValueError("it has more tables and rows than any model")

    def table(self, place: int, name: str) -> Table:
        self.count()
        slots = place - self.number("i", place)
        length = self.number("H", slots)
        values: Table = {}
        for index, (field, kind) in enumerate(fields(name)):
            entry = 4 + 2 * index
            offset = self.number("H", slots + entry) if entry + 2 <= length else 0
            if offset and kind:
                values[field] = self.value(
                    place + offset, TYPES[values["value_type"]] if kind == "TypeInfoValue" else kind
                )
        return values

    def value(self, place: int, kind: str) -> Any:
        if kind in SIZES:
            return self.number(kind, place)
        start = self.pointed_at(place)
        if kind == "string":
            return self.row(start, 1)
        if not kind.startswith("["):
            return self.table(start, kind)
        inner = kind[1:-1]
        if inner in SIZES:
            return self.row(start, SIZES[inner])
        places = range(start + 4, start + 4 + len(self.row(start, 4)), 4)
        return [self.value(each, inner) for each in places]

    def row(self, start: int, size: int) -> bytes:
        count = self.number("I", start)
        end = start + 4 + count * size
        if end > len(self.data):
            raise ValueError("a row reaches beyond its end")
        self.count(count * size)
        return self.data[start + 4 : end]

    def pointed_at(self, place: int) -> int:
        return place + self.number("I", place)

    def number(self, kind: str, place: int) -> Any:
        if place < 0:  # which struct would take from the end
            raise ValueError("something points before its beginning")
        return struct.unpack_from(f"<{kind}", self.data, place)[0]
