"""Output formats for records: JSON, CSV and COCO for programs, a table for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import IO, Any, Protocol, TextIO

from mlcycle.inference.record import SCHEMA_VERSION, Record, json_line, readable, title, verdict

CSV_COLUMNS = (
    *("input", "part", "seconds", "status", "error", "width", "height"),
    *("face", "x1", "y1", "x2", "y2", "score"),
)


class Writer(Protocol):
    """Writes records one at a time; `close` completes the output."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """Writes one line of JSON per record, at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, record: Record) -> None:
        self._stream.write(json_line(record) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Does nothing: the lines are complete."""


class Json:
    """Writes one JSON document, record by record, so that memory does not grow with their number."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._separator = f'{{"schema_version": {SCHEMA_VERSION}, "records": [\n'

    def write(self, record: Record) -> None:
        self._stream.write(self._separator + json_line(record))
        self._separator = ",\n"

    def close(self) -> None:
        """Completes the document with the records so far."""
        self._stream.write(("\n" if self._separator == ",\n" else self._separator) + "]}\n")


class Csv:
    """Writes a row for each face; an image without faces or with an error has one row without a face."""

    def __init__(self, stream: TextIO) -> None:
        from mlcycle.csv_rows import Rows  # imported only for this format, because every start would pay for it

        self._writer = Rows(stream)
        self._head: list[str] = []

    def write(self, record: Record) -> None:
        if not self._head:
            self._begin(record.landmark_names)
        part = (record.part.number, record.part.seconds) if record.part else (None, None)
        image: list[Any] = [readable(record.input), *part, record.status]
        image += [record.error[0] if record.error else None, record.width or None, record.height or None]
        for number, face in enumerate(record.faces(), 1):
            points = [value for point in face.get("landmarks", {}).values() for value in point]
            self._writer.writerow([*image, number, *face["box"], face["score"], *points])
        if not len(record.scores_N):
            self._writer.writerow([*image, *[None] * (len(self._head) - len(image))])

    def close(self) -> None:
        """Writes the header if there were no records."""
        if not self._head:
            self._begin(())

    def _begin(self, landmark_names: tuple[str, ...]) -> None:
        self._head = [*CSV_COLUMNS, *(f"{name}_{axis}" for name in landmark_names for axis in "xy")]
        self._writer.writerow(self._head)


class Coco:
    """Writes one COCO document: images as they come, then faces, and then files that could not be read.

    COCO's readers need the width and height of an image, so a file without them is in the list `unreadable`. Faces and
    unreadable files are collected in buffers.

    Args:
        open_buffer: opens a buffer; None for a temporary file.
    """

    def __init__(self, stream: TextIO, open_buffer: Callable[[], IO[str]] | None = None) -> None:
        import tempfile

        self._stream = stream
        open_buffer = open_buffer or partial(tempfile.TemporaryFile, "w+", encoding="ascii")
        # Closed in close.
        self._annotations, self._unreadable = open_buffer(), open_buffer()
        self._images = self._faces = self._failed = 0
        self._names: tuple[str, ...] = ()

    def write(self, record: Record) -> None:
        self._names = record.landmark_names
        image: dict[str, Any] = {"file_name": record.input, "status": record.status}
        if record.part:
            image["part"] = record.part.number
        if record.error:
            image["error"] = record.error[0]
        if not record.width:
            self._unreadable.write((",\n" if self._failed else "") + json.dumps(image))
            self._failed += 1
            return
        self._images += 1
        image = {"id": self._images, **image, "width": record.width, "height": record.height}
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
        """Completes the document with the records so far."""
        import shutil

        category: dict[str, Any] = {"id": 1, "name": "face"} | ({"keypoints": self._names} if self._names else {})
        self._stream.write("" if self._images else '{"images": [')
        self._stream.write(f'\n],\n"categories": [{json.dumps(category)}],\n"annotations": [\n')
        for buffer, end in ((self._annotations, '\n],\n"unreadable": [\n'), (self._unreadable, "\n]}\n")):
            buffer.seek(0)
            shutil.copyfileobj(buffer, self._stream)
            buffer.close()
            self._stream.write(end)


class Table:
    """Writes a table for people: a line for each image and, with `faces`, a line for each of its faces."""

    def __init__(self, stream: TextIO, titles: Iterable[str], *, faces: bool) -> None:
        self._stream = stream
        self._width = min(60, max((len(each) for each in titles), default=0))
        self._faces = faces

    def write(self, record: Record) -> None:
        size = f"{record.width} x {record.height}" if record.width else "-"
        self._stream.write(f"{title(record.input, record.part):<{self._width}}  {size:>13}  {verdict(record)}\n")
        if self._faces and len(record.scores_N):
            self._stream.write(_face_lines(record))
        self._stream.flush()

    def close(self) -> None:
        """Does nothing: the table needs no closing line."""


# The formats that need only a stream.
WRITERS: dict[str, Callable[[TextIO], Writer]] = {"json": Json, "jsonl": JsonLines, "csv": Csv, "coco": Coco}


def _face_lines(record: Record) -> str:
    lines = [f"{'score':>10} {'x1':>8} {'y1':>8} {'x2':>8} {'y2':>8}"]
    for box_4, score in zip(record.boxes_N4.tolist(), record.scores_N.tolist(), strict=True):
        lines.append(f"{score:>10.3f} " + " ".join(f"{value:>8.1f}" for value in box_4))
    return "\n".join(lines) + "\n"
