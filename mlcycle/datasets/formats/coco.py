"""COCO's object detection json: `images`, `annotations` with bbox [x, y, width, height], `categories`.

An annotation with `iscrowd` or `ignore` is to be ignored. `keypoints` of five points (x, y, v each) are read as
landmarks; v = 0 marks a point that is not labelled. If the file has several categories, only the one called face is
read. Two keys extend the format: an image can have a `group` (a WIDER event, after `mlcycle data convert`), and an
annotation a `score`, if a model made it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from mlcycle.datasets.labelled_image import LabelledImage, checked_name
from mlcycle.errors import DataError

ANNOTATION_FILES = ("annotations.json", "_annotations.coco.json")


def is_coco(path: Path) -> bool:
    """Returns whether a path is a json file, or a folder with COCO annotations."""
    return path.suffix.lower() == ".json" or bool(_files(path))


def splits(path: Path) -> list[str]:
    """Returns the names of the splits below a folder; a single annotations.json counts as one split without a name."""
    return [""] if path.suffix.lower() == ".json" else sorted(_files(path))


def read_coco(path: Path, split: str) -> list[LabelledImage]:
    """Reads one split of a folder, or one json file.

    Raises:
        DataError: the file is not a COCO json; the message names what is missing.
    """
    file = path if path.suffix.lower() == ".json" else _files(path)[split]
    content = _load(file)
    category = _face_category(content, file)
    annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    images = []
    where = "an annotation"
    try:
        for annotation in content["annotations"]:
            if category is None or annotation["category_id"] == category:
                annotations[annotation["image_id"]].append(annotation)
        where = "an image"
        _must_be_unambiguous([image["id"] for image in content["images"]], annotations)
        names = [checked_name(image["file_name"], file) for image in content["images"]]
        root = _image_root(file, split, names)
        face_id = _only_category(content) if category is None else category
        for name, image in zip(names, content["images"], strict=True):
            where = f"the image {image['id']!r} or one of its annotations"
            images.append(_image(root / name, name, image, annotations.get(image["id"], []), face_id))
        return images
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as problem:
        what = f"lacks {problem}" if isinstance(problem, KeyError) else f"is invalid: {problem}"
        raise DataError(f"{file}: {where} {what}", "see the COCO format: bbox is [x, y, width, height]") from None


def _must_be_unambiguous(ids: list[Any], annotations: dict[Any, list[dict[str, Any]]]) -> None:
    again = next((each for each, count in Counter(ids).items() if count > 1 and each in annotations), None)
    if again is not None:
        raise ValueError(f"another image has the id {again!r} too, so its annotations are ambiguous")


def _files(folder: Path) -> dict[str, Path]:
    """Returns the json file of each split: annotations.json, annotations/*.json, or one in the split's own folder."""
    if not folder.is_dir():
        return {}
    for name in ANNOTATION_FILES:
        if (folder / name).is_file():
            return {"": folder / name}
    inside = sorted((folder / "annotations").glob("*.json"))
    names = [_split_name(file.stem) for file in inside]
    if inside:
        unique = len(set(names)) == len(names)
        return {name if unique else file.stem: file for name, file in zip(names, inside, strict=True)}
    return {file.parent.name: file for name in ANNOTATION_FILES for file in sorted(folder.glob(f"*/{name}"))}


def _split_name(base_name: str) -> str:
    """instances_train2017 → train; val → val; any other name is unchanged."""
    match = re.fullmatch(r"(?:.*[_\-.])?(train|val|valid|validation|test)\d*", base_name)
    return match[1] if match else base_name


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise DataError(f"no such file: {file}", "pass a COCO json or a folder with one") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise DataError(f"{file} cannot be read as json: {problem}") from None
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("images", "annotations")
    ):
        raise DataError(
            f"{file} is not a COCO json: it lacks the lists images and annotations", "is it a file of results?"
        )
    return content


def _face_category(content: dict[str, Any], file: Path) -> Any:
    categories = content.get("categories") or []
    if not isinstance(categories, list) or not all(isinstance(each, dict) for each in categories):
        raise DataError(f"{file}: its categories are invalid", 'write [{"id": 1, "name": "face"}]')
    names = {str(each.get("name", "")).lower(): each.get("id") for each in categories}
    if len(names) <= 1:
        return None
    for name in ("face", "faces", "human face"):
        if name in names:
            return names[name]
    listed = ", ".join(sorted(names))
    raise DataError(f"{file} has several categories and none is called face: {listed}", "rename the category of faces")


def _only_category(content: dict[str, Any]) -> Any:
    """Returns the category of a file with at most one: from its annotations, else from its list, else 1."""
    listed = next((each["id"] for each in content.get("categories") or [] if "id" in each), 1)
    return next((each["category_id"] for each in content["annotations"] if "category_id" in each), listed)


def _image_root(file: Path, split: str, names: list[str]) -> Path:
    """Finds the folder of the images by a few of them, so that a large set on a slow disk opens in a second."""
    base_name = _split_name(file.stem)
    year = re.sub(r"^.*?(?=(train|val|test)\d*$)", "", file.stem)
    home = file.parent.parent if file.parent.name == "annotations" else file.parent
    inside = dict.fromkeys((file.stem, year, base_name, split, ""))
    bases = [home / "images", home, file.parent / "images", file.parent]
    roots = list(dict.fromkeys(base / part for base in bases for part in inside if (base / part).is_dir()))
    sample = names[:: max(1, len(names) // 16)]
    found = [sum((root / name).is_file() for name in sample) for root in roots]
    if not any(found):
        return home / "images" if (home / "images").is_dir() else home
    return roots[found.index(max(found))]


def _image(
    path: Path, name: str, image: dict[str, Any], annotations: list[dict[str, Any]], category: Any
) -> LabelledImage:
    bboxes_N4 = _bboxes([each["bbox"] for each in annotations])
    ignore = [bool(each.get("iscrowd") or each.get("ignore")) for each in annotations]
    return LabelledImage(
        path=path,
        name=name,
        boxes_N4=np.concatenate([bboxes_N4[:, :2], bboxes_N4[:, :2] + bboxes_N4[:, 2:]], axis=1),
        ignore_N=np.array(ignore, bool),
        landmarks_N52=_landmarks(annotations),
        group=_group(image),
        size=_size(image),
        coco_ids=(image["id"], category),
        scores_N=_scores(annotations),
    )


def _group(image: dict[str, Any]) -> str:
    group = str(image.get("group") or "")
    group.encode("utf-8", "surrogateescape")  # a lone surrogate could not be printed
    return group


def _bboxes(written: list[Any]) -> np.ndarray:
    try:
        return np.array(written, np.float32).reshape(len(written), 4)
    except (TypeError, ValueError):
        raise ValueError("a bbox is not four numbers") from None


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    if not isinstance(width, int | float) or not isinstance(height, int | float):
        return None
    return (int(width), int(height)) if math.isfinite(width * height) and min(width, height) > 0 else None


def _scores(annotations: list[dict[str, Any]]) -> np.ndarray | None:
    scores = [each.get("score") for each in annotations]
    if not any(isinstance(each, int | float) for each in scores):
        return None
    return np.array([each if isinstance(each, int | float) else np.nan for each in scores], np.float32)


def _landmarks(annotations: list[dict[str, Any]]) -> np.ndarray:
    landmarks_N52 = np.full((len(annotations), 5, 2), np.nan, np.float32)
    for index, annotation in enumerate(annotations):
        keypoints = annotation.get("keypoints") or []
        if len(keypoints) == 15:
            points_53 = np.array(keypoints, np.float32).reshape(5, 3)
            landmarks_N52[index] = np.where(points_53[:, 2:] > 0, points_53[:, :2], np.nan)
    return landmarks_N52
