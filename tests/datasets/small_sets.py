"""Small sets of real images in the three layouts, all with the same content."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import skimage.data
import yaml
from PIL import Image


@dataclass(frozen=True)
class Labelled:
    """An image to write: name, pixels, faces as (x, y, width, height), and landmarks of some faces by their index."""

    name: str
    image: Image.Image
    faces: tuple[tuple[int, int, int, int], ...] = ()
    points: dict[int, np.ndarray] = field(default_factory=dict)


ASTRONAUT_POINTS_52 = np.array([[202, 113], [244, 111], [224, 138], [207, 154], [246, 151]], float)


@cache
def astronaut() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut())


@cache
def coffee() -> Image.Image:
    return Image.fromarray(skimage.data.coffee())


@cache
def chelsea() -> Image.Image:
    return Image.fromarray(skimage.data.chelsea())


@cache
def rocket() -> Image.Image:
    return Image.fromarray(skimage.data.rocket())


@cache
def grace_hopper() -> Image.Image:
    return Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")


def content() -> list[Labelled]:
    """Five images, two of them with a face, one with two boxes; in the order of their names."""
    return [
        Labelled("a/astronaut.jpg", astronaut(), ((178, 75, 92, 115), (300, 20, 40, 50)), {0: ASTRONAUT_POINTS_52}),
        Labelled("a/chelsea.jpg", chelsea()),
        Labelled("b/coffee.jpg", coffee()),
        Labelled("b/grace.jpg", grace_hopper(), ((160, 80, 190, 240),)),
        Labelled("b/rocket.jpg", rocket()),
    ]


def write_wider(folder: Path, images: list[Labelled], split: str = "train") -> Path:
    """Writes the official layout, with the row of zeros after a count of 0, and landmarks next to the labels."""
    rows, points = [], []
    for image in images:
        save(image.image, folder / f"WIDER_{split}" / "images" / image.name)
        rows += [image.name, str(len(image.faces))]
        rows += [f"{' '.join(map(str, face))} 0 0 0 0 0 0 " for face in image.faces] or ["0 0 0 0 0 0 0 0 0 0 "]
        points.append(f"# {image.name} {image.image.width} {image.image.height}")
        for index, (x, y, width, height) in enumerate(image.faces):
            known = image.points.get(index)
            triples = ["-1 -1 -1"] * 5 if known is None else [f"{px} {py} 0.0" for px, py in known]
            points.append(f"{x} {y} {x + width} {y + height} {' '.join(triples)}")
    labels = folder / "wider_face_split"
    labels.mkdir(exist_ok=True)
    (labels / f"wider_face_{split}_bbx_gt.txt").write_text("\n".join(rows) + "\n")
    (labels / f"landmarks_{split}.txt").write_text("\n".join(points) + "\n")
    return folder


def coco_content(paths: list[Labelled]) -> dict:
    images, annotations = [], []
    for number, image in enumerate(paths):
        size = {"width": image.image.width, "height": image.image.height}
        images.append({"id": number, "file_name": image.name, **size})
        for index, face in enumerate(image.faces):
            annotation = {
                "id": len(annotations),
                "image_id": number,
                "category_id": 1,
                "bbox": list(face),
                "iscrowd": 0,
            }
            if index in image.points:
                annotation["keypoints"] = [value for x, y in image.points[index] for value in (x, y, 2)]
            annotations.append(annotation)
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "face"}]}


def write_coco(folder: Path, images: list[Labelled]) -> Path:
    """Writes annotations.json and images/."""
    for image in images:
        save(image.image, folder / "images" / image.name)
    (folder / "annotations.json").write_text(json.dumps(coco_content(images)))
    return folder


def write_yolo(folder: Path, images: list[Labelled], split: str = "train") -> Path:
    """Writes data.yaml, images/SPLIT and labels/SPLIT; an image without faces has no label file."""
    for image in images:
        save(image.image, folder / "images" / split / image.name)
        if image.faces:
            label = (folder / "labels" / split / image.name).with_suffix(".txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("".join(_yolo_row(image, index) for index in range(len(image.faces))))
    configuration = {"path": ".", split: f"images/{split}", "names": {0: "face"}, "kpt_shape": [5, 3]}
    (folder / "data.yaml").write_text(yaml.safe_dump(configuration))
    return folder


def save(image: Image.Image, path: Path, quality: int = 92, orientation: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(path, quality=quality, exif=exif)
    return path


def names_in(folder: Path) -> list[str]:
    """Returns the names of a folder's files and folders, sorted."""
    return sorted(path.name for path in folder.iterdir())


def _yolo_row(image: Labelled, index: int) -> str:
    x, y, width, height = image.faces[index]
    image_width, image_height = image.image.size
    values = [
        (x + width / 2) / image_width,
        (y + height / 2) / image_height,
        width / image_width,
        height / image_height,
    ]
    for px, py in image.points.get(index, np.zeros((5, 2))):
        values += [px / image_width, py / image_height, 2 if index in image.points else 0]
    return "0 " + " ".join(f"{value:.8f}" for value in values) + "\n"
