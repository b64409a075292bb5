"""Results as a Parquet file: one row per image, with its faces as a list in the column `faces`.

The faces are null for a failed image and [] for one without faces. UNNEST(faces) gives the flat table of the csv
format, with the same column names, but without rows for images without faces. Numbers are not rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from mlcycle.inference.record import SCHEMA_VERSION, Record, readable

# A row group is written at this many buffered images or faces, so that memory does not grow with their number.
IMAGES = 10_000
FACES = 50_000
_COLUMNS = {
    "input": pa.string(),
    "part": pa.int32(),
    "seconds": pa.float64(),
    "status": pa.string(),
    "error": pa.string(),
    "message": pa.string(),
    "note": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "annotated": pa.string(),
    "redacted": pa.string(),
    "crops": pa.list_(pa.string()),
    "model": pa.string(),
    "sha256": pa.string(),
    "provider": pa.string(),
    "milliseconds": pa.float32(),
}


class Parquet:
    """Writes a Parquet file into the binary buffer of a text stream."""

    def __init__(self, stream: TextIO) -> None:
        self._file = stream.buffer
        self._waiting: list[Record] = []
        self._faces = 0
        self._landmarks: tuple[str, ...] = ()
        self._writer: parquet.ParquetWriter | None = None

    def write(self, record: Record) -> None:
        self._waiting.append(record)
        self._faces += len(record.scores_N)
        if len(self._waiting) >= IMAGES or self._faces >= FACES:
            self._flush()

    def close(self) -> None:
        """Writes the buffered records and completes the file."""
        self._flush().close()

    def _flush(self) -> parquet.ParquetWriter:
        if self._writer is None:
            # The first record defines the landmark columns; without records there are none.
            self._landmarks = self._waiting[0].landmark_names if self._waiting else ()
            self._writer = parquet.ParquetWriter(self._file, schema(self._landmarks), compression="zstd")
        if self._waiting:
            self._writer.write_table(table(self._waiting, self._landmarks))
        self._waiting, self._faces = [], 0
        return self._writer


def schema(landmarks: Sequence[str]) -> pa.Schema:
    """Returns the columns: those of an image, and its faces as structures of x1 y1 x2 y2, score, landmarks."""
    columns = {**_COLUMNS, "faces": pa.list_(pa.struct(_face(landmarks)))}
    return pa.schema(columns, {"mlcycle.schema_version": str(SCHEMA_VERSION)})


def table(records: list[Record], landmarks: Sequence[str]) -> pa.Table:
    """Returns the rows of records; boxes, scores and landmarks stay arrays throughout."""
    rows = [_row(record) for record in records]
    columns = [pa.array([row[name] for row in rows], kind) for name, kind in _COLUMNS.items()]
    return pa.Table.from_arrays([*columns, _faces(records, landmarks)], schema=schema(landmarks))


def _row(record: Record) -> dict[str, object]:
    code, message = record.error or (None, None)
    return {
        "input": readable(record.input),
        "part": record.part.number if record.part else None,
        "seconds": record.part.seconds if record.part else None,
        "status": record.status,
        "error": code,
        "message": readable(message) if message else None,
        "note": record.note or None,
        "width": record.width or None,
        "height": record.height or None,
        "annotated": _path(record, "annotated"),
        "redacted": _path(record, "redacted"),
        "crops": [readable(path) for path in record.crops() or ()] or None,
        "model": record.model[0],
        "sha256": record.model[1],
        "provider": record.provider,
        "milliseconds": sum(record.milliseconds.values()),
    }


def _path(record: Record, kind: str) -> str | None:
    return readable(record.copies[kind]) if kind in record.copies else None


def _faces(records: list[Record], landmarks: Sequence[str]) -> pa.Array:
    counts = [len(record.scores_N) for record in records]
    is_null = pa.array([record.error is not None and not len(record.scores_N) for record in records])
    points = len(landmarks)
    numbers = [
        np.concatenate([record.boxes_N4 for record in records]),
        np.concatenate([record.scores_N for record in records])[:, None],
        np.concatenate([_points(record, points) for record in records]),
    ]
    columns = np.concatenate(numbers, axis=1, dtype=np.float32).T
    structures = pa.StructArray.from_arrays([pa.array(column) for column in columns], fields=_face(landmarks))
    return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *counts]), pa.int32()), structures, mask=is_null)


def _points(record: Record, count: int) -> np.ndarray:
    if record.landmarks_N52 is None:
        return np.full((len(record.scores_N), 2 * count), np.nan, np.float32)
    return record.landmarks_N52.reshape(-1, 2 * count)


def _face(landmarks: Sequence[str]) -> list[pa.Field]:
    points = [f"{name}_{axis}" for name in landmarks for axis in "xy"]
    return [pa.field(name, pa.float32()) for name in ("x1", "y1", "x2", "y2", "score", *points)]
