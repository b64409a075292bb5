"""YOLO's layout as in Ultralytics: a data.yaml with path, train, val, names; labels/*.txt and images/*.jpg.

A label row is "class cx cy w h", relative to the upright image's width and height; with `kpt_shape: [5, 2]` or
`[5, 3]` in data.yaml five points follow. An image without a label file has no faces.

A set can come from anywhere, and its images are copied, packed and shown. So the data.yaml of a folder can only name
images in that folder; one that is passed itself can have another folder as its `path`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcycle.datasets.labelled_image import LabelledImage, checked_name
from mlcycle.errors import DataError
from mlcycle.plain_yaml import parse

# Decimals of a pixel to round to: relative coordinates are no finer, and 0 is read as 0 again.
DECIMALS = 9
SPLITS = ("train", "val", "test")
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".heic", ".jp2"}
CONFIGURATIONS = ("data.yaml", "data.yml", "dataset.yaml")

SizeOf = Callable[[Path], tuple[int, int] | None]


@dataclass(frozen=True, slots=True)
class _Labels:
    """How to read label rows: the class of faces (None: any), the number of landmarks and of values for each."""

    face: int | None
    points: int
    numbers: int

    @property
    def columns(self) -> int:
        return 5 + self.points * self.numbers


def is_yolo(path: Path) -> bool:
    """Returns whether a path is a data.yaml or a folder with one."""
    return _configuration(path) is not None


def splits(path: Path) -> list[str]:
    """Returns the splits that the data.yaml names.

    Raises:
        DataError: it cannot be read.
    """
    content = _load(path)
    return [split for split in SPLITS if content.get(split)]


def read_yolo(path: Path, split: str, size_of: SizeOf) -> list[LabelledImage]:
    """Reads one split; `size_of` returns the upright width and height of an image in pixels, or None: then its boxes
    are left out, because they are relative to that size.

    Raises:
        DataError: a folder or an image with labels is missing, or a row is invalid.
    """
    content = _load(path)
    labels = _labels(content, path)
    home = _home(content, path)
    places = content[split] if isinstance(content[split], list) else [content[split]]
    found: dict[Path, str] = {}
    for each in places:
        place = _place(home, str(each))
        if path.is_dir() and not _is_inside(place, path):
            hint = "pass the data.yaml itself if it may name images elsewhere"
            raise DataError(f"the data.yaml of {path} names images outside of it: {place}", hint)
        found |= {image: name for image, name in _images(home, place) if image not in found}
    return [_image(image, name, labels, size_of) for image, name in found.items()]


def _configuration(path: Path) -> Path | None:
    if path.suffix.lower() in (".yaml", ".yml"):
        return path
    return next((path / name for name in CONFIGURATIONS if (path / name).is_file()), None)


def _load(path: Path) -> dict[str, Any]:
    file = _configuration(path) or path
    try:
        text = file.read_text("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"no such file: {file}", "pass a data.yaml or a folder with one") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{file} cannot be read: {problem}") from None
    content = parse(text, str(file), DataError).data
    if not isinstance(content, dict) or not any(content.get(split) for split in SPLITS):
        raise DataError(f"{file} names no train, val or test", "a data.yaml has path, train, val and names")
    return content


def _labels(content: dict[str, Any], path: Path) -> _Labels:
    try:
        names = content.get("names") or ["face"]
        classes = dict(enumerate(names)) if isinstance(names, list) else {int(key): names[key] for key in names}
        points, numbers = (int(each) for each in content.get("kpt_shape") or (0, 0))
    except (TypeError, ValueError, LookupError):
        raise DataError(
            f"names or kpt_shape of {path} cannot be read", "write for example names: [face], kpt_shape: [5, 3]"
        ) from None
    faces = [number for number, name in classes.items() if str(name).lower() in ("face", "faces", "human face")]
    if len(classes) > 1 and not faces:
        listed = ", ".join(map(str, classes.values()))
        raise DataError(f"{path} has several classes and none is called face: {listed}", "rename the class of faces")
    return _Labels(faces[0] if len(classes) > 1 else None, points, numbers)


def _home(content: dict[str, Any], path: Path) -> Path:
    """Returns the folder that `path` names: absolute, or relative to the yaml; else the yaml's own, as after a move."""
    own = (_configuration(path) or path).parent
    stated = Path(str(content.get("path") or ".")).expanduser()
    return next((each for each in (own / stated, stated) if each.is_dir()), own)


def _place(home: Path, stated: str) -> Path:
    """Returns the folder or list of images that the data.yaml names."""
    place = home / stated
    if not place.exists() and stated.startswith("../"):
        # Roboflow's exports write ../train/images for train/images.
        return home / stated.removeprefix("../")
    return place


def _is_inside(path: Path, folder: Path) -> bool:
    # Links are not resolved: a set can consist of links, as those that `mlcycle data convert` writes.
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100


def _images(home: Path, place: Path) -> Iterator[tuple[Path, str]]:
    if place.is_dir():
        yield from _walk(place)
    elif place.suffix == ".txt" and place.is_file():
        root = f"{os.path.abspath(home)}/"  # noqa: PTH100  (links are not resolved)
        for line in filter(None, map(str.strip, place.read_text("utf-8").splitlines())):
            name = checked_name(line.removeprefix(root).removeprefix(f"{home}/").removeprefix("./"), place)
            yield home / name, name
    else:
        raise DataError(f"no such folder or list: {place}", "correct `path`, `train` and `val` in the data.yaml")


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    for folder, _, files in os.walk(root, followlinks=True):
        for file in files:
            if os.path.splitext(file)[1].lower() in IMAGES and not file.startswith("."):  # noqa: PTH122
                image = Path(folder) / file
                yield image, image.relative_to(root).as_posix()


def label_file(image: Path) -> Path:
    """Returns the label file of an image: below labels/ instead of images/, else next to the image."""
    parts = list(image.parts)
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt")


def _image(image: Path, name: str, labels: _Labels, size_of: SizeOf) -> LabelledImage:
    rows_NC = _rows(label_file(image), labels)
    # Without faces nothing depends on the size, so the image need not be opened.
    size = size_of(image) if len(rows_NC) else None
    rows_NC = rows_NC if size else rows_NC[:0]
    scale_2 = np.array(size or (1, 1), np.float64)
    centres_N2, sides_N2 = rows_NC[:, 1:3] * scale_2, rows_NC[:, 3:5] * scale_2
    boxes_N4 = _pixels(np.concatenate([centres_N2 - sides_N2 / 2, centres_N2 + sides_N2 / 2], axis=1))
    return LabelledImage(
        path=image,
        name=name,
        boxes_N4=boxes_N4,
        ignore_N=np.zeros(len(rows_NC), bool),
        landmarks_N52=_landmarks(rows_NC[:, 5:], labels, scale_2),
        size=size,
    )


def _rows(file: Path, labels: _Labels) -> np.ndarray:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        lines = []
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{file} cannot be read: {problem}") from None
    rows = [_row(line, f"{file}, line {number}", labels) for number, line in enumerate(lines, 1) if line.strip()]
    faces = [row for row in rows if labels.face is None or row[0] == labels.face]
    return np.array(faces, np.float64).reshape(len(faces), labels.columns)


def _row(line: str, where: str, labels: _Labels) -> list[float]:
    try:
        row = [float(value) for value in line.split()]
    except ValueError:
        raise DataError(f"{where}: this is not a row of numbers", 'a row is "class cx cy w h"') from None
    if len(row) == 5:
        return row + [0.0] * (labels.columns - 5)
    if len(row) != labels.columns:
        hint = 'a row is "class cx cy w h"; landmarks need kpt_shape: [5, 3] in data.yaml; polygons are not read'
        raise DataError(f"{where}: {len(row)} columns, where {labels.columns} are expected", hint)
    return row


def _landmarks(points_NK: np.ndarray, labels: _Labels, scale_2: np.ndarray) -> np.ndarray:
    count = len(points_NK)
    if labels.points != 5 or labels.numbers not in (2, 3):
        return np.full((count, 5, 2), np.nan, np.float32)
    points_N5D = points_NK.reshape(count, 5, labels.numbers)
    labelled_N5 = points_N5D[:, :, 2] > 0 if labels.numbers == 3 else (points_N5D != 0).any(axis=2)
    return _pixels(np.where(labelled_N5[:, :, None], points_N5D[:, :, :2] * scale_2, np.nan))


def _pixels(values: np.ndarray) -> np.ndarray:
    return (values.round(DECIMALS) + 0.0).astype(np.float32)  # + 0.0: no minus zero
