"""`mlcycle evaluate --page`: its contents, and that it loads nothing."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from tiny_model import BLUE, GREEN, write_tiny_model

from mlcycle.cli import run
from mlcycle.reporting import mistakes

data = pytest.importorskip("skimage.data")

# x y w h. The model detects a painted patch exactly: a label without a patch is missed, a patch without one is a false
# alarm.
FOUND, ALARM, MISSED, SMALL = [40, 30, 60, 80], [200, 100, 40, 40], [150, 120, 120, 90], [10, 250, 12, 14]
KINDS = {
    "found & missed <b>.png": ([FOUND, MISSED, SMALL], [(FOUND, GREEN)]),
    "alarm.png": ([], [(ALARM, BLUE)]),
    "quiet.png": ([], []),
}
# The landmarks of the tiny model, as shares of the sides of a box.
SPOTS_52 = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Three images: one detected face, whose left eye is labelled 7 pixels off, with two missed faces; two without."""
    root = tmp_path_factory.mktemp("labelled")
    (root / "images").mkdir()
    labels = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "face"}]}
    for number, (name, (faces, patches)) in enumerate(KINDS.items(), 1):
        image_HW3 = data.coffee()[:300, :400].copy()
        for (x, y, w, h), colour in patches:
            image_HW3[y : y + h, x : x + w] = colour
        Image.fromarray(image_HW3).save(root / "images" / name)
        labels["images"].append({"id": number, "file_name": name, "width": 400, "height": 300})
        for face in faces:
            annotation = {"id": len(labels["annotations"]) + 1, "image_id": number, "category_id": 1, "bbox": face}
            if face is FOUND:
                points_52 = np.array(FOUND[:2]) + SPOTS_52 * np.array(FOUND[2:]) + np.eye(5, 2) * [7, 0]
                annotation["keypoints"] = [value for x, y in points_52.tolist() for value in (x, y, 2)]
            labels["annotations"].append(annotation)
    (root / "annotations.json").write_text(json.dumps(labels))
    return root


@pytest.fixture(scope="module")
def page(model, labelled, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert run(["evaluate", str(model), "--data", str(labelled), "--workers", "1", "--page", str(path)]) == 0
    return path.read_text("utf-8")


class Elements(HTMLParser):
    """The attributes of every element, and the elements that are still open."""

    def __init__(self):
        super().__init__()
        self.seen, self.open = [], []

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def elements(page):
    parser = Elements()
    parser.feed(page)
    assert parser.open == []
    return parser.seen


def sample_images(page):
    found = []
    for tag, attributes in elements(page):
        if tag == "img":
            kind, content = attributes["src"].split(",")
            assert kind == "data:image/jpeg;base64"
            found.append((attributes["alt"], Image.open(io.BytesIO(base64.b64decode(content)))))
    return found


def test_page_loads_nothing_and_runs_nothing(page):
    tags = {tag for tag, _ in elements(page)}
    assert not tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"https?:|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
    assert len(page) < 3e6


def test_largest_misses_and_highest_scores_come_first(page):
    captions = [caption for caption, _ in sample_images(page)]
    assert captions == ["120 × 90 px, no box", "12 × 14 px, no box", "score 1.00, no label there"]


def test_crop_shows_the_box_in_its_colour_at_the_label(page):
    [(_, missed), _, (_, alarm)] = sample_images(page)
    # The square around the missed face is 2.2 times its longer side, 264 pixels; its middle is the face's.
    middle, scale = np.array(missed.size) / 2, missed.width / 264
    left = middle - np.array([60, 45]) * scale
    assert near(missed, round(left[0]) + 1, round(middle[1]), mistakes.LABEL)
    assert not near(missed, round(middle[0]), round(middle[1]), mistakes.LABEL)
    # The false alarm is painted blue, with an outline in the colour of detections.
    assert near(alarm, alarm.width // 2, alarm.height // 2, BLUE)
    assert near(alarm, round(alarm.width / 2 - 20 * alarm.width / 88) + 1, alarm.height // 2, mistakes.FOUND)


def near(image, x, y, colour):
    pixels = np.asarray(image.convert("RGB"), int)[y - 2 : y + 3, x - 3 : x + 4]
    return bool((np.abs(pixels - colour).sum(axis=2) < 120).any())


def test_names_are_escaped(page):
    assert "found &amp; missed &lt;b&gt;.png" in page
    assert "missed <b>" not in page


def test_metrics_match_the_json(capsys, model, labelled, page):
    capsys.readouterr()
    assert run(["evaluate", str(model), "--data", str(labelled), "--workers", "1", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert f"<b>{result['coco']['ap50']:.3f}</b>" in page
    free = result["face_free"]
    assert (free["images"], free["balanced"]["false_alarms_per_image"]) == (2, 0.5)
    # Two images allow no false alarm, so nothing is accepted.
    assert free["one_false_alarm_in_ten_images"]["threshold"] is None
    landmarks = result["landmarks"]
    assert (landmarks["faces"], landmarks["labelled_faces"]) == (1, 1)
    assert landmarks["by_point"]["left_eye"] == pytest.approx(7 / np.sqrt(60 * 80), abs=1e-4)
    assert landmarks["mean_error"] == pytest.approx(7 / 5 / np.sqrt(60 * 80), abs=1e-4)
    assert result["groups"] == []


def test_table_has_false_alarms_and_landmarks(capsys, model, labelled):
    capsys.readouterr()
    assert run(["evaluate", str(model), "--data", str(labelled), "--workers", "1"]) == 0
    table = capsys.readouterr().out
    assert "false alarms per image, on 2 images" in table
    assert "1 found of 1 labelled faces" in table


def test_existing_page_is_kept_and_two_outputs_of_one_name_are_refused(capsys, model, labelled, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("mine")
    arguments = ["evaluate", str(model), "--data", str(labelled), "--workers", "1", "--page", str(path)]
    assert run(arguments) == 3
    assert path.read_text() == "mine"
    assert run([*arguments, "--overwrite", "-o", str(path)]) == 2
    assert path.read_text() == "mine"
    assert run([*arguments, "--overwrite"]) == 0
    assert path.read_text("utf-8").startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


def test_page_of_a_set_without_faces_and_with_an_unreadable_image(model, tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(data.rocket()[:200, :200]).save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.png").write_bytes(b"no image")
    images = [{"id": number, "file_name": name} for number, name in enumerate(["a.png", "b.png"])]
    (tmp_path / "annotations.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    path = tmp_path / "page.html"
    metrics = tmp_path / "metrics.json"
    arguments = ["evaluate", str(model), "--data", str(tmp_path), "--workers", "1", "--page", str(path)]
    assert run([*arguments, "--format", "json", "-o", str(metrics)]) == 3
    assert sample_images(path.read_text("utf-8")) == []
    assert "1 images could not be read" in path.read_text("utf-8")
    # The unreadable image is left out, because it has no false alarm.
    assert json.loads(metrics.read_text())["face_free"]["images"] == 1
