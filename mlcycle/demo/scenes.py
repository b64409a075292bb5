"""The demo's labelled data set: scenes composed of photos of real faces, in seconds and without a download.

The faces are the hundred of scikit-image's `lfw_subset`; 80 are for training and 20 for validation.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from mlcycle import files
from mlcycle.demo.backdrops import IMAGES, Backdrops, as_image, compose_backdrop, load_backdrops
from mlcycle.demo.figures import Figure, make_figure, new_distractor, new_face
from mlcycle.demo.source_images import package_folder
from mlcycle.errors import DataError

SIDE = 320
TRAIN_SCENES, VAL_SCENES = 800, 100
TRAIN_FACES = 80
SMALLEST, LARGEST = 14.0, 140.0
# Non-face samples that show parts of faces.
PARTLY_FACES = (125, 126, 130, 193, 196)

README = """\
The demo's data set: scenes composed by `mlcycle demo` from sample images of scikit-image.

The faces are the first hundred of `skimage.data.lfw_subset`: 25 x 25 pixels, grey, a random choice from Labeled Faces
in the Wild (Huang, Mattar, Lee, Learned-Miller: Learning to align from scratch, NIPS 2012; http://vis-www.cs.umass.edu/lfw/),
images of public figures that were published in the news, collected for research. Distractors are its non-faces.
scikit-image distributes them under its own licence, BSD-3-Clause.

Backdrops:
{backdrops}

Not used here, so that they are new to the model: astronaut, coffee and camera of scikit-image, grace_hopper of
matplotlib.

Layout: COCO (annotations/train.json, annotations/val.json, images/). Seed {seed}. Made with: mlcycle data demo
"""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The sources of the scenes of one split: grey faces and non-faces in 0..1, and backdrops."""

    faces_N2525: np.ndarray
    others_N2525: np.ndarray
    backdrops: Backdrops


def build_scenes(folder: Path, seed: int = 1) -> str:
    """Writes the data set into `folder`, unless it is complete already.

    Args:
        folder: gets annotations/{train,val}.json (COCO), images/{train,val}/*.jpg and README.txt.
        seed: the same seed gives the same scenes.

    Returns:
        One sentence on what was done.

    Raises:
        DataError: the folder holds other files, or scenes of another seed.
        InputError: the folder cannot be written.
    """
    marker = folder / "README.txt"
    readme = README.format(seed=seed, backdrops="\n".join(f"- {name}: {source}" for name, source in IMAGES.items()))
    if marker.exists() and marker.read_text("utf-8") == readme:
        return f"{folder} is complete already ({TRAIN_SCENES} scenes for training, {VAL_SCENES} for validation)"
    _refuse_other(folder)
    with files.attributed(folder, "choose another place"):
        faces = _write_all(folder, readme, seed)
    return f"made {TRAIN_SCENES} scenes for training and {VAL_SCENES} for validation, with {faces} faces, in {folder}"


def _write_all(folder: Path, readme: str, seed: int) -> int:
    """Writes the set to a temporary folder and renames it; returns its number of faces."""
    with files.atomic_folder(folder, overwrite=True) as growing:  # the folder is empty: _refuse_other checks
        faces = sum(_write_split(growing, split, seed) for split in ("train", "val"))
        (growing / "README.txt").write_text(readme, "utf-8")
    return faces


def load_training_data(training: bool) -> TrainingData:
    """Loads the sources of training or validation scenes; the two share no face and no pixel of a backdrop."""
    folder = package_folder("skimage") / "data"
    patches_N2525 = np.load(folder / "lfw_subset.npy", allow_pickle=False).astype(np.float64)
    others = [index for index in range(100, 200) if index not in PARTLY_FACES]
    # Every fifth face is for validation.
    val = np.arange(0, 100, 100 // (100 - TRAIN_FACES))
    faces = np.setdiff1d(np.arange(100), val) if training else val
    chosen = [index for index in others if (index % 5 != 0) == training]
    return TrainingData(patches_N2525[faces], patches_N2525[chosen], load_backdrops(folder, training))


def compose_scene(rng: np.random.Generator, training_data: TrainingData) -> tuple[bytes, np.ndarray]:
    """Composes one scene.

    Returns:
        the scene as the bytes of a JPEG file, and boxes_N4 (float64, x1 y1 x2 y2, pixels), all within the scene.
    """
    scene = compose_backdrop(rng, training_data.backdrops, SIDE)
    count = 0 if rng.random() < 0.1 else int(rng.integers(1, 8))
    wanted = [(True, _size(rng)) for _ in range(count)] + [(False, _size(rng)) for _ in range(rng.integers(1, 8))]
    taken: list[np.ndarray] = []
    boxes: list[np.ndarray] = []
    for is_face, height in sorted(wanted, key=lambda each: -each[1]):
        patch_2525 = (
            new_face(rng, training_data.faces_N2525)
            if is_face
            else new_distractor(rng, training_data.faces_N2525, training_data.others_N2525, training_data.backdrops)
        )
        figure = make_figure(rng, patch_2525, training_data.backdrops, height, scene)
        box_4 = _place(rng, scene, figure, taken)
        if box_4 is not None:
            taken.append(box_4)
            boxes += [box_4] if is_face else []
    return _camera(rng, scene), np.array(boxes, np.float64).reshape(-1, 4)


def _refuse_other(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} holds files that are not the demo's scenes", "remove it, or choose another folder")


def _write_split(root: Path, split: str, seed: int) -> int:
    training = split == "train"
    training_data = load_training_data(training)
    (root / "images" / split).mkdir(parents=True)

    def write(index: int) -> np.ndarray:
        scene, boxes_N4 = compose_scene(np.random.default_rng((seed, int(training), index)), training_data)
        (root / "images" / split / f"{index:04d}.jpg").write_bytes(scene)
        return boxes_N4

    # Threads suffice, because Pillow releases the GIL; each scene has its own random state.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        boxes = list(threads.map(write, range(TRAIN_SCENES if training else VAL_SCENES)))
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"{split}.json").write_text(json.dumps(_as_coco(split, boxes), indent=1), "utf-8")
    return sum(len(boxes_N4) for boxes_N4 in boxes)


def _as_coco(split: str, boxes: list[np.ndarray]) -> dict[str, list[dict[str, object]]]:
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, boxes_N4 in enumerate(boxes, start=1):
        name = f"{split}/{number - 1:04d}.jpg"
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        for x1, y1, x2, y2 in boxes_N4.round(2).tolist():
            width, height = round(x2 - x1, 2), round(y2 - y1, 2)
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
            annotations.append({**annotation, "bbox": [x1, y1, width, height], "area": round(width * height, 2)})
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "face"}]}


def _size(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))


def _place(rng: np.random.Generator, scene: Image.Image, figure: Figure, taken: list[np.ndarray]) -> np.ndarray | None:
    """Pastes a figure where it hides no face; returns the box of its face in the scene, or None if it does not fit."""
    x1, y1, x2, y2 = figure.box_4
    if x2 - x1 > SIDE - 2 or y2 - y1 > SIDE - 2:
        return None
    for _ in range(12):
        corner = rng.uniform((1 - x1, 1 - y1), (SIDE - 1 - x2, SIDE - 1 - y2)).round().astype(int)
        box_4 = figure.box_4 + np.tile(corner, 2)
        if box_4.min() >= 0 and box_4.max() <= SIDE and not any(_covers(box_4, other_4) for other_4 in taken):
            scene.paste(figure.image, (int(corner[0]), int(corner[1])), figure.mask)
            return box_4
    return None


def _covers(box_4: np.ndarray, other_4: np.ndarray) -> bool:
    # A figure is about twice as wide as its face: later figures must not hide labelled faces.
    reach = 0.7 * (box_4[2:] - box_4[:2])
    grown_4 = np.concatenate([box_4[:2] - reach, box_4[2:] + reach * (1, 2)])
    return bool((np.minimum(grown_4[2:], other_4[2:]) > np.maximum(grown_4[:2], other_4[:2])).all())


def _camera(rng: np.random.Generator, scene: Image.Image) -> bytes:
    """Simulates a camera: blur, uneven light, white balance, exposure, noise and JPEG compression."""
    if rng.random() < 0.2:
        scene = scene.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2))))
    pixels_HW3 = np.asarray(scene, np.float32) / 255
    slope = rng.normal(0, 0.15, 2)
    across_S = np.linspace(-1, 1, SIDE, dtype=np.float32)
    light_HW = 1 + slope[0] * across_S[None, :] + slope[1] * across_S[:, None]
    pixels_HW3 = (pixels_HW3 * light_HW[..., None] * rng.uniform(0.88, 1.12, 3)).clip(0, 1) ** rng.uniform(0.7, 1.45)
    noise_HW3 = rng.standard_normal(pixels_HW3.shape, np.float32) * rng.uniform(0, 0.035)
    memory = BytesIO()
    as_image(pixels_HW3 + noise_HW3).save(memory, "JPEG", quality=int(rng.integers(35, 96)))
    return memory.getvalue()
