"""The runtime gets only the verified bytes, on the requested provider or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, external_data_helper
from tiny_model import CONTRACT, add_metadata, tiny_bytes, unsealed_model, write_tiny_model

from mlcycle.artifact.contract import Resize
from mlcycle.artifact.seal import SealedBytes, read_sealed, seal_bytes, write_sealed
from mlcycle.errors import DeviceError, ModelFileError
from mlcycle.inference.detect import load_detector
from mlcycle.inference.models import find_model
from mlcycle.inference.session import open_session

pytest_plugins = ("tiny_album",)


def test_a_file_swapped_after_it_was_verified_is_not_loaded(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "model.onnx", long_side=320)
    sealed = read_sealed(path)
    path.unlink()
    path.write_bytes(tiny_bytes(replace(CONTRACT, resize=Resize(999))))
    assert open_session(sealed, provider="cpu").contract.resize.long_side == 320


def test_auto_reports_its_provider(tiny: Path) -> None:
    assert load_detector(tiny).provider in {"cpu", "cuda", "coreml", "openvino"}


def test_a_provider_that_is_not_installed_is_refused(tiny: Path) -> None:
    missing = next(
        name
        for name, long in (("tensorrt", "TensorrtExecutionProvider"), ("coreml", "CoreMLExecutionProvider"))
        if long not in onnxruntime.get_available_providers()
    )
    with pytest.raises(DeviceError, match=missing):
        load_detector(tiny, provider=missing)


def test_a_silent_fallback_to_another_provider_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a machine without CUDA's libraries, onnxruntime-gpu lists the provider, warns, and uses the CPU.
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    plain = onnxruntime.InferenceSession

    def falls_back(data: bytes, options: object, providers: list[str], **others: object) -> object:
        return plain(data, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    with pytest.raises(DeviceError, match="used another"):
        load_detector(tiny, provider="cuda")
    assert load_detector(tiny, provider="auto").provider == "cpu"


def test_weights_in_another_file_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = unsealed_model()
    spots = next(each for each in model.graph.initializer if each.name == "spots")
    spots.ClearField("float_data")
    spots.raw_data = np.zeros((5, 2), np.float32).tobytes()
    external_data_helper.set_external_data(spots, "weights.bin", length=40)
    (tmp_path / "weights.bin").write_bytes(spots.raw_data)
    spots.ClearField("raw_data")
    assert spots.data_location == TensorProto.EXTERNAL
    write_sealed(seal_bytes(model.SerializeToString(deterministic=True)), tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match="weights in another file"):
        load_detector(tmp_path / "model.onnx")


def sealed_with(contract_json: str) -> SealedBytes:
    return SealedBytes(tiny_bytes(contract_json=contract_json), "", Path("model.onnx"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "has format 2"),
        ({"format": "new"}, "has format new"),
        ({"landmarks": []}, "does not match its contract"),
        ({"colour": "BGR"}, "unknown preprocessing"),
        ({"orientation": "as-stored"}, "unknown preprocessing"),
        ({"resize": {"long_side": 640, "rule": "stretch", "filter": "antialiased-triangle"}}, "unknown preprocessing"),
        ({"thresholds": {}}, "no threshold"),
        ({"resize": {"side": 640}}, "incomplete"),
    ],
)
def test_a_violated_or_unknown_contract_is_refused(change: dict[str, object], words: str) -> None:
    text = json.dumps(asdict(CONTRACT) | change)
    with pytest.raises(ModelFileError, match=words):
        open_session(sealed_with(text), provider="cpu")


def test_an_unknown_key_of_the_same_format_is_ignored() -> None:
    text = json.dumps(asdict(CONTRACT) | {"added_later": 1})
    assert open_session(sealed_with(text), provider="cpu").contract == CONTRACT


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        open_session(sealed_with("no json"), provider="cpu")
    foreign = unsealed_model()
    add_metadata(foreign, "{}")
    foreign.metadata_props[0].key = "somebody.else"
    with pytest.raises(ModelFileError, match="has no contract"):
        open_session(SealedBytes(foreign.SerializeToString(), "", Path("x.onnx")))
    with pytest.raises(ModelFileError, match="structure cannot be read"):
        open_session(SealedBytes(b"\x00garbage", "", Path("x.onnx")))


def test_which_model_file_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLCYCLE_MODEL", raising=False)
    assert find_model() == (Path("face-nano"), "bundled")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "planted.onnx").touch()
    (tmp_path / "face-nano").touch()
    assert find_model() == (Path("face-nano"), "bundled")
    monkeypatch.setenv("MLCYCLE_MODEL", "elsewhere.onnx")
    assert find_model() == (Path("elsewhere.onnx"), "MLCYCLE_MODEL")
    assert find_model(Path("named.onnx")) == (Path("named.onnx"), "--model")
