"""`mlcycle.load` and calling the model: every kind of input, thresholds, and what goes wrong."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import mlcycle
from mlcycle import errors
from mlcycle.artifact import bundled

data = pytest.importorskip("skimage.data")


@pytest.fixture(scope="module")
def model():
    return mlcycle.load("face-nano")


@pytest.fixture(scope="module")
def sideways(tmp_path_factory):
    """A JPEG whose rows lie on their side, and whose EXIF orientation says so."""
    path = tmp_path_factory.mktemp("turned") / "sideways.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(data.astronaut()).rotate(90, expand=True).save(path, quality=95, exif=exif)
    return path


def same(one, other):
    return np.array_equal(one.boxes, other.boxes) and np.array_equal(one.scores, other.scores)


def test_the_arrays_have_the_shapes_and_types_that_are_promised(model, astronaut):
    faces = model(astronaut)
    assert faces.boxes.shape == (1, 4)
    assert faces.scores.shape == (1,)
    assert faces.landmarks.shape == (1, 5, 2)
    assert {each.dtype for each in (faces.boxes, faces.scores, faces.landmarks)} == {np.dtype(np.float32)}
    assert faces.image_size == (512, 512)
    x1, y1, x2, y2 = faces.boxes[0]
    assert 170 < x1 < 190
    assert 260 < x2 < 280
    assert 50 < y1 < y2 < 200
    assert faces.error is None


@pytest.mark.parametrize("turned", [False, True], ids=["upright", "sideways"])
def test_every_kind_of_input_gives_the_same_faces(model, astronaut, sideways, turned):
    path = sideways if turned else astronaut
    reference = model(path)
    upright = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    assert len(reference) == 1
    inputs = [
        str(path), path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes()),
        io.BytesIO(path.read_bytes()), Image.open(path), upright, np.asarray(upright),
        np.asarray(upright).copy(order="F"),
    ]  # fmt: skip
    for each in inputs:
        assert same(model(each), reference), type(each)
    with path.open("rb") as file:
        from_file = model(file)
    assert same(from_file, reference)
    assert from_file.input == path.as_posix()


def test_a_file_object_is_read_from_where_it_stands(model, astronaut):
    file = io.BytesIO(b"head" + astronaut.read_bytes())
    file.seek(4)
    assert len(model(file)) == 1


def test_a_pillow_image_is_left_as_it_is(model):
    image = Image.fromarray(data.astronaut()).convert("P")
    before = image.tobytes(), image.mode, dict(image.info)
    model(image)
    assert (image.tobytes(), image.mode, dict(image.info)) == before


def test_an_array_of_another_package_is_used_as_one(model):
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return data.astronaut()

    assert same(model(Tensor()), model(data.astronaut()))


def test_the_record_is_that_of_the_command_line(model, mlcycle, astronaut):
    outcome = mlcycle("infer", astronaut, "--model", "face-nano", "--format", "jsonl")
    by_command, by_library = json.loads(outcome.out), model(astronaut).to_dict()
    assert by_command.pop("milliseconds").keys() == by_library.pop("milliseconds").keys()
    assert by_library == by_command
    json.dumps(by_library, allow_nan=False)


@pytest.mark.parametrize(
    ("image", "code", "words"),
    [
        ("missing.jpg", "not-found", "missing.jpg"),
        (b"", "empty", "empty"),
        (b"no image at all", "not-an-image", "known format"),
        (Path(__file__).parent, "not-a-file", "folder"),
        (42, "unsupported", "type int"),
        (None, "unsupported", "type NoneType"),
        (io.StringIO("text"), "unsupported", "str, not bytes"),
        (np.zeros((8, 8, 3)), "unsupported", "float64"),
        (np.zeros((8, 8), np.uint8), "unsupported", r"\(8, 8\)"),
        (np.zeros((3, 8, 8), np.uint8), "unsupported", r"\(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), "empty", "no pixels"),
        (Image.new("RGB", (0, 8)), "empty", "no pixels"),
        ("a\0b.jpg", "unreadable", "null byte"),
        (np.array(["a"]), "unsupported", "not uint8"),
    ],
)
def test_a_bad_input_raises_a_public_exception_that_names_it(model, image, code, words):
    with pytest.raises(mlcycle.UnreadableError, match=words) as caught:
        model(image)
    assert caught.value.code == code
    assert isinstance(caught.value, mlcycle.MlcycleError)


def test_the_hint_says_how_to_repair_an_array(model):
    with pytest.raises(mlcycle.UnreadableError) as caught:
        model(np.zeros((3, 8, 8), np.uint8))
    assert "transpose(1, 2, 0)" in caught.value.hint
    assert any(caught.value.hint in note for note in caught.value.__notes__)


def test_a_truncated_pillow_image_raises_too(model, astronaut):
    with pytest.raises(mlcycle.UnreadableError) as caught:
        model(Image.open(io.BytesIO(astronaut.read_bytes()[:9000])))
    assert caught.value.code == "truncated"


def test_a_url_is_refused(model):
    with pytest.raises(mlcycle.UsageError, match="fetches nothing"):
        model("https://example.org/photo.jpg")


@pytest.mark.parametrize("image", [Image.new("RGB", (40, 30)), np.zeros((30, 40, 3), np.uint8)], ids=["image", "array"])
def test_more_pixels_than_allowed_are_refused(model, image):
    with pytest.raises(mlcycle.UnreadableError) as caught:
        model(image, max_pixels=1199)
    assert caught.value.code == "too-large"
    assert len(model(image, max_pixels=1200)) == 0


def test_a_file_with_more_pixels_than_allowed_is_refused(model, astronaut):
    with pytest.raises(mlcycle.UnreadableError) as caught:
        model(astronaut, max_pixels=512 * 511)
    assert caught.value.code == "too-large"


def test_thresholds_are_per_model_or_per_call(astronaut):
    model = mlcycle.load("face-nano")
    assert model.threshold == model.thresholds["balanced"]
    assert len(model(astronaut, threshold=1.0)) == 0
    low = model(astronaut, threshold=0.01)
    assert len(low) > 1
    assert (np.diff(low.scores) <= 0).all()
    strict = mlcycle.load("face-nano", threshold=1.0)
    assert strict.threshold == 1.0
    assert len(strict(astronaut)) == 0
    assert len(strict(astronaut, at="balanced")) == 1
    point = next(iter(model.thresholds))
    assert mlcycle.load("face-nano", at=point).threshold == model.thresholds[point]


@pytest.mark.parametrize("arguments", [{"at": "nowhere"}, {"threshold": 1.1}, {"threshold": 0.5, "at": "balanced"}])
def test_a_threshold_that_cannot_be_meant_is_refused(model, astronaut, arguments):
    with pytest.raises(mlcycle.UsageError):
        model(astronaut, **arguments)
    with pytest.raises(mlcycle.UsageError):
        model.stream([astronaut], **arguments)  # at once, not with the first result
    with pytest.raises(mlcycle.UsageError):
        mlcycle.load("face-nano", **arguments)


def test_the_model_says_what_it_is(model):
    assert model.name == "face-nano"
    assert model.path == bundled.FOLDER / "face-nano.onnx"
    assert model.provider == "cpu"
    assert model.contract.thresholds == model.thresholds
    assert len(model.sha256) == 64
    assert repr(model) == f"<Model face-nano {model.sha256[:12]} on cpu>"
    model.thresholds["balanced"] = 0.0
    assert model.thresholds["balanced"] > 0


def test_a_file_of_a_bundled_name_in_the_working_directory_is_not_taken_for_it(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "face-nano").write_bytes(b"somebody else's")
    assert mlcycle.load("face-nano").sha256 == model.sha256
    with pytest.raises(mlcycle.ModelFileError):
        mlcycle.load("./face-nano")


def test_a_model_file_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(mlcycle.ModelFileError, match="no-such-model"):
        mlcycle.load("no-such-model")
    damaged = tmp_path / "damaged.onnx"
    content = bytearray((bundled.FOLDER / "face-nano.onnx").read_bytes())
    content[5000] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(mlcycle.ModelFileError, match="damaged"):
        mlcycle.load(damaged)


def test_a_provider_that_is_not_there_is_refused():
    with pytest.raises(mlcycle.DeviceError, match="teapot"):
        mlcycle.load("face-nano", provider="teapot")


def test_a_signature_is_checked(tmp_path):
    pytest.importorskip("cryptography")
    key = bundled.FOLDER / "models.pub"
    assert mlcycle.load("face-nano", signed_by=key).name == "face-nano"
    unsigned = tmp_path / "face.onnx"
    unsigned.write_bytes((bundled.FOLDER / "face-nano.onnx").read_bytes())
    with pytest.raises(mlcycle.ModelFileError, match="signature"):
        mlcycle.load(unsigned, signed_by=key)


def test_without_cryptography_a_signature_says_what_to_install(monkeypatch):
    import sys

    for name in [each for each in sys.modules if each.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(mlcycle.MissingExtraError) as caught:
        mlcycle.load("face-nano", signed_by=bundled.FOLDER / "models.pub")
    assert "[sign]" in caught.value.hint


def test_a_model_can_be_pickled(model, astronaut):
    again = pickle.loads(pickle.dumps(mlcycle.load("face-nano", threads=1, threshold=0.2)))
    assert (again.sha256, again.threshold) == (model.sha256, 0.2)
    assert same(again(astronaut, at="balanced"), model(astronaut))


@pytest.mark.parametrize(
    "kind", [each for each in vars(errors).values() if isinstance(each, type)], ids=lambda kind: kind.__name__
)
def test_every_error_survives_a_way_to_another_process(kind):
    if not issubclass(kind, errors.MlcycleError):
        return
    problem = kind("one", "two", "three") if kind is errors.UnreadableError else kind("one", "two")
    again = pickle.loads(pickle.dumps(problem))
    assert type(again) is kind
    assert str(again) == str(problem)
    assert vars(again) == vars(problem)
