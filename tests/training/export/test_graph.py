"""The frozen graph: equal bytes from equal networks, and predictions that do not depend on the rest of the batch."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from conftest import environment  # noqa: E402
from torch.nn import functional  # noqa: E402

from mlcycle.artifact.contract import LANDMARKS, Contract, Resize, Selection  # noqa: E402
from mlcycle.training.export import graph  # noqa: E402
from mlcycle.training.export.graph import build_model  # noqa: E402
from mlcycle.training.model import network  # noqa: E402
from mlcycle.training.model.grid import grids  # noqa: E402
from mlcycle.training.model.network import FaceNetwork  # noqa: E402
from mlcycle.training.model.selection import select  # noqa: E402

pytestmark = pytest.mark.training

RULE = Selection(score_floor=0.1, iou_threshold=0.45, max_faces=30)


def excited_network(landmarks: bool = True, stride: int = 8) -> FaceNetwork:
    """An untrained network with many high scores, so that there is something to select."""
    torch.manual_seed(0)
    network = FaceNetwork(4, 1, landmarks, stride).eval()
    with torch.no_grad():
        network.answer.weight *= 40
        network.answer.bias[0] = -2.0
    return network


def contract(landmarks: bool = True) -> Contract:
    return Contract("test", Resize(640), RULE, {"balanced": 0.5}, LANDMARKS if landmarks else ())


@functools.cache
def excited_bytes(stride: int) -> bytes:
    return build_model(excited_network(stride=stride), contract())


@functools.cache
def session_of(stride: int) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(excited_bytes(stride), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return session_of(8)


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def assert_same_faces(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    """Compares boxes, scores and landmarks; rows whose scores differ in the last bit can be in either order."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    assert (np.diff(found[1]) <= 0).all()
    one, other = (np.column_stack([each.reshape(len(rows[1]), -1) for each in rows]) for rows in (found, wanted))
    assert one.shape == other.shape
    apart_NN = cdist(one, other, "chebyshev")
    pairs = linear_sum_assignment(apart_NN)
    assert apart_NN[pairs].max(initial=0) < 2e-3
    # Boxes and landmarks are in pixels, column 4 is the score.
    assert np.abs(one[pairs[0], 4] - other[pairs[1], 4]).max(initial=0) < 1e-5


@pytest.mark.parametrize("size", [(1, 1), (33, 65), (64, 64), (97, 40)])
@pytest.mark.parametrize("stride", [8, pytest.param(4, marks=pytest.mark.slow)])
def test_the_graph_equals_torch_at_any_size(stride: int, size: tuple[int, int]) -> None:
    images = random_images(1, *size)
    boxes, scores, landmarks = session_of(stride).run(["boxes", "scores", "landmarks"], {"images": images})
    height, width = size
    pixels = functional.pad(torch.from_numpy(images).permute(0, 3, 1, 2).float(), (0, -width % 32, 0, -height % 32))
    with torch.no_grad():
        outputs = [each[0] for each in excited_network(stride=stride)(pixels)]
    expected = select(*outputs, size=(width, height), rule=(0.1, 0.45, 30))
    assert_same_faces([boxes[0], scores[0], landmarks[0]], [each.numpy() for each in expected])
    assert (scores > 0.1).sum() > 20  # else there were nothing to compare
    assert boxes.min(initial=0) >= 0
    assert (boxes.reshape(-1, 4) <= (width, height, width, height)).all()


@pytest.mark.slow
@pytest.mark.parametrize("stride", [8, 4])
@pytest.mark.parametrize("landmarks", [True, False])
def test_every_cell_of_every_grid_is_decoded_as_in_torch(stride: int, landmarks: bool) -> None:
    """Nothing is removed by overlap or score, so that coarse grids are compared too."""
    network = excited_network(landmarks, stride)
    with torch.no_grad():
        network.answer.weight *= 0.1
        network.answer.bias[4] = 7.0  # more than a box may be high
    all_cells = Selection(score_floor=1e-6, iou_threshold=1.0, max_faces=5000)
    all_cells_contract = Contract("test", Resize(640), all_cells, {"balanced": 0.5}, LANDMARKS if landmarks else ())
    data = build_model(network, all_cells_contract)
    images = random_images(1, 64, 96)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_outputs()] == ["boxes", "scores", "landmarks"][: 3 if landmarks else 2]
    found = session.run(None, {"images": images})
    with torch.no_grad():
        logits, boxes, points = network(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    cells = sum(grid.rows * grid.columns for grid in grids(64, 96, stride))
    assert found[1].shape == (1, cells)
    expected = boxes[0].clamp(min=0).minimum(torch.tensor([96, 64, 96, 64])), logits[0].sigmoid(), points[0]
    assert_same_faces([each[0] for each in found], [each.numpy() for each in expected[: len(found)]])
    assert boxes[0, :, 3].max() > 64 * 10


def test_an_image_gets_the_same_predictions_alone_and_in_a_batch(session: onnxruntime.InferenceSession) -> None:
    images = random_images(3, 64, 96)
    images[1] = 0  # an image with another number of faces
    boxes, scores, landmarks = session.run(None, {"images": images})
    for index in range(3):
        alone = session.run(None, {"images": images[index : index + 1]})
        count = alone[0].shape[1]
        assert np.allclose(boxes[index, :count], alone[0][0], atol=1e-3)
        assert np.allclose(scores[index, :count], alone[1][0], atol=1e-5)
        assert np.allclose(landmarks[index, :count], alone[2][0], atol=1e-3)
        assert (scores[index, count:] == 0).all()


def silent_model() -> onnx.ModelProto:
    """The excited network's file with scores of nearly 0."""
    model = onnx.load_model_from_string(excited_bytes(8))
    bias = next(each for each in model.graph.initializer if each.name.endswith("answer.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(bias.dims, -90, np.float32), bias.name))
    return model


def test_no_face_gives_one_row_of_score_0() -> None:
    """Runtimes have crashed on outputs without rows, or have kept the faces of the image before in them."""
    silent = onnxruntime.InferenceSession(silent_model().SerializeToString(), providers=["CPUExecutionProvider"])
    found = silent.run(["boxes", "scores", "landmarks"], {"images": random_images(2, 64, 64)})
    assert [each.shape for each in found] == [(2, 1, 4), (2, 1), (2, 1, 5, 2)]
    assert not found[1].any()
    assert all(np.isfinite(each).all() for each in found)


def test_the_graph_needs_no_change_to_return_at_least_one_row() -> None:
    from mlcycle.exporting.never_empty import never_empty

    model = onnx.load_model_from_string(excited_bytes(8))
    assert never_empty(model) == model


def test_the_selection_can_be_taken_out(session: onnxruntime.InferenceSession) -> None:
    from mlcycle.exporting.without_selection import without_selection

    all_cells = without_selection(onnx.load_model_from_string(excited_bytes(8)), 192, 192)
    images = random_images(1, 192, 192)
    found = onnxruntime.InferenceSession(all_cells.SerializeToString()).run(None, {"images": images})
    expected = session.run(None, {"images": images})
    best = int(found[1][0].argmax())
    for mine, theirs in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(mine[0, best], theirs[0, 0], atol=1e-3)
    np.testing.assert_allclose(found[0][0, best].clip(0, 192), expected[0][0, 0], atol=1e-3)


def test_every_constant_is_a_tensor() -> None:
    """Other runtimes do not read the short forms of ONNX's constants, such as value_ints."""
    nodes = onnx.load_model_from_string(excited_bytes(8)).graph.node
    assert {each.name for node in nodes if node.op_type == "Constant" for each in node.attribute} == {"value"}


@pytest.mark.slow
def test_another_process_and_another_hash_seed_give_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import hashlib, test_graph as t;"
        "print(hashlib.sha256(t.build_model(t.excited_network(), t.contract())).hexdigest())"
    )
    path = os.pathsep.join(str(folder) for folder in Path(__file__).parents[:4])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path,
        env=environment({"PYTHONHASHSEED": "99", "PYTHONPATH": path}),
    )  # fmt: skip
    mine = hashlib.sha256(excited_bytes(8)).hexdigest()
    assert done.stdout.strip() == mine, done.stderr


def test_the_bytes_contain_no_path_and_no_stack_trace() -> None:
    data = excited_bytes(8)
    for trace in (b".py", b"mlcycle/training", b"stack_trace", b"site-packages"):
        assert trace not in data


def test_rows_of_pixels_give_the_same_as_three_channels(session: onnxruntime.InferenceSession) -> None:
    """Each colour alone, at the image's edges, so that a mixed-up colour or column would be detected."""
    for colour in range(3):
        images = np.zeros((1, 64, 64, 3), np.uint8)
        images[0, [0, -1], :, colour] = images[0, :, [0, -1], colour] = 255
        with torch.no_grad():
            logits, *_ = excited_network()(torch.from_numpy(images).permute(0, 3, 1, 2).float())
        best = logits[0].sigmoid().max().item()
        assert abs(session.run(["scores"], {"images": images})[0].max(initial=0) - best) < 1e-5


def test_the_graph_decodes_with_the_constants_of_the_network() -> None:
    text = graph.postlude_text(contract(), (8, 16))
    assert f"largest = Constant<value = float {{{network.LARGEST_LOGARITHM!r}}}>()" in text
    assert f"{{1, 2, 2, {2 * network.POINTS}}}" in text


def test_each_grid_passes_the_output_layer_before_the_next_grid_is_computed() -> None:
    """This decides the order of the graph's nodes, by which files frozen earlier are reproduced byte by byte."""
    excited, order = excited_network(), []
    excited.head[0].register_forward_hook(lambda *_: order.append("head"))
    excited.answer.register_forward_hook(lambda *_: order.append("output"))
    excited.raw_maps(torch.zeros(1, 3, 64, 64))
    assert order == ["head", "output"] * len(excited.strides)


@pytest.mark.parametrize("stride", [8, pytest.param(4, marks=pytest.mark.slow)])
def test_int8_covers_the_whole_network_between_pixels_and_outputs(tmp_path: Path, stride: int) -> None:
    from mlcycle.exporting.precision.calibration import ranges_of
    from mlcycle.exporting.precision.int8 import to_int8
    from mlcycle.exporting.precision.int8_plan import plan_of
    from mlcycle.exporting.precision.stem import group_pixels

    excited = excited_network(stride=stride)
    parent = onnx.load_model_from_string(excited_bytes(stride))
    model = group_pixels(parent)
    assert model is not parent
    plan = plan_of(model)
    child = to_int8(model, plan, ranges_of(model, plan.measured, [random_images(64, 96)]))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    eight = onnxruntime.InferenceSession(child.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimised = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert optimised.count("Conv") == len(excited.strides)  # the outputs on each grid
    convolutions = [node.op_type for node in parent.graph.node].count("Conv")
    assert optimised.count("QLinearConv") == convolutions - len(excited.strides)
    for images in (random_images(1, 64, 96), random_images(2, 33, 40)):
        boxes, scores, landmarks = eight.run(["boxes", "scores", "landmarks"], {"images": images})
        assert boxes.shape[:2] == scores.shape == landmarks.shape[:2]
        assert len(boxes) == len(images)
