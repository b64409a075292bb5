"""Each kind of tampering with a signed model file is refused with its own error, by verify and by infer."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome

pytest.importorskip("cryptography")
onnx = pytest.importorskip("onnx")

from float_model import float_contract, float_model, self_test_of  # noqa: E402
from onnx import external_data_helper, helper, numpy_helper  # noqa: E402

from mlcycle.artifact.admission import MAX_METADATA_BYTES  # noqa: E402
from mlcycle.artifact.contract import CONTRACT_KEY  # noqa: E402
from mlcycle.artifact.packing import pack  # noqa: E402
from mlcycle.artifact.seal import BLANK, SealedBytes, digest_path, read_sealed, seal_bytes, write_sealed  # noqa: E402
from mlcycle.artifact.signing import keys, signature, statement  # noqa: E402
from mlcycle.artifact.structure import structure_of  # noqa: E402
from mlcycle.errors import ModelFileError  # noqa: E402
from mlcycle.inference import detect, session  # noqa: E402
from mlcycle.inspecting.selftest import probe  # noqa: E402

Run = Callable[..., Outcome]


@dataclass(frozen=True)
class Published:
    """A published model file with its digest, its signature and the key of that signature."""

    model: Path
    public: Path
    private: keys.PrivateKey

    @property
    def signature(self) -> Path:
        return self.model.with_name(f"{self.model.name}.sig")

    def write(self, path: Path, data: bytes) -> None:
        path.unlink()
        path.write_bytes(data)

    def flip(self, path: Path, marker: bytes, offset: int) -> None:
        """Flips one bit of the byte at this offset from the first occurrence of the marker."""
        data = bytearray(path.read_bytes())
        data[data.index(marker) + offset] ^= 1
        self.write(path, bytes(data))
        if path == self.model:
            digest_path(path).unlink()

    def seal_again(self, data: bytes) -> None:
        """Replaces the file by other bytes with a valid seal, as a forger without the key can."""
        self.write(self.model, seal_bytes(data[:-64] + BLANK))
        digest_path(self.model).unlink()

    def publish(self, change: Callable[[onnx.ModelProto], None]) -> None:
        """Changes the model and signs it with the author's key: forbidden contents must be refused anyway."""
        model = onnx.load_model_from_string(self.model.read_bytes())
        change(model)
        entries = onnx.ModelProto(metadata_props=model.metadata_props)
        model.ClearField("metadata_props")
        self.seal_again(model.SerializeToString() + entries.SerializeToString())
        signature.sign_file(read_sealed(self.model), self.private, overwrite=True)


@pytest.fixture(scope="module")
def whole() -> bytes:
    model = float_model()
    return pack(model, float_contract(), self_test_of(model))


@pytest.fixture
def given(whole: bytes, tmp_path: Path) -> Published:
    key = keys.generate("p256")
    _, public = keys.write_pair(key, tmp_path / "release")
    write_sealed(whole, tmp_path / "face.onnx")
    signature.sign_file(read_sealed(tmp_path / "face.onnx"), key)
    return Published(tmp_path / "face.onnx", public, key)


def largest_weights(given: Published) -> None:
    tensor = max(structure_of(given.model.read_bytes()).tensors.values(), key=lambda each: each.end - each.begin)
    data = bytearray(given.model.read_bytes())
    data[(tensor.begin + tensor.end) // 2] ^= 1
    given.write(given.model, bytes(data))
    digest_path(given.model).unlink()


def truncate(path: Path) -> Callable[[Published], None]:
    def cut(given: Published) -> None:
        place = given.model.with_name(path.name)
        given.write(place, place.read_bytes()[:-100])
        digest_path(given.model).unlink()

    return cut


def signature_changed(given: Published) -> None:
    """Flips a bit of the signature itself, not of its base64 text, which would become invalid."""
    bundle = json.loads(given.signature.read_bytes())
    (entry,) = bundle["dsseEnvelope"]["signatures"]
    made = bytearray(base64.b64decode(entry["sig"]))
    made[15] ^= 1
    entry["sig"] = base64.b64encode(made).decode()
    given.write(given.signature, json.dumps(bundle).encode())


def by_another_key(given: Published) -> None:
    signature.sign_file(read_sealed(given.model), keys.generate("p256"), overwrite=True)


def renamed(given: Published) -> Path:
    """Renames all files: one key may sign several models."""
    for path in (given.model, given.signature, digest_path(given.model)):
        path.rename(path.with_name(path.name.replace("face", "large")))
    return given.model.with_name("large.onnx")


def a_folders_signature(given: Published) -> None:
    given.write(given.signature, signature.bundle(statement.of_folder(given.model.parent), given.private))


def weights_changed_and_sealed(given: Published) -> None:
    data = bytearray(given.model.read_bytes())
    data[len(data) // 2] ^= 1
    given.seal_again(bytes(data))


def weights_changed_sealed_and_the_old_digest_kept(given: Published) -> None:
    digest = digest_path(given.model).read_bytes()
    weights_changed_and_sealed(given)
    digest_path(given.model).write_bytes(digest)


def external_data(model: onnx.ModelProto) -> None:
    external_data_helper.set_external_data(model.graph.initializer[0], "weights.bin")
    model.graph.initializer[0].ClearField("raw_data")


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Python", ["images"], ["unread"], domain="com.example"))


def operator_off_the_list(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("RandomNormal", [], ["unread"], shape=[2]))


def graph_inside(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=helper.make_graph([], "body", [], [])))


def function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("here", "f", [], [], [], []))


def sparse_weights(model: onnx.ModelProto) -> None:
    value, place = (numpy_helper.from_array(np.ones(1, kind), "s") for kind in (np.float32, np.int64))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(value, place, [4]))


def much_metadata(model: onnx.ModelProto) -> None:
    model.metadata_props.insert(0, onnx.StringStringEntryProto(key="note", value="x" * MAX_METADATA_BYTES))


def contract_twice(model: onnx.ModelProto) -> None:
    model.metadata_props.insert(0, model.metadata_props[0])


def future_onnx(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def future_format(model: onnx.ModelProto) -> None:
    entry = next(each for each in model.metadata_props if each.key == CONTRACT_KEY)
    entry.value = entry.value.replace('"format":1', '"format":2')


def other_outputs(model: onnx.ModelProto) -> None:
    tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, tensor.name))


# Kind of tampering → the error. The signature is valid wherever the author could have made it.
TAMPERED: dict[str, tuple[Callable[[Published], Path | None], str]] = {
    "weights": (largest_weights, "is damaged: what differs is its weights"),
    "graph": (lambda it: it.flip(it.model, b"NonMaxSuppression", 0), "is damaged: what differs is its graph"),
    "contract": (lambda it: it.flip(it.model, b'"box_order"', 14), "is damaged: what differs is its contract"),
    "self-test": (lambda it: it.flip(it.model, b'"scores":[', 14), "is damaged: what differs is its self-test"),
    "digests": (lambda it: it.flip(it.model, b'"weights":"', 30), "is damaged: what differs is its list of digests"),
    "seal": (lambda it: it.flip(it.model, b"mlcycle.seal", 40), "is damaged: what differs is its seal"),
    "truncated": (truncate(Path("face.onnx")), "is truncated, or is not a model file"),
    "another file": (weights_changed_sealed_and_the_old_digest_kept, "is not the one in face.onnx.sha256"),
    "sealed again": (weights_changed_and_sealed, "is not the signed file: its sha256 is"),
    "no signature": (lambda it: it.signature.unlink(), "no such signature: "),
    "signature": (signature_changed, "does not verify with the p256 key"),
    "signature truncated": (truncate(Path("face.onnx.sig")), "is not a Sigstore bundle"),
    "another key": (by_another_key, "was made with another key: its hint is"),
    "renamed": (renamed, "was signed under another name: 'face.onnx'"),
    "a folder's": (a_folders_signature, "signs a folder of"),
    "external data": (lambda it: it.publish(external_data), "has weights in another file (external data)"),
    "custom operator": (lambda it: it.publish(custom_operator), "has operators of the domain com.example"),
    "operator off the list": (lambda it: it.publish(operator_off_the_list), "has the operator RandomNormal"),
    "graph inside": (lambda it: it.publish(graph_inside), "has a nested graph"),
    "function": (lambda it: it.publish(function), "has functions or training steps"),
    "sparse weights": (lambda it: it.publish(sparse_weights), "has sparse weights"),
    "much metadata": (lambda it: it.publish(much_metadata), "bytes of metadata (the limit is 1,048,576)"),
    "contract twice": (lambda it: it.publish(contract_twice), "has two metadata entries with the same key"),
    "future ONNX": (lambda it: it.publish(future_onnx), "has no graph, or one of IR version 99"),
    "future format": (lambda it: it.publish(future_format), "has format 2; this mlcycle reads format 1"),
    "other outputs": (lambda it: it.publish(other_outputs), "differ from the expected ones by"),
}


def errors_of(run: Run, model: Path, public: Path) -> tuple[str, str]:
    """Returns the error of verify and that of infer; both must exit 4, print no result and give a hint."""
    commands = (("model", "verify", model, "--key"), ("infer", "photo.jpg", "--model", model, "--require-signature"))
    outcomes = [run(*each, public) for each in commands]
    assert [(each.code, each.out) for each in outcomes] == [(4, "")] * 2
    messages = [
        [line for line in each.err.splitlines() if not line.startswith("face.onnx was signed")] for each in outcomes
    ]
    assert [[line.split(": ")[0] for line in each] for each in messages] == [["error", "hint"]] * 2
    return messages[0][0], messages[1][0]


def test_an_unchanged_file_is_verified(mlcycle: Run, given: Published) -> None:
    outcome = mlcycle("model", "verify", given.model, "--key", given.public)
    assert outcome.code == 0
    assert "checked: seal, face.onnx.sha256, signature, operators and contract, self-test" in outcome.err


@pytest.mark.parametrize("tampering", TAMPERED)
def test_tampering_is_refused_before_the_runtime_gets_the_file(
    tampering: str, mlcycle: Run, given: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    tamper, words = TAMPERED[tampering]
    model = tamper(given) or given.model
    if tampering not in ("future format", "other outputs"):  # these need the runtime
        monkeypatch.setattr(session, "_load", lambda *_, **__: pytest.fail("the runtime was given it"))
    for error in errors_of(mlcycle, model, given.public):
        assert words in error
        others = [each for name, (_, each) in TAMPERED.items() if name != tampering and each in error]
        assert others == []


def test_a_file_swapped_after_the_check_is_not_loaded(given: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def swapping(path: Path) -> SealedBytes:
        sealed = read_sealed(path)
        weights_changed_and_sealed(given)
        return sealed

    def load(sealed: SealedBytes, *_: object, **__: object) -> None:
        loaded.append(sealed.data)
        raise ModelFileError("that is enough")

    checked = given.model.read_bytes()
    monkeypatch.setattr(detect, "read_sealed", swapping)
    monkeypatch.setattr(session, "_load", load)
    with pytest.raises(ModelFileError, match="that is enough"):
        detect.load_detector(given.model, signed_by=keys.read_public(given.public))
    assert loaded == [checked] != [given.model.read_bytes()]


def test_a_file_swapped_before_another_process_reads_it_is_refused_there(
    given: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = read_sealed(given.model).sha256
    weights_changed_and_sealed(given)
    reports: list[tuple[str, str]] = []
    monkeypatch.setattr(session, "_load", lambda *_, **__: pytest.fail("the runtime was given it"))
    monkeypatch.setattr(probe, "report_stage", lambda step, **values: reports.append((step, values.get("message", ""))))
    monkeypatch.setattr(sys, "argv", ["probe", str(given.model), checked, "cpu", probe.OPTIMISED])
    assert probe.main() == 1
    assert [step for step, _ in reports] == ["imported", "failed"]
    assert "face.onnx was replaced during the test" in reports[-1][1]
