"""Tables of the ORT format → bytes, always the same ones.

onnxruntime writes what it keeps in hash tables in the order in which they lie in memory, so that the same model gives
other bytes each time. Here they are written anew, in one order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import flatbuffers

from mlcycle.artifact.admission import ORT_FORMAT
from mlcycle.artifact.ort_tables import ROOT, SIZES, TYPES, Table, fields, graphs_of

# Weights are used where they lie, by instructions that want them aligned.
ALIGNMENT = 16


def write_tables(tables: Table) -> bytes:
    """Writes tables as `read_tables` gives them; equal tables give equal bytes, whatever order their lists came in.

    Only lists whose order means nothing are put in order, in place: weights, values, entries of the metadata and
    operator sets, which are told once each.
    """
    _put_in_order(tables)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(_table(builder, tables, ROOT), file_identifier=ORT_FORMAT)
    return bytes(builder.Output())


def _put_in_order(tables: Table) -> None:
    model = tables["model"]
    model["metadata_props"].sort(key=lambda entry: entry["key"])
    sets = {(each["domain"], each["version"]) for each in model["opset_import"]}
    model["opset_import"] = [{"domain": domain, "version": version} for domain, version in sorted(sets)]
    for graph in graphs_of(tables):
        for kind in ("initializers", "node_args"):
            graph.get(kind, []).sort(key=lambda each: each["name"])


def _table(builder: flatbuffers.Builder, values: Table, name: str) -> int:
    """Writes what a table points at, then the table, and returns where it stands."""
    kinds = {field: _kind(kind, values) for field, kind in fields(name) if field in values}
    places = {field: _elsewhere(builder, values[field], kind) for field, kind in kinds.items() if kind not in SIZES}
    builder.StartObject(len(fields(name)))
    for slot, (field, _) in enumerate(fields(name)):
        if field in places:
            builder.PrependUOffsetTRelative(places[field])
            builder.Slot(slot)
        elif field in values:
            _number(builder, kinds[field], values[field])
            builder.Slot(slot)
    return builder.EndObject()


def _kind(kind: str, values: Table) -> str:
    return TYPES[values["value_type"]] if kind == "TypeInfoValue" else kind


def _elsewhere(builder: flatbuffers.Builder, value: Any, kind: str) -> int:
    if kind == "string":
        return builder.CreateString(value)
    if not kind.startswith("["):
        return _table(builder, value, kind)
    inner = kind[1:-1]
    if inner in SIZES:
        return _row(builder, value, SIZES[inner])
    return _pointers(builder, [_elsewhere(builder, each, inner) for each in value])


def _pointers(builder: flatbuffers.Builder, places: Sequence[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):  # a FlatBuffer is written from its end
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()


def _row(builder: flatbuffers.Builder, data: bytes, size: int) -> int:
    builder.StartVector(size, len(data) // size, ALIGNMENT if size == 1 else min(size, 8))
    builder.head = builder.Head() - len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return builder.EndVector()


def _number(builder: flatbuffers.Builder, kind: str, number: float) -> None:
    data = struct.pack(f"<{kind}", number)
    builder.Prep(len(data), 0)
    builder.head = builder.Head() - len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
