"""A small labelled set of real images, a recipe that trains on it for a few steps, and a run of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

# The faces in the images of the astronaut and of Grace Hopper, x1 y1 x2 y2, measured by eye.
ASTRONAUT_FACE = (178, 76, 272, 190)
HOPPER_FACE = (162, 130, 368, 338)
# Left eye, right eye, nose, left and right corner of the mouth, as seen in the image.
ASTRONAUT_POINTS = ((205, 101), (246, 101), (226, 122), (209, 143), (244, 143))
HOPPER_POINTS = ((223, 190), (305, 187), (268, 235), (236, 279), (306, 276))

RECIPE = """
name: tiny
seed: 3
data:
  train: [{{path: {folder}, split: train}}]
  validation: [{{path: {folder}, split: val}}]
model: {{width: 4, depth: 1, landmarks: true}}
augment: {{crop: 96, zoom: [0.1, 1.0]}}
schedule: {{steps: 6, batch: 4, warmup_steps: 2, evaluate_every: 3, checkpoint_every: 3, workers: 1}}
inference: {{long_side: 128, score_floor: 0.001, threshold: 0.01, max_faces: 50}}
"""


@pytest.fixture(scope="session")
def labelled_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO folder with splits train and val: two real faces at several sizes, and images without a face."""
    import matplotlib
    import skimage
    from PIL import Image

    folder = tmp_path_factory.mktemp("labelled")
    astronaut = Image.fromarray(skimage.data.astronaut())
    hopper = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    coffee = Image.fromarray(skimage.data.coffee())
    sizes = {"train": (512, 400, 300, 200), "val": (450, 256)}
    (folder / "annotations").mkdir()
    for split, sides in sizes.items():
        images, labels = [], []
        for image, face, points in (
            (astronaut, ASTRONAUT_FACE, ASTRONAUT_POINTS),
            (hopper, HOPPER_FACE, HOPPER_POINTS),
            (coffee, None, ()),
        ):
            for side in sides:
                scale = side / image.width
                small = image.resize((side, round(image.height * scale)))
                name = f"{split}/{len(images)}.jpg"
                (folder / "images" / split).mkdir(parents=True, exist_ok=True)
                small.save(folder / "images" / name, quality=92)
                images.append({"id": len(images), "file_name": name, "width": small.width, "height": small.height})
                if face:
                    x1, y1, x2, y2 = (value * scale for value in face)
                    box = [x1, y1, x2 - x1, y2 - y1]
                    keypoints = [value for x, y in points for value in (x * scale, y * scale, 2)]
                    label = {"id": len(labels), "image_id": len(images) - 1, "category_id": 1, "bbox": box}
                    labels.append(label | {"keypoints": keypoints})
        content = {"images": images, "annotations": labels, "categories": [{"id": 1, "name": "face"}]}
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def recipe_path(labelled_set: Path) -> Path:
    path = labelled_set / "tiny.yaml"
    path.write_text(RECIPE.format(folder=labelled_set.as_posix()))
    return path


@pytest.fixture(scope="session")
def finished_run(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; tests must not write to it."""
    pytest.importorskip("torch")
    from mlcycle.training.fit import fit
    from mlcycle.training.recipes.recipe_file import load

    run = tmp_path_factory.mktemp("runs") / "tiny"
    fit(load(recipe_path), run, device="cpu", quiet=True)
    return run


@pytest.fixture
def without_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the report at the end of a run, which takes as long as six steps: for tests of something else."""
    pytest.importorskip("torch")
    from mlcycle.training import fit

    monkeypatch.setattr(fit._Run, "_write_report", lambda *arguments: None)
