"""Reads a labelled set in any layout: WIDER FACE, COCO, YOLO or packed shards."""

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
    matches: Callable[[Path], bool]
    splits: Callable[[Path], list[str]]
    read: Callable[[Path, str, yolo.SizeOf], list[LabelledImage]]


def _read_wider(place: Path, split: str, size_of: yolo.SizeOf) -> list[LabelledImage]:
    images, sizes = wider.read_wider(place, split)
    return resized_copies.scale_labels_of_copies(images, sizes, image_header.upright_size)


_LAYOUTS = (
    _Layout("shards", packed.is_packed, packed.splits, lambda place, split, size_of: packed.read_packed(place, split)),
    _Layout("wider", wider.is_wider, wider.splits, _read_wider),
    _Layout("coco", coco.is_coco, coco.splits, lambda place, split, size_of: coco.read_coco(place, split)),
    _Layout("yolo", yolo.is_yolo, yolo.splits, yolo.read_yolo),
)


def read(path: str | Path, split: str = "", *, strict: bool = True) -> list[LabelledImage]:
    """Reads the labels of a set, sorted by name; images are not opened, except for their sizes in YOLO's layout.

    Args:
        path: a folder with wider_face_split/ (WIDER FACE); a .json, or a folder with annotations.json or
            annotations/*.json (COCO); a data.yaml, or a folder with one (YOLO); a folder of packed shards.
        split: e.g. "train" or "val"; can be "" if the set has only one.
        strict: what to do in YOLO's layout, whose labels are relative to the image size, with an image that cannot
            be opened: True raises an error; False, for checks, returns it without boxes.

    Raises:
        DataError: the set or split does not exist, or its labels are invalid.
    """
    place = Path(path).expanduser()
    layout = _layout(place)
    chosen = _choose(place, split, _splits(layout, place))
    with np.errstate(over="ignore", invalid="ignore"):  # `check` reports non-finite numbers
        images = layout.read(place, chosen, image_header.upright_size if strict else _size_or_none)
    if not images:
        raise DataError(f"{place} lists no images", "is this the right folder, and the right split?")
    return sorted(images, key=lambda image: image.name)


def splits(path: str | Path) -> list[str]:
    """Returns the names of a set's splits; [""] for a set without splits.

    Raises:
        DataError: the path is not a labelled set.
    """
    place = Path(path).expanduser()
    return _splits(_layout(place), place)


def layout_of(path: str | Path) -> str:
    """Returns "wider", "coco", "yolo" or "shards".

    Raises:
        DataError: the path is not a labelled set.
    """
    return _layout(Path(path).expanduser()).name


def read_parts(path: str | Path, split: str = "", *, strict: bool = True) -> dict[str, list[LabelledImage]]:
    """Reads one split of a set, or all of them, by name; {"": …} for a set without splits.

    Raises:
        DataError: as `read`.
    """
    return {name: read(path, name, strict=strict) for name in ([split] if split else splits(path))}


def fingerprint(images: list[LabelledImage]) -> str:
    """Returns the sha256 of a set: image names, file sizes in bytes (-1: missing), and labels.

    Paths and order do not count, so equal data has an equal fingerprint wherever it is stored.
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
            raise DataError(
                f"no such data set: {place}",
                "check the path, or download WIDER FACE: mlcycle data fetch wider-face DIR",
            )
        for layout in _LAYOUTS:
            if layout.matches(place):
                return layout
    except OSError as problem:
        raise DataError(
            f"{place} cannot be read: {problem.strerror or problem}", "check the permissions of its files"
        ) from None
    raise DataError(
        f"{place} is not a labelled set",
        "WIDER FACE has wider_face_split/, COCO annotations.json or annotations/*.json, YOLO data.yaml,"
        " packed shards index.json",
    )


def _splits(layout: _Layout, place: Path) -> list[str]:
    found = layout.splits(place)
    if not found:
        raise DataError(f"{place} has the layout {layout.name} but no labels", "is this the right folder?")
    return found


def _size_or_none(path: ImagePath) -> tuple[int, int] | None:
    try:
        return image_header.upright_size(path)
    except DataError:
        return None


def _choose(place: Path, split: str, available: list[str]) -> str:
    if split in available:
        return split
    named = [name for name in available if name]
    if not split and len(available) == 1:
        return available[0]
    if not split and named:
        raise DataError(
            f"{place} has several splits: {', '.join(named)}", f"name one of them, as in --split {named[0]}"
        )
    hint = f"it has: {', '.join(named)}" if named else "the set has no splits: leave the split out"
    raise DataError(f"{place} has no split {split}", hint)


def _bytes(path: ImagePath) -> int:
    if isinstance(path, Member):
        return path.size
    try:
        return path.stat().st_size
    except OSError:
        return -1
