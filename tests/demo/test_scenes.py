"""The demo's data set: deterministic, correctly labelled, and without the unseen images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")
pytest.importorskip("matplotlib")

from mlcycle.datasets.reading import fingerprint, read
from mlcycle.demo import scenes
from mlcycle.demo.backdrops import IMAGES
from mlcycle.demo.source_images import UNSEEN, package_folder
from mlcycle.errors import DataError


@pytest.fixture(scope="module")
def few() -> pytest.MonkeyPatch:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "TRAIN_SCENES", 12)
        patch.setattr(scenes, "VAL_SCENES", 6)
        yield patch


@pytest.fixture(scope="module")
def built(few: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "demo"
    scenes.build_scenes(folder)
    return folder


@pytest.mark.parametrize(("split", "count"), [("train", 12), ("val", 6)])
def test_split_has_its_faces_inside_its_images(built: Path, split: str, count: int) -> None:
    images = read(built, split)

    assert len(images) == count
    boxes_N4 = np.concatenate([each.boxes_N4 for each in images])
    assert len(boxes_N4) >= count
    assert boxes_N4.min() >= 0
    assert boxes_N4.max() <= scenes.SIDE
    heights_N = boxes_N4[:, 3] - boxes_N4[:, 1]
    assert heights_N.min() > 5
    assert heights_N.max() > 3 * heights_N.min()
    for each in images:
        with Image.open(each.path) as scene:
            assert scene.size == each.size == (scenes.SIDE, scenes.SIDE)


def test_faces_do_not_hide_each_other(built: Path) -> None:
    images = read(built, "train")
    assert max(len(each.boxes_N4) for each in images) > 1
    for each in images:
        for index, box_4 in enumerate(each.boxes_N4):
            others_N4 = np.delete(each.boxes_N4, index, axis=0)
            shared_N2 = np.minimum(box_4[2:], others_N4[:, 2:]) - np.maximum(box_4[:2], others_N4[:, :2])
            assert not (shared_N2 > 0).all(axis=1).any()


@pytest.mark.slow
def test_scenes_depend_only_on_the_seed(few: pytest.MonkeyPatch, built: Path, tmp_path: Path) -> None:
    scenes.build_scenes(tmp_path / "again")
    scenes.build_scenes(tmp_path / "other", seed=2)

    assert fingerprint(read(tmp_path / "again", "train")) == fingerprint(read(built, "train"))
    assert (tmp_path / "again/images/val/0003.jpg").read_bytes() == (built / "images/val/0003.jpg").read_bytes()
    assert fingerprint(read(tmp_path / "other", "train")) != fingerprint(read(built, "train"))


def test_complete_folder_is_kept_and_foreign_folder_is_refused(
    few: pytest.MonkeyPatch, built: Path, tmp_path: Path
) -> None:
    scene = built / "images/train/0000.jpg"
    before = scene.stat().st_mtime_ns

    assert "complete already" in scenes.build_scenes(built)
    assert scene.stat().st_mtime_ns == before
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(DataError, match="not the demo's scenes"):
        scenes.build_scenes(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


def test_interrupted_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scenes, "compose_scene", fail)

    with pytest.raises(KeyboardInterrupt):
        scenes.build_scenes(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


def test_training_and_validation_share_no_face_and_no_backdrop() -> None:
    train, val = scenes.load_training_data(training=True), scenes.load_training_data(training=False)

    assert len(train.faces_N2525) == scenes.TRAIN_FACES
    assert len(train.faces_N2525) + len(val.faces_N2525) == 100
    for name in ("faces_N2525", "others_N2525"):
        distinct = {each.tobytes() for each in getattr(train, name)}
        assert distinct.isdisjoint(each.tobytes() for each in getattr(val, name))
    for left, right, name in zip(train.backdrops.parts, val.backdrops.parts, IMAGES, strict=True):
        with Image.open(package_folder("skimage") / "data" / name) as whole:
            smaller = min(1.0, 800 / max(whole.size))
            assert left.width + right.width == round(whole.width * smaller)


def test_unseen_images_are_not_backdrops() -> None:
    def thumbnail(image: Image.Image) -> np.ndarray:
        small_1616 = np.asarray(image.convert("L").resize((16, 16)), np.float64)
        return (small_1616 - small_1616.mean()) / small_1616.std()

    folder = package_folder("skimage") / "data"
    unseen = [package_folder(each.package) / each.path for each in UNSEEN] + [folder / "camera.png"]

    for path in unseen:
        with Image.open(path) as image:
            kept = thumbnail(image)
        for name in IMAGES:
            with Image.open(folder / name) as backdrop:
                assert np.corrcoef(kept.ravel(), thumbnail(backdrop).ravel())[0, 1] < 0.9, (path.name, name)
