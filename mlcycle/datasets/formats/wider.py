"""WIDER FACE as published: WIDER_<split>/images/EVENT/*.jpg and wider_face_split/wider_face_<split>_bbx_gt.txt.

Each image has a line with its name, a line with its number of faces, and a row "x y w h blur expression illumination
invalid occlusion pose" for each face; the number 0 is followed by one row of zeros. Landmarks are not part of WIDER
FACE. They are read from a file next to the labels in the style of RetinaFace ("# name", then "x y w h" or "x1 y1 x2 y2"
and five times "x y flag") and matched to the faces by their boxes; if every face has a row, by order, because two faces
can have the same box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlcycle.datasets.labelled_image import LabelledImage, checked_name
from mlcycle.errors import DataError

LABELS = "wider_face_split"
COLUMNS, INVALID_COLUMN = 10, 7
COUNT = re.compile("[0-9]{1,9}")

Row = list[float]
Points = list[Row]
Sizes = dict[str, tuple[int, int]]


def is_wider(path: Path) -> bool:
    """Returns whether a folder has WIDER FACE's labels."""
    return (path / LABELS).is_dir()


def splits(folder: Path) -> list[str]:
    """Returns the splits that have labels, e.g. ["train", "val"]."""
    files = (folder / LABELS).glob("wider_face_*_bbx_gt.txt")
    return sorted(file.name[len("wider_face_") : -len("_bbx_gt.txt")] for file in files)


def read_wider(folder: Path, split: str) -> tuple[list[LabelledImage], Sizes]:
    """Reads one split; faces marked invalid, and those without width or height, become boxes to be ignored.

    Returns the images as labelled, and by name the width, height in pixels of the labelled image, where a file with
    landmarks states them.

    Raises:
        DataError: the label file cannot be read; the message names its line.
    """
    points, sizes = _read_landmarks(folder / LABELS, split)
    root = folder / f"WIDER_{split}" / "images"
    labels = folder / LABELS / f"wider_face_{split}_bbx_gt.txt"
    images = [_image(root, name, rows, points.get(name, [])) for name, rows in _read_rows(labels)]
    return images, sizes


def _image(root: Path, name: str, rows: list[Row], points: Points) -> LabelledImage:
    rows_NC = np.array(rows, np.float32).reshape(len(rows), COLUMNS)
    ignore_N = (rows_NC[:, 2] <= 0) | (rows_NC[:, 3] <= 0) | (rows_NC[:, INVALID_COLUMN] != 0)
    boxes_N4 = np.concatenate([rows_NC[:, :2], rows_NC[:, :2] + rows_NC[:, 2:4]], axis=1)
    return LabelledImage(
        path=root / name,
        name=name,
        boxes_N4=boxes_N4,
        ignore_N=ignore_N,
        landmarks_N52=_landmarks(rows, points),
        group=name.rpartition("/")[0],
    )


def _read_rows(labels: Path) -> Iterator[tuple[str, list[Row]]]:
    lines = _lines(labels)
    at = 0
    while at < len(lines):
        name = lines[at].strip()
        if not name:
            at += 1
            continue
        count = _count(lines, at + 1, labels)
        first, last = at + 2, at + 2 + count
        yield checked_name(name, labels), [_row(lines, line, labels) for line in range(first, last)]
        at = last
        # After a count of 0 the official files have one row of zeros; other files may lack it.
        if count == 0 and at < len(lines) and _is_row(lines[at]):
            at += 1


def _count(lines: list[str], at: int, labels: Path) -> int:
    text = lines[at].strip() if at < len(lines) else ""
    if not COUNT.fullmatch(text):
        raise DataError(f"{labels}, line {at + 1}: the number of faces is expected here", "fetch the label file again")
    return int(text)


def _row(lines: list[str], at: int, labels: Path) -> Row:
    try:
        values = [float(value) for value in lines[at].split()]
        if len(values) not in (4, COLUMNS):
            raise ValueError
        # Other files may have boxes without the attributes.
        return values + [0.0] * (COLUMNS - len(values))
    except (ValueError, IndexError):
        hint = 'a row has "x y w h" and six attributes; fetch the label file again'
        raise DataError(f"{labels}, line {at + 1}: this is not the row of a face", hint) from None


def _is_row(line: str) -> bool:
    values = line.split()
    return len(values) in (4, COLUMNS) and all(value.lstrip("-").isdigit() for value in values)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{file} cannot be read: {problem}", "fetch the label file again") from None


def _read_landmarks(folder: Path, split: str) -> tuple[dict[str, Points], Sizes]:
    candidates = (folder / name for name in (f"landmarks_{split}.txt", "landmarks.txt", "label.txt"))
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    found: dict[str, Points] = {}
    sizes: Sizes = {}
    points: Points = []
    for number, line in enumerate(_lines(file) if file else [], 1):
        values = line.split()
        if line.startswith("#"):
            name, size = _name_and_size(line[1:].strip())
            points = found.setdefault(name, [])
            if size:
                sizes[name] = size
        elif file and len(values) >= 19:
            points.append(_floats(values, file, number)[:19])
    return found, sizes


def _name_and_size(text: str) -> tuple[str, tuple[int, int] | None]:
    """Splits a name, which can contain spaces, from an optional width and height after it."""
    name, *size = text.rsplit(maxsplit=2)
    if len(size) == 2 and all(side.isdigit() and int(side) for side in size):
        return name, (int(size[0]), int(size[1]))
    return text, None


def _floats(values: list[str], file: Path, number: int) -> Row:
    try:
        return [float(value) for value in values]
    except ValueError:
        raise DataError(
            f"{file}, line {number}: this is not a row of landmarks", "correct it or move the file"
        ) from None


def _landmarks(rows: list[Row], points: Points) -> np.ndarray:
    landmarks_N52 = np.full((len(rows), 5, 2), np.nan, np.float32)
    for index, row in enumerate(_matched(rows, points) if points else ()):
        if row:
            values_53 = np.array(row[4:], np.float32).reshape(5, 3)
            absent_5 = (values_53[:, 2] < 0) | (values_53[:, :2] == -1).all(axis=1)
            landmarks_N52[index] = np.where(absent_5[:, None], np.nan, values_53[:, :2])
    return landmarks_N52


def _matched(rows: list[Row], points: Points) -> list[Row | None]:
    """Returns the landmark row of each face; None for a face without one."""
    boxes = [([x, y, x + width, y + height], [x, y, width, height]) for x, y, width, height, *_ in rows]
    if len(points) == len(boxes) and all(row[:4] in box for row, box in zip(points, boxes, strict=True)):
        return list(points)
    by_box = {tuple(row[:4]): row for row in points}
    return [by_box.get(tuple(corners)) or by_box.get(tuple(sides)) for corners, sides in boxes]
