"""Names of the parts and images of a set that is written: valid in its layout, and unique."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mlcycle.counted import counted
from mlcycle.datasets.formats import yolo
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.errors import DataError

Parts = dict[str, list[LabelledImage]]


def fit(parts: Mapping[str, Sequence[LabelledImage]], layout: str) -> tuple[Parts, list[str]]:
    """Returns the parts and their images under names that are valid in the layout, and sentences about changed names.

    Raises:
        DataError: a name is not possible in the layout, or the set would be empty.
    """
    named: Parts = {}
    for split, images in parts.items():
        if images:
            named.setdefault(part_name(split, layout, len(parts) == 1), []).extend(images)
    if not named:
        raise DataError("no images to write", "is this the right set, and the right split?")
    changed = 0
    for split, images in named.items():
        local = _named_from_common_folder(images)
        for each in local:
            _must_be_possible(each.name, layout)
        named[split] = unique(local, _without_suffix if layout == "yolo" else str)
        changed += sum(before.name != after.name for before, after in zip(local, named[split], strict=True))
    return named, [renamed_note(changed)] if changed else []


def renamed_note(images: int) -> str:
    """Returns the sentence about images whose name was taken; `images` is at least 1."""
    return f"{counted(images, 'image was', 'images were')} renamed, because another has the same name"


def part_name(split: str, layout: str, alone: bool) -> str:
    """Returns the name of a part in a layout; `alone` says that the set has only this part.

    Raises:
        DataError: the layout has no such part.
    """
    if layout == "coco":
        return split or ("" if alone else "train")
    if layout == "wider" or split in yolo.SPLITS:
        return split or "train"
    name = {"": "train", "valid": "val", "validation": "val"}.get(split)
    if name is None:
        raise DataError(f"YOLO has no split {split}", "its splits are train, val and test; select one with --split")
    return name


def _named_from_common_folder(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Names images that were given by their paths, as to `label`, by the path below the folder of all of them."""
    if not any(_leads_out(each.name) for each in images):
        return list(images)
    paths = [Path(os.path.abspath(str(each.path))) for each in images]  # noqa: PTH100  (links are not resolved)
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return [replace(each, name=path.relative_to(common).as_posix()) for each, path in zip(images, paths, strict=True)]


def _leads_out(name: str) -> bool:
    return PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


def _must_be_possible(name: str, layout: str) -> None:
    why = ""
    if "\\" in name or "\0" in name or not name:
        why = "a backslash is read as a slash"
    elif layout == "wider" and (name.splitlines() != [name] or name != name.strip() or not _is_unicode(name)):
        why = "a name must be one line of UTF-8"
    elif layout == "yolo" and PurePosixPath(name).suffix.lower() not in yolo.IMAGES:
        why = f"its images end in {' '.join(sorted(yolo.IMAGES))}"
    elif layout == "yolo" and PurePosixPath(name).name.startswith("."):
        why = "hidden files are not read"
    if why:
        written = name.encode("utf-8", "backslashreplace").decode()
        raise DataError(f"the layout {layout} cannot contain an image called {written!r}: {why}", "rename it first")


def _is_unicode(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def unique(images: Sequence[LabelledImage], key: Callable[[str], str] = str) -> list[LabelledImage]:
    """Appends -2, -3 … to names that are taken; `key` maps a name to what must be unique."""
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
