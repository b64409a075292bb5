"""One record per photograph, and the ways to write it down: JSON for programs, a table for people."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

import numpy as np

SCHEMA_VERSION = 1
CSV_COLUMNS = ("input", "status", "error", "width", "height", "face", "x1", "y1", "x2", "y2", "score")
STAGES = ("read", "decode", "resize", "run", "select")


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one photograph after `infer`.

    Attributes:
        input: the photograph's key: its path as given, or below the folder that was given.
        boxes_N4: float32, x1 y1 x2 y2 in pixels of the upright photograph, best first.
        scores_N: float32, 0 to 1.
        landmarks_N52: float32, x y in pixels of the upright photograph, or None for a model without landmarks.
        landmark_names: the five points in order, or ().
        width, height: of the upright photograph in pixels; 0 when it could not be read.
        note: what a reader should know, e.g. "first of 12 frames", or "".
        error: a stable code and a sentence, or None. Faces beside an error were found, but a copy was not written.
        model: name and sha256 of the model file.
        provider: what really ran it, e.g. "cpu".
        milliseconds: time of each stage that was reached.
        copies: where the copies of it were written, by their kind: annotated, redacted.
    """

    input: str
    boxes_N4: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    scores_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    landmarks_N52: np.ndarray | None = None
    landmark_names: tuple[str, ...] = ()
    width: int = 0
    height: int = 0
    note: str = ""
    error: tuple[str, str] | None = None
    model: tuple[str, str] = ("", "")
    provider: str = ""
    milliseconds: dict[str, float] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """Returns "error", "empty" (read, and no face in it) or "ok"."""
        return "error" if self.error else "ok" if len(self.scores_N) else "empty"

    def as_dict(self) -> dict[str, Any]:
        """Returns the record as JSON has it: boxes to 0.01 pixel, scores to six digits."""
        return {
            "schema_version": SCHEMA_VERSION,
            "input": self.input,
            "status": self.status,
            "error": {"code": self.error[0], "message": self.error[1]} if self.error else None,
            "image": {"width": self.width, "height": self.height} if self.width else None,
            "note": self.note,
            "faces": self.faces(),
            "model": {"name": self.model[0], "sha256": self.model[1]},
            "provider": self.provider,
            "annotated": self.copies.get("annotated"),
            "redacted": self.copies.get("redacted"),
            "milliseconds": {stage: round(value, 3) for stage, value in self.milliseconds.items()},
        }

    def faces(self) -> list[dict[str, Any]]:
        """Returns box, score and, if the model gives any, landmarks by name, of each face, as JSON has them."""
        faces: list[dict[str, Any]] = []
        for row, (box_4, score) in enumerate(zip(self.boxes_N4, self.scores_N, strict=True)):
            face: dict[str, Any] = {"box": _rounded(box_4), "score": round(float(score), 6)}
            if self.landmarks_N52 is not None:
                points = (_rounded(point_2) for point_2 in self.landmarks_N52[row])
                face["landmarks"] = dict(zip(self.landmark_names, points, strict=True))
            faces.append(face)
        return faces


class Writer(Protocol):
    """What writes records down, one at a time, and says when they end."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


def line(record: Record) -> str:
    """Returns a record as one line of JSON, in ASCII, so that a name in any encoding survives any terminal or pipe."""
    return json.dumps(record.as_dict(), ensure_ascii=True, allow_nan=False)


class JsonLines:
    """Writes one line of JSON per record, at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, record: Record) -> None:
        self._stream.write(line(record) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Ends the output; what was written so far is whole."""


class Json:
    """Writes one JSON document, record by record, so that memory does not grow with their number."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._between = f'{{"schema_version": {SCHEMA_VERSION}, "records": [\n'

    def write(self, record: Record) -> None:
        self._stream.write(self._between + line(record))
        self._between = ",\n"

    def close(self) -> None:
        """Ends the document; what was written so far is whole."""
        self._stream.write(("\n" if self._between == ",\n" else self._between) + "]}\n")


class Csv:
    """Writes a row for each face; a photograph without one, or with an error, has one row with no face in it."""

    def __init__(self, stream: TextIO) -> None:
        import csv  # each format brings what it alone needs: every start would pay for it

        self._writer = csv.writer(stream, lineterminator="\n")
        self._head: list[str] = []

    def write(self, record: Record) -> None:
        if not self._head:
            self._begin(record.landmark_names)
        photograph: list[Any] = [readable(record.input), record.status, record.error[0] if record.error else None]
        photograph += [record.width or None, record.height or None]
        for number, face in enumerate(record.faces(), 1):
            points = [value for point in face.get("landmarks", {}).values() for value in point]
            self._writer.writerow([*photograph, number, *face["box"], face["score"], *points])
        if not len(record.scores_N):
            self._writer.writerow([*photograph, *[None] * (len(self._head) - len(photograph))])

    def close(self) -> None:
        """Ends the rows; without records there is the head alone."""
        if not self._head:
            self._begin(())

    def _begin(self, landmark_names: tuple[str, ...]) -> None:
        self._head = [*CSV_COLUMNS, *(f"{name}_{axis}" for name in landmark_names for axis in "xy")]
        self._writer.writerow(self._head)


class Coco:
    """Writes one COCO document: photographs as they come, faces behind them, kept in a temporary file until then."""

    def __init__(self, stream: TextIO) -> None:
        import tempfile

        self._stream = stream
        self._annotations = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 (closed in close)
        self._images = self._faces = 0
        self._names: tuple[str, ...] = ()

    def write(self, record: Record) -> None:
        self._images += 1
        self._names = record.landmark_names
        image: dict[str, Any] = {"id": self._images, "file_name": record.input, "status": record.status}
        if record.width:
            image |= {"width": record.width, "height": record.height}
        if record.error:
            image["error"] = record.error[0]
        self._stream.write(('{"images": [\n' if self._images == 1 else ",\n") + json.dumps(image))
        for face in record.faces():
            self._faces += 1
            x1, y1, x2, y2 = face["box"]
            annotation: dict[str, Any] = {"id": self._faces, "image_id": self._images, "category_id": 1, "iscrowd": 0}
            width, height = round(x2 - x1, 2), round(y2 - y1, 2)
            annotation |= {"bbox": [x1, y1, width, height], "area": round(width * height, 2), "score": face["score"]}
            if "landmarks" in face:
                points = face["landmarks"].values()
                annotation |= {"keypoints": [value for x, y in points for value in (x, y, 2)]}
                annotation |= {"num_keypoints": len(points)}
            self._annotations.write((",\n" if self._faces > 1 else "") + json.dumps(annotation))

    def close(self) -> None:
        """Ends the document; what was written so far is whole."""
        import shutil

        category: dict[str, Any] = {"id": 1, "name": "face"} | ({"keypoints": self._names} if self._names else {})
        self._stream.write("" if self._images else '{"images": [')
        self._stream.write(f'\n],\n"categories": [{json.dumps(category)}],\n"annotations": [\n')
        self._annotations.seek(0)
        shutil.copyfileobj(self._annotations, self._stream)
        self._annotations.close()
        self._stream.write("\n]}\n")


class Table:
    """Writes for people: a line per photograph, and, with `faces`, a line for each face below it."""

    def __init__(self, stream: TextIO, keys: list[str], *, faces: bool) -> None:
        self._stream = stream
        self._width = min(60, max((len(printable(key)) for key in keys), default=0))
        self._faces = faces

    def write(self, record: Record) -> None:
        size = f"{record.width} x {record.height}" if record.width else "-"
        self._stream.write(f"{printable(record.input):<{self._width}}  {size:>13}  {verdict(record)}\n")
        if self._faces and len(record.scores_N):
            self._stream.write(_face_lines(record))
        self._stream.flush()

    def close(self) -> None:
        """Ends the table; it needs no closing line."""


# Those that need nothing but a stream.
WRITERS: dict[str, Callable[[TextIO], Writer]] = {"json": Json, "jsonl": JsonLines, "csv": Csv, "coco": Coco}


def verdict(record: Record) -> str:
    """Returns the sentence that a person reads."""
    count = len(record.scores_N)
    said = "No face." if not count else "That's a face." if count == 1 else f"Those are {count} faces."
    if record.error:
        why = printable(record.error[1])
        said = f"{said} But {why}." if record.width else f"Unreadable: {why}."
    return f"{said} ({record.note})" if record.note else said


def readable(text: str) -> str:
    """Returns a name in UTF-8: what is none of it becomes an escape, as \\xff."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Returns a name as a terminal may show it: what is no printable character becomes an escape, as \\n or \\xff."""
    text = readable(text)
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _face_lines(record: Record) -> str:
    lines = [f"{'score':>10} {'x1':>8} {'y1':>8} {'x2':>8} {'y2':>8}"]
    for box_4, score in zip(record.boxes_N4.tolist(), record.scores_N.tolist(), strict=True):
        lines.append(f"{score:>10.3f} " + " ".join(f"{value:>8.1f}" for value in box_4))
    return "\n".join(lines) + "\n"


def _rounded(values_N: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in values_N]
