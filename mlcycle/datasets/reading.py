"""Reading a labelled set, whatever layout it has: WIDER FACE, COCO, YOLO or packed shards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcycle.datasets import image_header
from mlcycle.datasets.formats import coco, resized_copies, wider, yolo
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import ImagePath, Member
from mlcycle.datasets.shards import packed
from mlcycle.errors import DataError


@dataclass(frozen=True, slots=True)
class _Layout:
    name: str
    is_it: Callable[[Path], bool]
    splits: Callable[[Path], list[str]]
    read: Callable[[Path, str, yolo.SizeOf], list[LabelledImage]]


def _read_wider(place: Path, split: str, size_of: yolo.SizeOf) -> list[LabelledImage]:
    images, sizes = wider.read_wider(place, split)
    return resized_copies.follow_copies(images, sizes, image_header.upright_size)


_LAYOUTS = (
    _Layout("shards", packed.is_packed, packed.splits, lambda place, split, size_of: packed.read_packed(place, split)),
    _Layout("wider", wider.is_wider, wider.splits, _read_wider),
    _Layout("coco", coco.is_coco, coco.splits, lambda place, split, size_of: coco.read_coco(place, split)),
    _Layout("yolo", yolo.is_yolo, yolo.splits, yolo.read_yolo),
)


def read(path: str | Path, split: str = "", *, strict: bool = True) -> list[LabelledImage]:
    """Reads the labels of a set, sorted by name; the images themselves are not opened, except for YOLO's sizes.

    Args:
        path: a folder with wider_face_split/ (WIDER FACE); a .json, or a folder with annotations.json or
            annotations/*.json (COCO); a data.yaml, or a folder that holds one (YOLO); a folder of packed shards.
        split: e.g. "train" or "val"; may be left empty where the set has only one.
        strict: False is for who looks for broken images: in YOLO's layout, whose labels are shares of a
            image's sides, one that cannot be opened then has no boxes, instead of an error.

    Raises:
        DataError: there is no such set or split, or its labels are wrong.
    """
    place = Path(path).expanduser()
    layout = _layout(place)
    chosen = _choose(place, split, _splits(layout, place))
    with np.errstate(over="ignore", invalid="ignore"):  # numbers that are none stay what they are, for `check` to find
        images = layout.read(place, chosen, image_header.upright_size if strict else _size_or_none)
    if not images:
        raise DataError(f"{place} lists no images", "is this the right folder, and the right split?")
    return sorted(images, key=lambda image: image.name)


def splits(path: str | Path) -> list[str]:
    """Returns the names of a set's splits; [""] for one that is not divided.

    Raises:
        DataError: nothing that can be read lies there.
    """
    place = Path(path).expanduser()
    return _splits(_layout(place), place)


def layout_of(path: str | Path) -> str:
    """Returns "wider", "coco", "yolo" or "shards".

    Raises:
        DataError: nothing that can be read lies there.
    """
    return _layout(Path(path).expanduser()).name


def read_parts(path: str | Path, split: str = "", *, strict: bool = True) -> dict[str, list[LabelledImage]]:
    """Reads one split of a set, or each of its splits, by their names; {"": …} for a set that is not divided.

    Raises:
        DataError: as `read`.
    """
    return {name: read(path, name, strict=strict) for name in ([split] if split else splits(path))}


def fingerprint(images: list[LabelledImage]) -> str:
    """Returns the sha256 of a set: its names, the sizes of its files in bytes (-1: missing), and its labels.

    Paths do not count, nor does the order, so that equal data has an equal fingerprint wherever it lies.
    """
    digest = hashlib.sha256()
    for image in sorted(images, key=lambda image: image.name):
        faces = len(image.boxes_N4)
        digest.update(f"{image.name}\0{_bytes(image.path)}\0{faces}\0".encode("utf-8", "surrogateescape"))
        digest.update(image.boxes_N4.astype("<f4").tobytes())
        digest.update(image.ignore_N.astype("u1").tobytes())
        digest.update(image.landmarks_N52.astype("<f4").tobytes())
    return digest.hexdigest()


def _layout(place: Path) -> _Layout:
    try:
        if not place.exists():
            raise DataError(f"there is no data set at {place}", "a relative path starts from the current folder")
        for layout in _LAYOUTS:
            if layout.is_it(place):
                return layout
    except OSError as problem:
        raise DataError(f"{place} cannot be read: {problem.strerror or problem}", "may you read all of it?") from None
    raise DataError(
        f"{place} holds no labelled set",
        "WIDER FACE has wider_face_split/, COCO annotations.json or annotations/*.json, YOLO data.yaml,"
        " and what was packed index.json",
    )


def _splits(layout: _Layout, place: Path) -> list[str]:
    found = layout.splits(place)
    if not found:
        raise DataError(f"{place} has the layout {layout.name}, and no labels", "is this the right folder?")
    return found


def _size_or_none(path: ImagePath) -> tuple[int, int] | None:
    try:
        return image_header.upright_size(path)
    except DataError:
        return None


def _choose(place: Path, split: str, there: list[str]) -> str:
    if split in there:
        return split
    named = [name for name in there if name]
    if not split and len(there) == 1:
        return there[0]
    if not split and named:
        raise DataError(f"{place} has several splits: {', '.join(named)}", f"say which one, for example {named[0]}")
    hint = f"it has: {', '.join(named)}" if named else "the set is not divided: leave the split out"
    raise DataError(f"{place} has no split {split}", hint)


def _bytes(path: ImagePath) -> int:
    if isinstance(path, Member):
        return path.size
    try:
        return path.stat().st_size
    except OSError:
        return -1
