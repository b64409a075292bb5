"""Reading a labelled set, whatever layout it has: WIDER FACE, COCO, YOLO or packed shards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlcycle.datasets import coco, header, packed, resized_copies, wider, yolo
from mlcycle.datasets.member import Member, PhotoPath
from mlcycle.datasets.photograph import LabelledPhotograph
from mlcycle.errors import DataError


@dataclass(frozen=True, slots=True)
class _Layout:
    name: str
    is_it: Callable[[Path], bool]
    splits: Callable[[Path], list[str]]
    read: Callable[[Path, str], list[LabelledPhotograph]]


def _read_wider(place: Path, split: str) -> list[LabelledPhotograph]:
    photographs, sizes = wider.read_wider(place, split)
    return resized_copies.follow_copies(photographs, sizes, header.upright_size)


_LAYOUTS = (
    _Layout("shards", packed.is_packed, packed.splits, packed.read_packed),
    _Layout("wider", wider.is_wider, wider.splits, _read_wider),
    _Layout("coco", coco.is_coco, coco.splits, coco.read_coco),
    _Layout("yolo", yolo.is_yolo, yolo.splits, lambda place, split: yolo.read_yolo(place, split, header.upright_size)),
)


def read(path: str | Path, split: str = "") -> list[LabelledPhotograph]:
    """Reads the labels of a set, sorted by name; the photographs themselves are not opened, except for YOLO's sizes.

    Args:
        path: a folder with wider_face_split/ (WIDER FACE); a .json, or a folder with annotations.json or
            annotations/*.json (COCO); a data.yaml, or a folder that holds one (YOLO); a folder of packed shards.
        split: e.g. "train" or "val"; may be left empty where the set has only one.

    Raises:
        DataError: there is no such set or split, or its labels are wrong.
    """
    place = Path(path).expanduser()
    layout = _layout(place)
    chosen = _choose(place, split, layout.splits(place))
    photographs = layout.read(place, chosen)
    if not photographs:
        raise DataError(f"{place} lists no photographs", "is this the right folder, and the right split?")
    return sorted(photographs, key=lambda photograph: photograph.name)


def splits(path: str | Path) -> list[str]:
    """Returns the names of a set's splits; [""] for one that is not divided.

    Raises:
        DataError: nothing that can be read lies there.
    """
    place = Path(path).expanduser()
    return _layout(place).splits(place)


def layout_of(path: str | Path) -> str:
    """Returns "wider", "coco", "yolo" or "shards".

    Raises:
        DataError: nothing that can be read lies there.
    """
    return _layout(Path(path).expanduser()).name


def read_parts(path: str | Path, split: str = "") -> dict[str, list[LabelledPhotograph]]:
    """Reads one split of a set, or each of its splits, by their names; {"": …} for a set that is not divided.

    Raises:
        DataError: as `read`.
    """
    return {name: read(path, name) for name in ([split] if split else splits(path))}


def fingerprint(photographs: list[LabelledPhotograph]) -> str:
    """Returns the sha256 of a set: its names, the sizes of its files in bytes (-1: missing), and its labels.

    Paths do not count, nor does the order, so that equal data has an equal fingerprint wherever it lies.
    """
    digest = hashlib.sha256()
    for photograph in sorted(photographs, key=lambda photograph: photograph.name):
        faces = len(photograph.boxes_N4)
        digest.update(f"{photograph.name}\0{_bytes(photograph.path)}\0{faces}\0".encode("utf-8", "surrogateescape"))
        digest.update(photograph.boxes_N4.astype("<f4").tobytes())
        digest.update(photograph.ignore_N.astype("u1").tobytes())
        digest.update(photograph.landmarks_N52.astype("<f4").tobytes())
    return digest.hexdigest()


def _layout(place: Path) -> _Layout:
    if not place.exists():
        raise DataError(f"there is no data set at {place}", "a relative path starts from the current folder")
    for layout in _LAYOUTS:
        if layout.is_it(place):
            return layout
    raise DataError(
        f"{place} holds no labelled set",
        "WIDER FACE has wider_face_split/, COCO annotations.json or annotations/*.json, YOLO data.yaml,"
        " and what was packed index.json",
    )


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


def _bytes(path: PhotoPath) -> int:
    if isinstance(path, Member):
        return path.size
    try:
        return path.stat().st_size
    except OSError:
        return -1
