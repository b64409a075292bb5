"""`mlcycle data suspects` on a set whose wrong labels are known."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest
from painted_set import boxes, write_painted
from PIL import Image
from tiny_model import write_tiny_model

from mlcycle.datasets.reading import read
from mlcycle.errors import DataError
from mlcycle.inference.detect import load_detector
from mlcycle.workflows import suspects
from mlcycle.workflows.predictions import predict_all

IMAGES = 12
(X, Y, W, H), SMALL = boxes(4)
WRONG = {
    2: [boxes(2)[0]],
    4: [(X + W // 3, Y, W, H), SMALL],
    7: [boxes(7)[0], boxes(7)[1], (320, 20, 60, 70)],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def wrong_set(tmp_path_factory):
    return write_painted(tmp_path_factory.mktemp("painted") / "set", IMAGES, WRONG)


def test_the_wrong_labels_come_first_in_list_sheet_and_table(tmp_path, mlcycle, model, wrong_set):
    out = tmp_path / "new" / "suspects"
    labels = (wrong_set / "annotations.json").read_bytes()
    outcome = mlcycle("data", "suspects", wrong_set, "--model", model, "--out", out, "--workers", 1)
    assert outcome.code == 0, outcome.err
    assert f"{2 * IMAGES} labels on {IMAGES} images, compared with tiny; 3 suspects" in outcome.out
    rows = list(csv.DictReader((out / "suspects.csv").open()))
    assert {(each["image"], each["label"], each["kind"]) for each in rows} == {
        ("02.png", "", "no label"),
        ("04.png", "1", "other box"),
        ("07.png", "3", "no face"),
    }
    found = {each["image"]: each for each in map(json.loads, (out / "suspects.jsonl").read_text().splitlines())}
    x, y, w, h = boxes(2)[1]
    assert found["02.png"]["suggested_box"] == [x, y, x + w, y + h]
    assert (found["02.png"]["box"], found["07.png"]["suggested_box"]) == (None, None)
    assert found["04.png"]["suggested_box"] == [X, Y, X + W, Y + H]
    assert found["07.png"]["box"] == [320, 20, 380, 90]
    assert found["07.png"]["path"] == str(wrong_set / "images" / "07.png")
    assert sorted(path.name for path in out.iterdir()) == ["sheet.jpg", "suspects.csv", "suspects.jsonl"]
    assert [path.name for path in out.parent.iterdir()] == ["suspects"]
    assert (wrong_set / "annotations.json").read_bytes() == labels
    with Image.open(out / "sheet.jpg") as sheet:
        colours = sheet.convert("RGB").getcolors(1 << 20)
    for red, green, blue in ((255, 159, 28), (0, 180, 216)):
        drawn = [abs(r - red) + abs(g - green) + abs(b - blue) < 90 for _, (r, g, b) in colours]
        assert sum(count for near, (count, _) in zip(drawn, colours, strict=True) if near) > 300


def test_a_set_with_right_labels_has_no_suspects(tmp_path, mlcycle, model):
    source = write_painted(tmp_path / "set", IMAGES)
    outcome = mlcycle("data", "suspects", source, "--model", model, "--out", tmp_path / "out", "--workers", 1)
    assert (outcome.code, outcome.out) == (0, "24 labels on 12 images, compared with tiny; 0 suspects\n")
    assert len((tmp_path / "out" / "suspects.csv").read_text().splitlines()) == 1


def test_an_unreadable_image_is_reported_and_the_others_are_checked(tmp_path, mlcycle, model):
    source = write_painted(tmp_path / "set", IMAGES, WRONG)
    (source / "images" / "00.png").write_bytes(b"not an image")
    outcome = mlcycle("data", "suspects", source, "--model", model, "--workers", 1)
    assert outcome.code == 3
    assert "00.png" in outcome.err
    assert "22 labels on 12 images, compared with tiny; 3 suspects" in outcome.out


def test_unusable_arguments_are_refused_before_inference(tmp_path, mlcycle, model, wrong_set):
    (tmp_path / "runs" / "face").mkdir(parents=True)
    run = mlcycle("data", "suspects", wrong_set, "--model", tmp_path / "runs" / "face")
    assert run.code == 4
    assert f"mlcycle freeze {tmp_path / 'runs' / 'face'}" in run.err
    assert mlcycle("data", "suspects", wrong_set, "--model", model, "--out", tmp_path / "runs").code == 3
    assert mlcycle("data", "suspects", tmp_path, "--model", model).code == 3
    assert mlcycle("data", "suspects", wrong_set, "--model", model, "--long-side", "big").code == 2
    empty = write_painted(tmp_path / "empty", 2, {0: [], 1: []})
    assert "no labels to check" in mlcycle("data", "suspects", empty, "--model", model, "--workers", 1).err


def test_an_image_that_only_inference_reads_has_the_size_stated_in_its_labels(tmp_path, model, wrong_set):
    """HEIC, for example, which the readers of labelled sets do not open."""
    detector = load_detector(model, provider="cpu", threads=1)
    images = read(wrong_set)
    predictions = list(predict_all(detector, [each.path for each in images], None, workers=1))
    expected = suspects.rank(images, predictions, detector, None)
    (tmp_path / "02.heic").write_bytes(b"only inference reads this")
    unopened = [replace(each, path=tmp_path / "02.heic") if each.name == "02.png" else each for each in images]
    ranked = suspects.rank(unopened, predictions, detector, None)
    assert [(each.kind, each.bits) for each in ranked.listed] == [(each.kind, each.bits) for each in expected.listed]
    with pytest.raises(DataError, match="not a readable image"):
        suspects.rank([replace(each, size=None) for each in unopened], predictions, detector, None)
