"""The frozen graph: equal bytes from equal networks, and a picture's answer that does not depend on its neighbours."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from conftest import environment  # noqa: E402
from torch.nn import functional  # noqa: E402

from mlcycle.artifact.contract import LANDMARKS, Contract, Resize, Selection  # noqa: E402
from mlcycle.training.graph import build_model  # noqa: E402
from mlcycle.training.network import FaceNetwork  # noqa: E402
from mlcycle.training.selection import select  # noqa: E402

pytestmark = pytest.mark.training

RULE = Selection(score_floor=0.1, iou_threshold=0.45, max_faces=30)


def excited_network(landmarks: bool = True) -> FaceNetwork:
    """An untrained network that is sure of much, so that there is something to select."""
    torch.manual_seed(0)
    network = FaceNetwork(4, 1, landmarks).eval()
    with torch.no_grad():
        network.answer.weight *= 40
        network.answer.bias[0] = -2.0
    return network


def contract(landmarks: bool = True) -> Contract:
    return Contract("test", Resize(640), RULE, {"balanced": 0.5}, LANDMARKS if landmarks else ())


@functools.cache
def excited_bytes() -> bytes:
    return build_model(excited_network(), contract())


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(excited_bytes(), providers=["CPUExecutionProvider"])


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (33, 65), (64, 64), (97, 40)])
def test_any_size_gives_what_torch_gives(session: onnxruntime.InferenceSession, size: tuple[int, int]) -> None:
    images = pictures(1, *size)
    boxes, scores, landmarks = session.run(["boxes", "scores", "landmarks"], {"images": images})
    height, width = size
    pixels = functional.pad(torch.from_numpy(images).permute(0, 3, 1, 2).float(), (0, -width % 32, 0, -height % 32))
    with torch.no_grad():
        answers = [each[0] for each in excited_network()(pixels)]
    expected = select(*answers, size=(width, height), rule=(0.1, 0.45, 30))
    assert boxes.shape[1] == len(expected[0])
    order = np.argsort(-scores[0], kind="stable")
    assert np.array_equal(order, np.arange(len(order)))
    for found, wanted in zip((boxes[0], scores[0], landmarks[0]), expected, strict=True):
        assert np.abs(found - wanted.numpy()).max(initial=0) < 2e-3
    assert boxes.min(initial=0) >= 0
    assert (boxes.reshape(-1, 4) <= (width, height, width, height)).all()


def test_a_picture_answers_the_same_alone_and_in_a_batch(session: onnxruntime.InferenceSession) -> None:
    images = pictures(3, 64, 96)
    images[1] = 0  # a picture with another number of faces
    boxes, scores, landmarks = session.run(None, {"images": images})
    for index in range(3):
        alone = session.run(None, {"images": images[index : index + 1]})
        count = alone[0].shape[1]
        assert np.allclose(boxes[index, :count], alone[0][0], atol=1e-3)
        assert np.allclose(scores[index, :count], alone[1][0], atol=1e-5)
        assert np.allclose(landmarks[index, :count], alone[2][0], atol=1e-3)
        assert (scores[index, count:] == 0).all()


def test_no_face_gives_no_rows() -> None:
    network = excited_network(landmarks=False)
    with torch.no_grad():
        network.answer.bias[0] = -90.0
    data = build_model(network, contract(landmarks=False))
    silent = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert [each.name for each in silent.get_outputs()] == ["boxes", "scores"]
    boxes, scores = silent.run(None, {"images": pictures(2, 64, 64)})
    assert boxes.shape == (2, 0, 4)
    assert scores.shape == (2, 0)


def test_another_process_and_another_hash_seed_give_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import hashlib, test_graph as t;"
        "print(hashlib.sha256(t.build_model(t.excited_network(), t.contract())).hexdigest())"
    )
    here = Path(__file__).parent
    path = os.pathsep.join(map(str, (here, here.parent, here.parents[1])))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path,
        env=environment({"PYTHONHASHSEED": "99", "PYTHONPATH": path}),
    )  # fmt: skip
    mine = hashlib.sha256(excited_bytes()).hexdigest()
    assert done.stdout.strip() == mine, done.stderr


def test_the_bytes_name_no_path_and_no_program_lines() -> None:
    data = excited_bytes()
    for trace in (b".py", b"mlcycle/training", b"stack_trace", b"site-packages"):
        assert trace not in data
