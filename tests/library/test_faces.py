"""What a result does: selecting, drawing, redacting, cutting out, showing itself, and becoming other classes."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import mlcycle

data = pytest.importorskip("skimage.data")


@pytest.fixture(scope="module")
def model():
    return mlcycle.load("face-nano")


@pytest.fixture(scope="module")
def crowd(model):
    """Two astronauts side by side, one smaller, and faces down to the floor of scores."""
    portrait = Image.fromarray(data.astronaut())
    both = Image.new("RGB", (768, 512), (90, 90, 90))
    both.paste(portrait, (0, 0))
    both.paste(portrait.resize((256, 256)), (512, 128))
    faces = model(both)
    assert len(faces) == 2
    return faces


@pytest.fixture(scope="module")
def nobody(model):
    return model(np.full((60, 80, 3), 128, np.uint8))


def test_one_face_is_its_rows(crowd):
    for number in (0, 1, -1):
        face = crowd[number]
        np.testing.assert_array_equal(face.box, crowd.boxes[number])
        np.testing.assert_array_equal(face.landmarks, crowd.landmarks[number])
        assert face.score == pytest.approx(float(crowd.scores[number]))
    assert [face.score for face in crowd] == crowd.scores.tolist()
    with pytest.raises(IndexError):
        crowd[2]


@pytest.mark.parametrize("index", [slice(1, None), [1], np.array([False, True])], ids=["slice", "list", "mask"])
def test_some_faces_are_faces_again(crowd, index):
    second = crowd[index]
    assert isinstance(second, mlcycle.Faces)
    np.testing.assert_array_equal(second.boxes, crowd.boxes[1:])
    assert second.landmarks.shape == (1, 5, 2)
    assert len(second.crops()) == 1
    assert second.to_dict()["faces"] == crowd.to_dict()["faces"][1:]


def test_no_face_is_an_empty_result_that_does_all_the_same(nobody):
    assert len(nobody) == 0
    assert not nobody
    assert nobody.boxes.shape == (0, 4)
    assert nobody.landmarks.shape == (0, 5, 2)
    assert nobody.crops() == nobody.crops(align=True) == []
    assert nobody.redact().tobytes() == nobody.image.tobytes()
    assert nobody.to_dict()["status"] == "empty"


def test_drawing_changes_a_copy(crowd):
    drawn = crowd.draw()
    assert (drawn.mode, drawn.size) == ("RGB", crowd.image_size)
    assert drawn.tobytes() != crowd.image.tobytes()


@pytest.mark.parametrize("way", ["blur", "pixelate", "fill"])
def test_redacted_faces_are_not_found_again(model, crowd, way):
    redacted = crowd.redact(way)
    assert redacted.size == crowd.image_size
    assert len(model(redacted)) == 0


def test_doubtful_regions_are_no_faces_but_redacted(model, crowd):
    scene = crowd.image
    scene.paste((90, 90, 90), (512, 0, 768, 512))
    scene.paste(Image.fromarray(data.astronaut()).resize((58, 58)), (600, 128))
    faces, sensitive = model(scene), model(scene, at="sensitive")
    assert len(faces) == 1
    assert len(sensitive) == 1 + len(faces.doubtful) > 1
    np.testing.assert_array_equal(faces.doubtful, sensitive.boxes[1:])
    assert faces.redact("fill").tobytes() == sensitive.redact("fill").tobytes()
    chosen = model(scene, threshold=model.threshold)
    assert [len(each.doubtful) for each in (chosen, faces[:1], sensitive)] == [0, 0, 0]
    assert chosen.to_dict()["faces"] == faces.to_dict()["faces"]
    assert faces.redact("fill").tobytes() != chosen.redact("fill").tobytes()


def test_deep_grey_of_unknown_white_from_pillow_is_not_redacted(model):
    values_HW = np.arange(4096, dtype=np.uint16).reshape(64, 64) // 3
    values_HW[0, 0] = 65535
    faces = model(Image.fromarray(values_HW))
    assert "its white level is unknown" in faces.note
    with pytest.raises(mlcycle.UnreadableError, match="no redacted copy"):
        faces.redact()


def test_a_way_to_redact_that_is_not_there_is_refused(crowd):
    with pytest.raises(mlcycle.UsageError, match="smudge"):
        crowd.redact("smudge")


def test_a_redacted_copy_carries_no_metadata(model, tmp_path):
    path = tmp_path / "tagged.jpg"
    exif = Image.Exif()
    exif[0x010E] = "who it is"
    Image.fromarray(data.astronaut()).save(path, exif=exif, comment=b"who it is")
    stream = io.BytesIO()
    model(path).redact().save(stream, "JPEG")
    assert b"who it is" in path.read_bytes()
    assert b"who it is" not in stream.getvalue()


def test_crops_are_squares_around_the_faces(model, crowd):
    crops = crowd.crops()
    assert [each.width == each.height for each in crops] == [True, True]
    for crop, (x1, y1, x2, y2) in zip(crops, crowd.boxes.tolist(), strict=True):
        assert crop.width == pytest.approx(1.4 * max(x2 - x1, y2 - y1), abs=1)
    assert {each.size for each in crowd.crops(align=True)} == {(112, 112)}


def test_aligned_crops_need_landmarks(crowd):
    plain = mlcycle.Faces.from_supervision(
        SimpleNamespace(xyxy=crowd.boxes, confidence=crowd.scores, data={}), crowd.image
    )
    with pytest.raises(mlcycle.UsageError, match="landmarks"):
        plain.crops(align=True)
    assert len(plain.crops()) == 2


def test_a_notebook_shows_the_drawn_image(model, crowd):
    shown = Image.open(io.BytesIO(crowd._repr_png_()))
    assert (shown.format, shown.size) == ("PNG", crowd.image_size)
    assert shown.tobytes() == crowd.draw().tobytes()
    large = model(Image.fromarray(data.astronaut()).resize((3000, 1500)))
    assert Image.open(io.BytesIO(large._repr_png_())).size == (1024, 512)


def test_where_there_is_nothing_to_show_a_notebook_shows_words(model, tmp_path, astronaut):
    (failed,) = model.stream([tmp_path / "missing.jpg"])
    assert failed._repr_png_() is None
    assert "no such file" in repr(failed)
    path = tmp_path / "gone.jpg"
    path.write_bytes(astronaut.read_bytes())
    faces = model(path)
    path.unlink()
    assert faces._repr_png_() is None
    assert repr(faces) == f"<Faces: 1 in {path}, 512 x 512>"


def test_an_image_that_has_become_another_is_not_drawn_on(model, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()).save(path)
    faces = model(path)
    Image.fromarray(data.astronaut()[:400]).save(path)
    with pytest.raises(mlcycle.InputError, match="has changed"):
        faces.redact()
    with pytest.raises(mlcycle.InputError, match="512 x 400"):
        mlcycle.Faces.from_dict(faces.to_dict()).redact()


def test_another_image_of_the_same_size_is_not_redacted_in_the_wrong_places(model, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()).save(path)
    faces = model(path)
    Image.fromarray(data.astronaut()[::-1]).save(path)
    os.utime(path, ns=(0, 0))
    with pytest.raises(mlcycle.InputError, match="has changed"):
        faces.redact()


def test_faces_come_back_from_their_record(model, astronaut):
    faces = model(astronaut)
    record = json.loads(json.dumps(faces.to_dict()))
    again = mlcycle.Faces.from_dict(record)
    assert again.to_dict() == faces.to_dict()
    assert again.boxes.dtype == np.float32
    np.testing.assert_allclose(again.landmarks, faces.landmarks, atol=0.01)
    assert again.draw().size == (512, 512)
    elsewhere = mlcycle.Faces.from_dict(record, image=data.astronaut())
    assert elsewhere.crops()[0].size == faces.crops()[0].size


def test_the_record_of_a_failure_comes_back_as_one(model):
    (failed,) = model.stream([b"no image"])
    again = mlcycle.Faces.from_dict(failed.to_dict())
    assert again.error.code == "not-an-image"
    with pytest.raises(mlcycle.UnreadableError):
        again.draw()


def test_faces_can_be_pickled(crowd):
    again = pickle.loads(pickle.dumps(crowd))
    np.testing.assert_array_equal(again.boxes, crowd.boxes)
    assert again.draw().tobytes() == crowd.draw().tobytes()


def test_detections_of_another_detector_become_faces(model, crowd):
    """Read by attributes alone, so that it needs no supervision; best first, whatever order they came in."""
    other = SimpleNamespace(xyxy=crowd.boxes[::-1].astype(np.float64), confidence=crowd.scores[::-1], data={})
    faces = mlcycle.Faces.from_supervision(other, crowd.image)
    np.testing.assert_array_equal(faces.boxes, crowd.boxes)
    np.testing.assert_array_equal(faces.scores, crowd.scores)
    assert faces.landmarks is None
    assert faces.image_size == crowd.image_size
    assert len(model(faces.redact("fill"))) == 0
    unsure = SimpleNamespace(xyxy=crowd.boxes, confidence=None, data={})
    assert mlcycle.Faces.from_supervision(unsure, crowd.image).scores.tolist() == [1.0, 1.0]


def test_there_and_back_through_supervision(crowd, nobody):
    supervision = pytest.importorskip("supervision")
    detections = crowd.to_supervision()
    assert isinstance(detections, supervision.Detections)
    assert detections.class_id.tolist() == [0, 0]
    assert detections["class_name"].tolist() == ["face", "face"]
    again = mlcycle.Faces.from_supervision(detections[[1, 0]], crowd.image)
    np.testing.assert_array_equal(again.boxes, crowd.boxes)
    np.testing.assert_array_equal(again.landmarks, crowd.landmarks)
    assert len(nobody.to_supervision()) == 0


def test_without_supervision_it_says_what_to_install(crowd, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(mlcycle.MissingExtraError) as caught:
        crowd.to_supervision()
    assert "pip install" in caught.value.hint
