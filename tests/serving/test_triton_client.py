"""Triton's HTTP client works unchanged, and gets the same numbers as `mlcycle infer`, bit for bit."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_server import LiveServer
from PIL import Image

from mlcycle.inference.detect import DetectOptions, Detector, load_detector
from mlcycle.inference.models import find_model
from mlcycle.inference.record import Source

triton = pytest.importorskip("tritonclient.http")
utils = pytest.importorskip("tritonclient.utils")

MODEL = "face-nano"
OUTPUTS = ("boxes", "scores", "landmarks")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(find_model()[0], threads=1)


@pytest.fixture(scope="module")
def photos(astronaut: Path) -> list[bytes]:
    """An image with one face, one with two, and one without any."""
    face = Image.open(astronaut)
    two = Image.new("RGB", (900, 512))
    two.paste(face, (0, 0))
    two.paste(face.crop((100, 0, 400, 300)), (560, 100))
    streams = [io.BytesIO() for _ in range(3)]
    for image, stream in zip((face, two, face.crop((300, 300, 400, 400))), streams, strict=True):
        image.save(stream, "JPEG", quality=95)
    return [stream.getvalue() for stream in streams]


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[Any]:
    with triton.InferenceServerClient(f"{server.host}:{server.port}") as live:
        yield live


def tensor_input(name: str, array: np.ndarray, *, binary: bool = True) -> Any:
    datatype = "UINT8" if array.dtype == np.uint8 else "BYTES"
    tensor = triton.InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


def images_input(photos: list[bytes], *, binary: bool = True) -> Any:
    data = photos if binary else [base64.b64encode(each) for each in photos]
    return tensor_input("encoded_images", np.array(data, np.object_), binary=binary)


def requested(*, binary: bool, names: tuple[str, ...] = OUTPUTS) -> list[Any]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def records(detector: Detector, photos: list[bytes], options: DetectOptions) -> list[dict[str, np.ndarray]]:
    sources = [Source(Path("image"), "image", data=each) for each in photos]
    found = [detector.detect_batch([source], options)[0] for source in sources]
    return [{"boxes": each.boxes_N4, "scores": each.scores_N, "landmarks": each.landmarks_N52} for each in found]


def must_be(result: Any, expected: list[dict[str, np.ndarray]]) -> None:
    """Asserts that the outputs have these rows for each image, bit for bit, and zeros after them."""
    for name in OUTPUTS:
        outputs = result.as_numpy(name)
        assert outputs.dtype == np.float32
        assert len(outputs) == len(expected)
        for output_N, each in zip(outputs, expected, strict=True):
            count = len(each["scores"])
            assert output_N[:count].tobytes() == each[name].astype(np.float32).tobytes()
            assert not output_N[count:].any()


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False])
def test_pixels_give_the_outputs_of_the_graph(
    client: Any, detector: Detector, photos: list[bytes], binary_input: bool, binary_output: bool
) -> None:
    image_HW3 = np.asarray(Image.open(io.BytesIO(photos[0])).resize((320, 320)))
    images_BHW3 = np.stack([image_HW3, image_HW3[::-1]])
    tensor = tensor_input("images", images_BHW3, binary=binary_input)
    result = client.infer(MODEL, [tensor], outputs=requested(binary=binary_output), request_id="a-7")
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("a-7", MODEL, "1")
    assert response["parameters"]["sha256"] == detector.sha256
    assert [each["name"] for each in response["outputs"]] == list(OUTPUTS)
    for name, expected in zip(OUTPUTS, detector.session.run(images_BHW3), strict=True):
        found = result.as_numpy(name)
        assert (found.shape, found.dtype, found.tobytes()) == (expected.shape, np.float32, expected.tobytes())
    assert result.as_numpy("scores").max() > 0.5


@pytest.mark.parametrize("binary", [True, False])
def test_encoded_images_give_the_boxes_of_infer(
    client: Any, detector: Detector, photos: list[bytes], binary: bool
) -> None:
    expected = records(detector, photos, DetectOptions())
    assert [len(each["scores"]) for each in expected] == [1, 2, 0]
    must_be(client.infer(MODEL, [images_input(photos, binary=binary)]), expected)
    for photo, each in zip(photos, expected, strict=True):
        must_be(client.infer(MODEL, [images_input([photo])], model_version="1"), [each])


def test_parameters_are_those_of_infer(client: Any, detector: Detector, photos: list[bytes]) -> None:
    tensor = images_input(photos)
    low = client.infer(MODEL, [tensor], parameters={"threshold": 0.05})
    must_be(low, records(detector, photos, DetectOptions(threshold=0.05)))
    named = client.infer(MODEL, [tensor], parameters={"at": "sensitive"})
    must_be(named, records(detector, photos, DetectOptions(threshold=detector.contract.thresholds["sensitive"])))
    large = client.infer(MODEL, [tensor], parameters={"long_side": "320,original"})
    must_be(large, records(detector, photos, DetectOptions(long_sides=(320, 0))))


def test_only_requested_outputs_are_sent(client: Any, photos: list[bytes]) -> None:
    outputs = [*requested(binary=True, names=("scores",)), *requested(binary=False, names=("boxes",))]
    response = client.infer(MODEL, [images_input(photos)], outputs=outputs).get_response()
    assert [(each["name"], "data" in each) for each in response["outputs"]] == [("scores", False), ("boxes", True)]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"request_compression_algorithm": "gzip"}, "415"),
        ({"request_compression_algorithm": "deflate"}, "415"),
        ({"outputs": [("masks", 0)]}, "400"),
        ({"outputs": [("scores", 3)]}, "400"),
        ({"parameters": {"treshold": 0.5}}, "400"),
        ({"parameters": {"threshold": 2}}, "400"),
        ({"parameters": {"threshold": "0.5"}}, "400"),
        ({"parameters": {"threshold": True}}, "400"),
        ({"parameters": {"at": "nowhere"}}, "400"),
        ({"parameters": {"long_side": 640}}, "400"),
        ({"priority": 1}, "400"),
        ({"model_version": "2"}, "404"),
    ],
)
def test_what_is_not_supported_is_refused(
    client: Any, photos: list[bytes], arguments: dict[str, Any], status: str
) -> None:
    if "outputs" in arguments:
        arguments = {"outputs": [triton.InferRequestedOutput(n, class_count=c) for n, c in arguments["outputs"]]}
    with pytest.raises(utils.InferenceServerException) as problem:
        client.infer(MODEL, [images_input(photos[:1])], **arguments)
    assert problem.value.status() == status
    assert problem.value.message()


@pytest.mark.parametrize(
    ("name", "array", "status"),
    [
        ("pictures", np.zeros((1, 8, 8, 3), np.uint8), "400"),
        ("images", np.array([b"x"], np.object_), "400"),
        ("images", np.zeros((1, 8, 8, 4), np.uint8), "400"),
        ("images", np.zeros((8, 8, 3), np.uint8), "400"),
        ("images", np.zeros((65, 8, 8, 3), np.uint8), "400"),
        ("images", np.zeros((1, 1, 300_000, 3), np.uint8), "413"),
        ("encoded_images", np.array([b"x"] * 65, np.object_), "400"),
        ("encoded_images", np.array([b"x"], np.object_), "415"),
        ("encoded_images", np.array([b""], np.object_), "422"),
    ],
)
def test_a_wrong_tensor_is_refused(client: Any, name: str, array: np.ndarray, status: str) -> None:
    with pytest.raises(utils.InferenceServerException) as problem:
        client.infer(MODEL, [tensor_input(name, array)])
    assert problem.value.status() == status


def test_the_bad_image_of_a_batch_is_named(client: Any, photos: list[bytes]) -> None:
    with pytest.raises(utils.InferenceServerException, match="image 2: it is not an image"):
        client.infer(MODEL, [images_input([photos[0], b"nothing"])])


def test_parameters_for_images_are_refused_for_pixels(client: Any) -> None:
    tensor = tensor_input("images", np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(utils.InferenceServerException, match="threshold is for encoded_images"):
        client.infer(MODEL, [tensor], parameters={"threshold": 0.5})


def test_any_size_of_pixels_is_answered(client: Any) -> None:
    for shape in ((1, 1, 1), (1, 1, 4096), (1, 4096, 1), (2, 33, 31), (64, 2, 3)):
        result = client.infer(MODEL, [tensor_input("images", np.zeros((*shape, 3), np.uint8))])
        assert len(result.as_numpy("scores")) == shape[0]


def test_several_requests_at_once(client: Any, detector: Detector, photos: list[bytes], server: LiveServer) -> None:
    (expected,) = records(detector, photos[:1], DetectOptions())
    with triton.InferenceServerClient(f"{server.host}:{server.port}", concurrency=4) as several:
        pending = [several.async_infer(MODEL, [images_input(photos[:1])]) for _ in range(12)]
        for each in pending:
            must_be(each.get_result(), [expected])


def test_health_and_metadata(client: Any, detector: Detector) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("other")
    assert not client.is_model_ready(MODEL, "2")
    assert client.get_server_metadata()["name"] == "mlcycle"
    assert client.get_model_repository_index() == [{"name": MODEL, "version": "1", "state": "READY"}]
    metadata = client.get_model_metadata(MODEL)
    assert {each["name"]: (each["datatype"], each["shape"]) for each in metadata["inputs"]} == {
        "images": ("UINT8", [-1, -1, -1, 3]),
        "encoded_images": ("BYTES", [-1]),
    }
    assert [each["name"] for each in metadata["outputs"]] == list(OUTPUTS)
    assert metadata["parameters"]["sha256"] == detector.sha256
    config = client.get_model_config(MODEL, "1")
    assert [each["dims"] for each in config["output"]] == [each["shape"] for each in metadata["outputs"]]


def test_statistics_count_requests_and_images(client: Any, photos: list[bytes]) -> None:
    def counts() -> tuple[int, int, int]:
        (of_model,) = client.get_inference_statistics(MODEL)["model_stats"]
        assert client.get_inference_statistics()["model_stats"][0]["name"] == MODEL
        stats = of_model["inference_stats"]
        assert stats["success"]["ns"] >= stats["compute_infer"]["ns"] > 0
        return stats["success"]["count"], stats["fail"]["count"], of_model["inference_count"]

    client.infer(MODEL, [images_input(photos[:1])])
    before = counts()
    client.infer(MODEL, [images_input(photos)])
    with pytest.raises(utils.InferenceServerException):
        client.infer(MODEL, [images_input([b"nothing"])])
    assert [after - first for after, first in zip(counts(), before, strict=True)] == [1, 1, 3]


def test_what_only_triton_has_is_not_there(client: Any) -> None:
    for ask in (client.get_trace_settings, client.get_log_settings, client.get_system_shared_memory_status):
        with pytest.raises(utils.InferenceServerException) as problem:
            ask()
        assert problem.value.status() == "404"
    with pytest.raises(utils.InferenceServerException):
        client.unload_model(MODEL)
    assert client.is_model_ready(MODEL)
