"""What parts and images are called in a set that is written: names that its layout can have, each once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mlcycle.datasets.formats import yolo
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.member import Member
from mlcycle.errors import DataError

Parts = dict[str, list[LabelledImage]]


def fit(parts: Mapping[str, Sequence[LabelledImage]], layout: str) -> tuple[Parts, list[str]]:
    """Returns the parts and their images under names that the layout can have, and sentences of what was changed.

    Raises:
        DataError: the layout cannot have a name, or the set would be empty.
    """
    named: Parts = {}
    for split, images in parts.items():
        if images:
            named.setdefault(part_name(split, layout, len(parts) == 1), []).extend(images)
    if not named:
        raise DataError("no image is left to write", "is this the right set, and the right split?")
    changed = 0
    for split, images in named.items():
        inside = _inside(images)
        for each in inside:
            _must_be_possible(each.name, layout)
        named[split] = unique(inside, _without_suffix if layout == "yolo" else str)
        changed += sum(before.name != after.name for before, after in zip(inside, named[split], strict=True))
    return named, [f"{changed:,} images were given another name, for theirs was taken"] if changed else []


def part_name(split: str, layout: str, alone: bool) -> str:
    """Returns what a part, which may be `alone`, is called in a layout.

    Raises:
        DataError: it has no such part.
    """
    if layout == "coco":
        return split or ("" if alone else "train")
    if layout == "wider" or split in yolo.SPLITS:
        return split or "train"
    name = {"": "train", "valid": "val", "validation": "val"}.get(split)
    if name is None:
        raise DataError(f"YOLO has no part {split}", "its parts are train, val and test; choose one with --split")
    return name


def _inside(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Lists of images may name them by paths from elsewhere; then they are named from the folder that has all."""
    if not any(_leads_out(each.name) for each in images):
        return list(images)
    # Links stay what they are, and a shard says nothing of where its images came from.
    paths = [
        Path(os.path.abspath(each.name if isinstance(each.path, Member) else each.path))  # noqa: PTH100
        for each in images
    ]
    home = Path(os.path.commonpath([path.parent for path in paths]))
    return [replace(each, name=path.relative_to(home).as_posix()) for each, path in zip(images, paths, strict=True)]


def _leads_out(name: str) -> bool:
    return PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


def _must_be_possible(name: str, layout: str) -> None:
    why = ""
    if "\\" in name or "\0" in name or not name:
        why = "a backslash is read as a slash"
    elif layout == "wider" and (name.splitlines() != [name] or name != name.strip() or not _is_unicode(name)):
        why = "its labels are lines of UTF-8, which a name must fit into"
    elif layout == "yolo" and PurePosixPath(name).suffix.lower() not in yolo.IMAGES:
        why = f"its images end in {' '.join(sorted(yolo.IMAGES))}"
    elif layout == "yolo" and PurePosixPath(name).name.startswith("."):
        why = "hidden files are not read"
    if why:
        written = name.encode("utf-8", "backslashreplace").decode()
        raise DataError(f"the layout {layout} cannot have an image called {written!r}: {why}", "rename it first")


def _is_unicode(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def unique(images: Sequence[LabelledImage], key: Callable[[str], str] = str) -> list[LabelledImage]:
    """Puts -2, -3 … behind names that are taken; `key` is what must not be there twice."""
    taken = {key(each.name) for each in images}
    seen: set[str] = set()
    result = []
    for each in images:
        name, number = each.name, 1
        while key(name) in seen or (number > 1 and key(name) in taken):
            number += 1
            path = PurePosixPath(each.name)
            name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        seen.add(key(name))
        result.append(each if name == each.name else replace(each, name=name))
    return result


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
