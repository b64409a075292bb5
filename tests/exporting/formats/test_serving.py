"""Folders for servers: valid by the definitions of Triton and KServe."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import yaml

onnx = pytest.importorskip("onnx")

from float_model import float_contract, write_float_model  # noqa: E402
from tiny_model import CONTRACT, write_tiny_model  # noqa: E402

from mlcycle.artifact.contract import InputSize, from_json  # noqa: E402
from mlcycle.artifact.packing import pack  # noqa: E402
from mlcycle.artifact.seal import SealedBytes, read_sealed  # noqa: E402
from mlcycle.errors import DeviceError, UsageError  # noqa: E402
from mlcycle.exporting.fixed_shape import to_fixed_shape  # noqa: E402
from mlcycle.exporting.formats import kserve, tensorrt, triton  # noqa: E402
from mlcycle.inference.session import open_session  # noqa: E402


@pytest.fixture
def sealed(tmp_path: Path) -> SealedBytes:
    return read_sealed(write_tiny_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    return tmp_path / "served"


def model_config() -> ModuleType:
    """Returns Triton's definition of a configuration from its client package, without the network code."""
    client = pytest.importorskip("tritonclient")
    path = Path(client.__path__[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("landmarks", [True, False])
def test_the_triton_configuration_matches_the_graph(landmarks: bool, tmp_path: Path, folder: Path) -> None:
    definition = model_config()
    from google.protobuf import text_format

    sealed = read_sealed(write_tiny_model(tmp_path / "tiny.onnx", landmarks=landmarks))
    session = open_session(sealed, provider="cpu")
    assert triton.write(folder, sealed, session.contract, most_images=4) == "tiny"
    config = text_format.Parse((folder / "tiny" / "config.pbtxt").read_text(), definition.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("tiny", "onnxruntime", 4)
    assert config.HasField("dynamic_batching")
    types = {"tensor(uint8)": definition.TYPE_UINT8, "tensor(float)": definition.TYPE_FP32}
    for written, real in ((config.input, session.runtime.get_inputs()), (config.output, session.runtime.get_outputs())):
        assert [each.name for each in written] == [each.name for each in real]
        for mine, theirs in zip(written, real, strict=True):
            assert mine.data_type == types[theirs.type]
            assert list(mine.dims) == [each if isinstance(each, int) else -1 for each in theirs.shape[1:]]
            assert not isinstance(theirs.shape[0], int)
    assert config.parameters["mlcycle.sha256"].string_value == sealed.sha256


def test_a_fixed_input_size_disables_batching(tmp_path: Path, folder: Path) -> None:
    definition = model_config()
    from google.protobuf import text_format

    parent = read_sealed(write_float_model(tmp_path / "float.onnx"))
    fixed = to_fixed_shape(onnx.load_model_from_string(parent.data), 256, 192)
    contract = replace(float_contract(), input_size=InputSize(256, 192))
    sealed = SealedBytes(pack(fixed, contract), "ab" * 32, Path("fixed.onnx"))
    kserve.write(folder, sealed, contract, "gs://models/face")
    config = text_format.Parse((folder / "face-nano" / "config.pbtxt").read_text(), definition.ModelConfig())
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [1, 192, 256, 3]
    assert [list(each.dims) for each in config.output] == [[1, -1, 4], [1, -1], [1, -1, 5, 2]]
    assert json.loads((folder / "request.json").read_text())["inputs"][0]["shape"] == [1, 192, 256, 3]


def test_the_repository_contains_the_given_file(sealed: SealedBytes, folder: Path) -> None:
    triton.write(folder, sealed, CONTRACT)
    assert read_sealed(folder / "tiny" / "1" / "model.onnx").sha256 == sealed.sha256
    assert from_json((folder / "tiny" / "contract.json").read_text()) == CONTRACT
    assert (folder / "tiny" / "labels.txt").read_text() == "face\n"


def test_an_unsafe_name_is_replaced(sealed: SealedBytes, folder: Path) -> None:
    assert triton.write(folder, sealed, replace(CONTRACT, name='../a "b"')) == "a-b"
    assert [each.name for each in folder.iterdir()] == ["a-b"]
    assert triton.model_name(replace(CONTRACT, name="...")) == "model"


def test_kserve_gets_the_storage_uri(sealed: SealedBytes, folder: Path) -> None:
    kserve.write(folder, sealed, replace(CONTRACT, name="Tiny_2"), "s3://models/tiny")
    service = yaml.safe_load((folder / "inferenceservice.yaml").read_text())
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    assert service["metadata"]["name"] == "tiny-2"
    assert service["spec"]["predictor"]["model"] == {
        "modelFormat": {"name": "onnx"},
        "runtime": "kserve-tritonserver",
        "protocolVersion": "v2",
        "storageUri": "s3://models/tiny",
    }
    assert sorted(each.name for each in folder.iterdir()) == ["Tiny_2", "inferenceservice.yaml", "request.json"]


def test_the_example_request_shows_a_face(tmp_path: Path) -> None:
    """Also to a model of fixed size, which gets the image padded."""
    session = open_session(read_sealed(write_float_model(tmp_path / "float.onnx")), provider="cpu")
    for size in (None, InputSize(256, 192)):
        (image,) = kserve.example_request(replace(session.contract, input_size=size))["inputs"]  # type: ignore[misc]
        image_1HW3 = np.array(image["data"], np.uint8).reshape(image["shape"])
        _, scores_1N, _ = session.run(image_1HW3)
        assert (scores_1N >= session.contract.thresholds["balanced"]).sum() == 1


def test_the_repository_contains_the_self_test(tmp_path: Path, folder: Path) -> None:
    sealed = read_sealed(write_float_model(tmp_path / "float.onnx"))
    triton.write(folder, sealed, float_contract())
    assert {each.name for each in (folder / "face-nano").iterdir()} == {
        "1", "config.pbtxt", "contract.json", "labels.txt", "self_test.json"
    }  # fmt: skip


def test_the_graph_accepts_the_example_request(sealed: SealedBytes, folder: Path) -> None:
    kserve.write(folder, sealed, CONTRACT, "pvc://models/tiny")
    request = json.loads((folder / "request.json").read_text())
    (image,) = request["inputs"]
    assert image["datatype"] == "UINT8"
    image_BHW3 = np.array(image["data"], np.uint8).reshape(image["shape"])
    session = onnxruntime.InferenceSession(str(folder / "tiny" / "1" / "model.onnx"))
    outputs = session.run([each["name"] for each in request["outputs"]], {image["name"]: image_BHW3})
    assert [output.shape for output in outputs] == [(1, 0, 4), (1, 0), (1, 0, 5, 2)]


@pytest.mark.parametrize("uri", ["", "models/face", "s3:/models", "s3://a b"])
def test_an_invalid_storage_uri_is_refused(uri: str, sealed: SealedBytes, folder: Path) -> None:
    with pytest.raises(UsageError, match="is not a storage URI"):
        kserve.write(folder, sealed, CONTRACT, uri)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("face-nano", "face-nano"), ("Face_Nano.2", "face-nano-2"), ("2nd", "model-2nd"), ("x" * 80, "x" * 63)],
)
def test_names_for_kubernetes(name: str, expected: str) -> None:
    assert kserve.service_name(name) == expected


def test_a_missing_tensorrt_writes_nothing(sealed: SealedBytes, folder: Path) -> None:
    if tensorrt.PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has TensorRT")
    with pytest.raises(DeviceError, match="TensorRT is not available") as caught:
        tensorrt.write(folder, sealed, CONTRACT)
    assert caught.value.exit_code == 6
    assert list(folder.iterdir()) == []


def test_a_silent_fallback_from_tensorrt_is_refused(
    sealed: SealedBytes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [tensorrt.PROVIDER])
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda data, options, providers, **others: plain(data, options, providers=providers[-1:]),
    )
    with pytest.raises(DeviceError, match="used another"):
        tensorrt.write(folder, sealed, CONTRACT)
    assert list(folder.iterdir()) == []
    assert "tensorrt" not in sys.modules


def test_the_client_in_the_documentation_turns_and_shrinks_images(
    sealed: SealedBytes, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run with a stand-in for the package tritonclient that answers with one face."""
    from PIL import Image

    sent = []
    stand_in = SimpleNamespace(
        InferInput=lambda name, shape, kind: SimpleNamespace(set_data_from_numpy=sent.append),
        InferenceServerClient=lambda url: SimpleNamespace(
            infer=lambda name, inputs: SimpleNamespace(
                as_numpy={"boxes": np.float32([[[10, 20, 30, 40]]]), "scores": np.float32([[0.9]])}.get
            )
        ),
    )
    monkeypatch.setitem(sys.modules, "tritonclient", SimpleNamespace(http=stand_in))
    monkeypatch.setitem(sys.modules, "tritonclient.http", stand_in)
    triton.write(folder, sealed, replace(CONTRACT, name="face-nano"))
    folder.rename(folder.parent / "face-triton")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1280, 320)).save(folder.parent / "photo.jpg", exif=exif)
    monkeypatch.chdir(folder.parent)
    blocks = re.findall(
        r"```python\n(.*?)```", (Path(__file__).parents[3] / "docs/export.md").read_text("utf-8"), re.DOTALL
    )
    exec(next(each for each in blocks if "tritonclient" in each), {})
    assert [each.shape for each in sent] == [(1, 640, 160, 3)]
    assert capsys.readouterr().out == "[[20. 40. 60. 80.]]\n"
