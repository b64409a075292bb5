"""OpenVINO: the same faces, also on images without faces, and no telemetry."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from conftest import environment  # noqa: E402
from tiny_model import write_tiny_model  # noqa: E402

from mlcycle.artifact.admission import admit  # noqa: E402
from mlcycle.artifact.contract import CONTRACT_KEY, InputSize, Resize, from_json  # noqa: E402
from mlcycle.artifact.packing import pack  # noqa: E402
from mlcycle.artifact.seal import SealedBytes, read_sealed  # noqa: E402
from mlcycle.errors import MissingExtraError, ModelFileError  # noqa: E402
from mlcycle.exporting.fixed_shape import to_fixed_shape  # noqa: E402
from mlcycle.exporting.formats import openvino  # noqa: E402
from mlcycle.exporting.never_empty import never_empty  # noqa: E402
from mlcycle.inference.session import Session, open_session  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "golden" / "format-1.onnx"
# Not imported, because a plain import sends telemetry.
installed = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")

# Writes face-nano into a folder, and prints the audit events of network access.
AUDIT = """
import json, pathlib, sys
events = []
sys.addaudithook(lambda event, _: events.append(event) if event.startswith(("socket.", "urllib.", "http.")) else None)
from mlcycle.artifact.packing import pack  # noqa: E402
from mlcycle.artifact.seal import read_sealed
from mlcycle.exporting.formats import openvino
from mlcycle.inference.session import open_session
sealed, folder = read_sealed(pathlib.Path("face-nano")), pathlib.Path(sys.argv[1])
openvino.write(folder, sealed, open_session(sealed, provider="cpu").contract)
openvino.runner(folder)
print(json.dumps(events))
"""


@pytest.fixture(scope="module")
def nano() -> Session:
    return open_session(read_sealed(Path("face-nano")), provider="cpu")


def images() -> list[np.ndarray]:
    """Images [B, H, W, 3] with and without faces, of many sizes, and batches of them."""
    from skimage import data

    astronaut, black = data.astronaut(), np.zeros((64, 96, 3), np.uint8)
    pair = np.stack([astronaut, astronaut * 0])
    return [
        astronaut[None], black[None], np.stack([black, black]), pair, pair[::-1].copy(),
        astronaut[None, :1, :1].copy(), astronaut[None, 60:260, 150:310].copy(), black[None, :1],
    ]  # fmt: skip


def faces(scores_BN: np.ndarray, threshold: float) -> list[int]:
    return [int((scores_N >= threshold).sum()) for scores_N in scores_BN]


def earlier() -> onnx.ModelProto:
    """Returns the graph of a file that an earlier mlcycle froze; only on real images its scores reach the floor."""
    model = onnx.load_model_from_string(read_sealed(GOLDEN).data)
    (floor,) = (node for node in model.graph.node if node.output[0] == "score_floor")
    floor.attribute[0].floats[0] = 0.1195
    return model


def session_of(model: onnx.ModelProto, **changes: object) -> Session:
    contract = replace(from_json(admit(read_sealed(GOLDEN)).metadata[CONTRACT_KEY]), **changes)
    return open_session(SealedBytes(pack(model, contract), "", GOLDEN), provider="cpu")


def assert_same_or_one_row(one: Session, other: Session, image_BHW3: np.ndarray) -> int:
    """Returns the number of rows of the first."""
    mine, theirs = one.run(image_BHW3), other.run(image_BHW3)
    if not mine[1].shape[1]:
        assert theirs[1].shape == (len(image_BHW3), 1)
        assert not theirs[1].any()
        return 0
    for one_output, other_output in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(one_output, other_output)
    return mine[1].shape[1]


def test_never_empty_keeps_the_faces_and_adds_a_row_of_score_0_if_there_are_none() -> None:
    model = earlier()
    changed = never_empty(model)
    assert model == earlier()
    one, other = session_of(model), session_of(changed)
    rows = [assert_same_or_one_row(one, other, image_BHW3) for image_BHW3 in images()]
    assert min(rows) == 0 < max(rows)


def test_never_empty_of_a_fixed_input_size() -> None:
    fixed = to_fixed_shape(earlier(), 256, 192)
    one, other = (
        session_of(model, input_size=InputSize(256, 192), resize=Resize(256, "fit-inside"))
        for model in (fixed, never_empty(fixed))
    )
    astronaut_1HW3 = images()[0][:, :192, :256].copy()
    rows = [assert_same_or_one_row(one, other, image_1HW3) for image_1HW3 in (astronaut_1HW3, astronaut_1HW3 * 0)]
    assert rows[1] == 0 < rows[0]


def test_a_graph_that_returns_a_row_is_unchanged_and_another_form_is_refused(tmp_path: Path) -> None:
    model = onnx.load(write_tiny_model(tmp_path / "tiny.onnx"))
    assert never_empty(model) == model
    model = onnx.load_model_from_string(read_sealed(Path("face-nano")).data)
    assert never_empty(model) == model
    model = earlier()
    model.graph.node.append(next(node for node in model.graph.node if node.op_type == "TopK"))
    with pytest.raises(ModelFileError, match="selects faces"):
        never_empty(model)


@installed
@pytest.mark.slow
def test_the_same_faces_are_found_after_an_image_without_faces(tmp_path: Path, nano: Session) -> None:
    openvino.write(tmp_path, read_sealed(Path("face-nano")), nano.contract)
    run = openvino.runner(tmp_path)
    for image_BHW3 in images():
        boxes_BN4, scores_BN, landmarks_BN52 = run(image_BHW3)
        expected_BN4, expected_BN, _ = nano.run(image_BHW3)
        assert boxes_BN4.shape[:2] == scores_BN.shape == landmarks_BN52.shape[:2]
        assert faces(scores_BN, 0.58) == faces(expected_BN, 0.58)
        for row, count in enumerate(faces(expected_BN, 0.58)):
            assert np.abs(boxes_BN4[row, :count] - expected_BN4[row, :count]).max(initial=0) < 6
            assert np.abs(scores_BN[row, :count] - expected_BN[row, :count]).max(initial=0) < 0.05


@installed
def test_a_model_without_landmarks_and_suppression(tmp_path: Path) -> None:
    sealed = read_sealed(write_tiny_model(tmp_path / "tiny.onnx", landmarks=False))
    (tmp_path / "folder").mkdir()
    openvino.write(tmp_path / "folder", sealed, open_session(sealed, provider="cpu").contract)
    image_BHW3 = np.zeros((1, 60, 80, 3), np.uint8)
    image_BHW3[0, 10:30, 20:50, 1] = 255
    boxes_BN4, _, landmarks = openvino.runner(tmp_path / "folder")(image_BHW3)
    assert boxes_BN4.tolist() == [[[20, 10, 50, 30]]]
    assert landmarks is None


@installed
def test_the_contract_names_the_parent_and_the_self_test_is_copied(tmp_path: Path, nano: Session) -> None:
    model = onnx.load_model_from_string(read_sealed(Path("face-nano")).data)
    del model.metadata_props[:]
    model.metadata_props.add(key="mlcycle.self_test", value='{"as":"it is"}')
    openvino.write(tmp_path, SealedBytes(model.SerializeToString(), "ab" * 32, Path("x.onnx")), nano.contract)
    assert from_json((tmp_path / "contract.json").read_text()) == replace(nano.contract, parent="ab" * 32)
    assert (tmp_path / "self_test.json").read_text() == '{"as":"it is"}'


@installed
@pytest.mark.slow
def test_another_process_writes_the_same_bytes_without_network_access(tmp_path: Path, nano: Session) -> None:
    for name in ("mine", "theirs", "home"):
        (tmp_path / name).mkdir()
    words = [sys.executable, "-c", AUDIT, str(tmp_path / "theirs")]
    away = environment({"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "", "CI": ""})
    done = subprocess.run(words, capture_output=True, text=True, env=away, check=True)
    assert json.loads(done.stdout) == []
    assert list((tmp_path / "home").rglob("*")) == []
    openvino.write(tmp_path / "mine", read_sealed(Path("face-nano")), nano.contract)
    for name in ("model.xml", "model.bin", "contract.json"):
        assert (tmp_path / "mine" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_a_missing_openvino_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nano: Session) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError) as caught:
        openvino.write(tmp_path, read_sealed(Path("face-nano")), nano.contract)
    assert "[openvino]" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
