"""`mlcycle data label`: detections become labels, uncertain ones become boxes to be ignored."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data
from tiny_model import BLUE, GREEN, write_tiny_model

from mlcycle.datasets import image_header
from mlcycle.datasets.reading import read
from mlcycle.errors import DataError

# x1 y1 x2 y2 of the painted patches; the tiny model scores a patch by the painted share of its box.
LARGE, SMALL = (20, 30, 80, 110), (230, 150, 260, 190)


def paint(path: Path, green: int = 0, blue: int = 0) -> None:
    """Writes an image with a green and a blue patch, each painted in this many of ten columns; 0: no patch."""
    image = data.coffee()[:300, :400].copy()
    for (x1, y1, x2, y2), colour, tenths in ((LARGE, GREEN, green), (SMALL, BLUE, blue)):
        for column in range(x1, x2):
            if (column - x1) % 10 < tenths or (tenths and column == x2 - 1):
                image[y1:y2, column] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("painted")
    paint(folder / "a/sure.png", green=10, blue=8)
    paint(folder / "a/doubtful.png", green=3)
    paint(folder / "b/both.png", green=10, blue=3)
    paint(folder / "b/faint.png", blue=1)
    paint(folder / "empty.png")
    return folder


@pytest.fixture
def images(tmp_path: Path, painted: Path) -> Path:
    return Path(shutil.copytree(painted, tmp_path / "images"))


def label(mlcycle, images: Path, model: Path, out: Path, *more: str):
    return mlcycle("data", "label", images, "--model", model, "--out", out, "--workers", "1", *more)


def test_scores_above_the_thresholds_become_labels_and_boxes_to_be_ignored(tmp_path, mlcycle, images, model):
    out = tmp_path / "set"
    outcome = label(mlcycle, images, model, out, "--threshold", "0.6", "--ignore-from", "0.2")
    assert outcome.code == 0, outcome.err
    assert "5 images with 3 faces and 2 boxes to be ignored; 2 images without any box kept" in outcome.out
    found = {each.name: each for each in read(out)}
    assert {name: each.ignore_N.tolist() for name, each in found.items()} == {
        "a/sure.png": [False, False], "a/doubtful.png": [True], "b/both.png": [False, True], "b/faint.png": [],
        "empty.png": [],
    }  # fmt: skip
    assert found["b/both.png"].boxes_N4.tolist() == [list(LARGE), list(SMALL)]
    assert found["a/sure.png"].scores_N.tolist() == pytest.approx([1.0, 0.8], abs=0.04)
    assert np.isfinite(found["a/sure.png"].landmarks_N52).all()
    assert found["a/sure.png"].path.resolve() == (images / "a/sure.png").resolve()
    info = json.loads((out / "annotations.json").read_text())["info"]
    assert info["model"] == "tiny"
    assert info["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert (info["threshold"], info["ignore_from"], info["long_side"]) == (0.6, 0.2, 640)
    assert mlcycle("data", "preview", out, "-o", tmp_path / "sheet.jpg").code == 0
    assert mlcycle("data", "check", out).code in (0, 3)  # near duplicates, but valid labels


def test_images_without_any_box_can_be_left_out(tmp_path, mlcycle, images, model):
    outcome = label(mlcycle, images, model, tmp_path / "set", "--ignore-from", "0.2", "--leave-out-empty")
    assert "2 images without any box left out" in outcome.out
    assert [each.name for each in read(tmp_path / "set")] == ["a/doubtful.png", "a/sure.png", "b/both.png"]


def test_the_default_thresholds_are_those_of_the_model(tmp_path, mlcycle, images, model):
    label(mlcycle, images, model, tmp_path / "set")
    info = json.loads((tmp_path / "set" / "annotations.json").read_text())["info"]
    assert (info["threshold"], info["ignore_from"]) == (0.5, 0.05)


def test_unusable_images_are_reported_and_left_out(tmp_path, mlcycle, images, model, monkeypatch):
    (images / "broken.jpg").write_bytes(b"not an image")
    real = image_header.upright_size

    def only_inference_reads(path: Path) -> tuple[int, int]:
        if path.name == "empty.png":
            raise DataError(f"{path} is of another kind")
        return real(path)

    monkeypatch.setattr(image_header, "upright_size", only_inference_reads)
    outcome = label(mlcycle, images, model, tmp_path / "set")
    assert outcome.code == 3
    assert "broken.jpg" in outcome.err
    assert "empty.png: inference can read it, but training cannot" in outcome.err
    assert "2 images could not be read" in outcome.err
    assert {each.name for each in read(tmp_path / "set")} == {
        "a/doubtful.png", "a/sure.png", "b/both.png", "b/faint.png"
    }  # fmt: skip


def test_single_images_can_be_labelled_and_scores_survive_a_conversion(tmp_path, mlcycle, images, model):
    outcome = label(mlcycle, images / "a/sure.png", model, tmp_path / "set")
    assert outcome.code == 0, outcome.err
    assert mlcycle("data", "convert", tmp_path / "set", "--to", "coco", "-o", tmp_path / "again").code == 0
    (one,), (other,) = read(tmp_path / "set"), read(tmp_path / "again")
    assert (one.scores_N == other.scores_N).all()


def test_nothing_is_overwritten_and_invalid_arguments_are_refused(tmp_path, mlcycle, images, model):
    (tmp_path / "existing").mkdir()
    (tmp_path / "existing" / "mine").write_text("mine")
    assert label(mlcycle, images, model, tmp_path / "existing").code == 3
    assert [each.name for each in (tmp_path / "existing").iterdir()] == ["mine"]
    for wrong in (["--threshold", "0.3", "--ignore-from", "0.4"], ["--ignore-from", "0.01"], ["--threshold", "1.5"],
                  ["--threshold", "nan"]):  # fmt: skip
        outcome = label(mlcycle, images, model, tmp_path / "set", *wrong)
        assert outcome.code == 2
        assert "not valid thresholds of this model" in outcome.err
    (tmp_path / "run").mkdir()
    assert label(mlcycle, images, tmp_path / "run", tmp_path / "set").code == 4
    (tmp_path / "none").mkdir()
    assert "no images to label" in label(mlcycle, tmp_path / "none", model, tmp_path / "set").err
    assert not (tmp_path / "set").exists()
