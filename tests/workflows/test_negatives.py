"""`mlcycle data negatives` on a set where a model has a false alarm."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from painted_set import boxes, write_painted
from PIL import Image
from tiny_model import CONTRACT, GREEN, tiny_bytes, write_tiny_model

from mlcycle.artifact.seal import write_sealed
from mlcycle.datasets.reading import read
from mlcycle.workflows.negatives import LEAST_SIDE, crop_around

ALARM = 1  # the number of the image whose larger patch is not a face


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """A judge that is harder to convince than the model."""
    contract = replace(CONTRACT, name="judge", thresholds={"balanced": 0.9})
    path = tmp_path_factory.mktemp("judge") / "judge.onnx"
    write_sealed(tiny_bytes(contract), path)
    return path


@pytest.fixture
def source(tmp_path):
    """Three images; of one, the larger patch has no label, and a hole that only the model overlooks."""
    folder = write_painted(tmp_path / "set", 3, {ALARM: [boxes(ALARM)[1]]})
    x, y, w, h = boxes(ALARM)[0]
    file = folder / "images" / f"{ALARM:02}.png"
    with Image.open(file) as image:
        image.paste((120, 120, 120), (x + w // 4, y + h // 4, x + w * 3 // 4, y + h * 3 // 4))
        image.save(file)
    return folder


def test_a_crop_has_the_false_alarm_and_no_face(tmp_path, mlcycle, model, judge, source):
    out = tmp_path / "negatives"
    outcome = mlcycle("data", "negatives", source, "--model", model, "--judge", judge, "--out", out, "--workers", 1)
    assert (outcome.code, outcome.out) == (0, f"{out}: 1 crop of 3 images, without faces\n"), outcome.err
    (crop,) = read(out)
    assert (crop.name, len(crop.boxes_N4)) == ("01.png.1.jpg", 0)
    with Image.open(crop.path) as image:
        pixels_HW3 = np.asarray(image).astype(int)
    assert pixels_HW3.shape[:2] == crop.size[::-1]
    is_green_HW = (np.abs(pixels_HW3 - GREEN) < 60).all(axis=2)
    w, h = boxes(ALARM)[0][2:]
    assert abs(is_green_HW.sum() - w * h * 3 / 4) < w * h / 20, "the whole false alarm is in the crop"
    is_blue_HW = (pixels_HW3[..., 2] > 200) & (pixels_HW3[..., :2] < 60).all(axis=2)
    assert not is_blue_HW.any(), "the labelled face is not"
    info = json.loads((out / "annotations.json").read_text())["info"]
    assert (info["model"], info["threshold"]) == ("tiny", 0.5)
    assert (info["judge_model"], info["judge_threshold"]) == ("judge", 0.9)


def test_what_the_judge_detects_is_not_a_false_alarm(tmp_path, mlcycle, model, source):
    out = tmp_path / "negatives"
    outcome = mlcycle("data", "negatives", source, "--model", model, "--judge", model, "--out", out, "--workers", 1)
    assert outcome.code == 3
    assert "tiny has no false alarm" in outcome.err
    assert not out.exists()


def test_an_unreadable_image_is_reported_and_the_others_are_used(tmp_path, mlcycle, model, judge, source):
    (source / "images" / "00.png").write_bytes(b"not an image")
    out = tmp_path / "negatives"
    outcome = mlcycle("data", "negatives", source, "--model", model, "--judge", judge, "--out", out, "--workers", 1)
    assert outcome.code == 3
    assert "00.png" in outcome.err
    assert len(read(out)) == 1
    (source / "images" / f"{ALARM:02}.png").write_bytes(b"not an image")
    none = mlcycle("data", "negatives", source, "--model", model, "--judge", judge, "--out", tmp_path / "none")
    assert (none.code, (tmp_path / "none").exists()) == (3, False)
    assert "2 images could not be read" in none.err


def test_unusable_arguments_are_refused_before_inference(tmp_path, mlcycle, model, judge, source):
    out = tmp_path / "negatives"
    given = ("data", "negatives", source, "--model", model, "--judge", judge, "--out")
    assert mlcycle(*given, source).code == 3
    assert "--judge-threshold 2" in mlcycle(*given, out, "--judge-threshold", 2).err
    assert mlcycle(*given, out, "--threshold", 0.01).code == 2
    assert mlcycle(*given, out, "--long-side", "big").code == 2
    assert not out.exists()


def test_the_crop_is_as_large_as_the_next_face_allows():
    alarm_4 = np.array([100.0, 100, 140, 140])
    nothing = np.zeros((0, 4))
    assert crop_around(alarm_4, nothing, (1000, 1000)) == (20, 20, 220, 220)
    assert crop_around(alarm_4, nothing, (150, 130)) == (20, 20, 150, 130)
    assert crop_around(alarm_4, np.array([[185.0, 0, 300, 300]]), (1000, 1000)) == (60, 60, 180, 180)
    assert crop_around(alarm_4, np.array([[141.0, 0, 300, 300]]), (1000, 1000)) is None
    assert crop_around(np.array([0.0, 0, LEAST_SIDE, LEAST_SIDE]), nothing, (1000, LEAST_SIDE - 1)) is None
