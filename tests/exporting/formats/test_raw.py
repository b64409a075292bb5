"""`mlcycle export --selection none`: all cells of a graph of fixed size, and the selection in three languages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from conftest import Outcome  # noqa: E402
from float_model import float_contract, float_model, write_float_model  # noqa: E402

from mlcycle.artifact.contract import InputSize, Resize, from_json  # noqa: E402
from mlcycle.artifact.packing import pack  # noqa: E402
from mlcycle.artifact.seal import SealedBytes, read_sealed  # noqa: E402
from mlcycle.errors import ModelFileError, UsageError  # noqa: E402
from mlcycle.exporting.fixed_shape import to_fixed_shape  # noqa: E402
from mlcycle.exporting.formats import nms_samples, raw  # noqa: E402
from mlcycle.exporting.formats.nms_samples.nms import nms  # noqa: E402
from mlcycle.exporting.gates import side_by_side  # noqa: E402
from mlcycle.exporting.without_selection import without_selection  # noqa: E402
from mlcycle.inference.session import Session, open_session  # noqa: E402

WIDTH, HEIGHT = 320, 256
SAMPLES = Path(nms_samples.__file__).parent
DOCS = Path(__file__).parents[3] / "docs" / "export.md"
# The contract's rule for the boxes below; most of them overlap others.
RULE = (0.3, 0.45, 40)

CPLUSPLUS = """
#include <iostream>
#include "nms.hpp"
int main() {
    int count;
    std::cin >> count;
    std::vector<float> boxes(4 * count), scores(count);
    for (float& each : boxes) std::cin >> each;
    for (float& each : scores) std::cin >> each;
    for (int row : nms(boxes.data(), scores.data(), count, 0.3f, 0.45f, 40)) std::cout << row << " ";
}
"""
JAVASCRIPT = """
import { nms } from "./nms.js";
import { readFileSync } from "node:fs";
const [count, ...values] = readFileSync(0, "utf8").trim().split(/\\s+/).map(Number);
const [boxes, scores] = [values.slice(0, 4 * count), values.slice(4 * count)].map((each) => new Float32Array(each));
console.log(nms(boxes, scores, 0.3, 0.45, 40).join(" "));
"""


@pytest.fixture(scope="module")
def session() -> Session:
    """The same graph with selection, for one image of the same size."""
    fixed = to_fixed_shape(float_model(), WIDTH, HEIGHT)
    contract = replace(float_contract(), input_size=InputSize(WIDTH, HEIGHT), resize=Resize(WIDTH, "fit-inside"))
    return open_session(SealedBytes(pack(fixed, contract), "", Path("fixed.onnx")), provider="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sealed = read_sealed(write_float_model(tmp_path_factory.mktemp("models") / "parent.onnx"))
    folder = tmp_path_factory.mktemp("raw")
    raw.write(folder, sealed, open_session(sealed, provider="cpu"), (WIDTH, HEIGHT))
    return folder


def images() -> list[np.ndarray]:
    from skimage import data

    astronaut_1HW3 = np.ascontiguousarray(data.astronaut()[None, :HEIGHT, :WIDTH])
    return [astronaut_1HW3, astronaut_1HW3[:, :, ::-1].copy(), astronaut_1HW3 * 0]


def many_boxes() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    corners_N2, sides_N2 = random.uniform(0, 200, (300, 2)), random.uniform(20, 60, (300, 2))
    boxes_N4 = np.concatenate([corners_N2, corners_N2 + sides_N2], axis=1).astype(np.float32)
    return boxes_N4, random.uniform(0, 1, 300).astype(np.float32)


def test_the_folder_finds_the_faces_of_the_graph_with_selection(folder: Path, session: Session) -> None:
    run = raw.runner(folder)
    counts = []
    for image_1HW3 in images():
        outputs = session.run(image_1HW3)
        rows = int((outputs[1] > 0).sum())  # the graph with selection returns at least one row
        for mine, expected in zip(run(image_1HW3), outputs, strict=True):
            assert mine is not None
            assert expected is not None
            np.testing.assert_allclose(mine, expected[:, :rows], atol=2e-3)
        counts.append(int((outputs[1] > 0.5).sum()))
    assert counts == [1, 1, 0]


def test_the_graph_has_fixed_shapes_plain_operators_and_no_short_constants(folder: Path) -> None:
    graph = onnx.load(folder / "model.onnx").graph
    shapes = {
        value.name: [each.dim_value for each in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    cells = shapes["scores"][1]
    assert shapes == {
        "images": [1, HEIGHT, WIDTH, 3], "boxes": [1, cells, 4], "scores": [1, cells], "landmarks": [1, cells, 5, 2]
    }  # fmt: skip
    assert cells > HEIGHT * WIDTH / 64
    assert {node.op_type for node in graph.node} == {
        "Add", "Cast", "Concat", "Conv", "Exp", "Min", "Mul", "Relu", "Reshape", "Resize", "Sigmoid", "Split",
        "Squeeze", "Sub", "Transpose",
    }  # fmt: skip


def test_the_contract_leaves_the_selection_to_the_caller(folder: Path) -> None:
    contract = from_json((folder / "contract.json").read_text("ascii"))
    assert contract.selection == replace(float_contract().selection, method="none")
    assert (contract.input_size, contract.resize.rule) == (InputSize(WIDTH, HEIGHT), "fit-inside")
    assert {each.name for each in folder.iterdir()} == {
        "model.onnx", "contract.json", "self_test.json", "nms.py", "nms.hpp", "nms.js"
    }  # fmt: skip


def test_impossible_requests_are_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="would need padding"):
        without_selection(float_model(), 330, 256)
    with pytest.raises(ModelFileError, match="already has a fixed input size"):
        raw.contract_of(SealedBytes(b"", "", Path("fixed.onnx")), session.contract, WIDTH, HEIGHT)
    other = float_model()
    other.graph.node.append(next(node for node in other.graph.node if node.op_type == "TopK"))
    with pytest.raises(ModelFileError, match="selects faces in an unsupported way"):
        without_selection(other, WIDTH, HEIGHT)


def test_the_selection_in_python_is_that_of_onnx() -> None:
    from onnx.reference import ReferenceEvaluator

    boxes_N4, scores_N = many_boxes()
    text = "g (float[1, n, 4] b, float[1, 1, n] s, int64[1] m, float[1] i, float[1] f) => (int64[k, 3] r)"
    model = onnx.helper.make_model(
        onnx.parser.parse_graph(f"{text} {{ r = NonMaxSuppression(b, s, m, i, f) }}"),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
    )
    floor, overlap, most = RULE
    feeds = {"b": boxes_N4[None], "s": scores_N[None, None], "m": np.array([most])}
    feeds |= {"i": np.float32([overlap]), "f": np.float32([floor])}
    (rows_K3,) = ReferenceEvaluator(model).run(None, feeds)
    kept = nms(boxes_N4, scores_N, *RULE)
    assert kept == rows_K3[:, 2].tolist()
    assert len(kept) == most
    assert nms(boxes_N4[:0], scores_N[:0], *RULE) == []


@pytest.mark.parametrize(
    ("tool", "source", "name", "command"),
    [
        ("g++", CPLUSPLUS, "main.cpp", "g++ -std=c++11 -Wall -Werror main.cpp -o main && ./main"),
        ("node", JAVASCRIPT, "main.mjs", "node main.mjs"),
    ],
)
def test_the_selection_in_other_languages_is_that_of_python(
    tool: str, source: str, name: str, command: str, tmp_path: Path
) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    for sample in ("nms.hpp", "nms.js"):
        shutil.copyfile(SAMPLES / sample, tmp_path / sample)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / name).write_text(source)
    boxes_N4, scores_N = many_boxes()
    numbers = [len(boxes_N4), *boxes_N4.ravel().tolist(), *scores_N.tolist()]
    text = " ".join(map(repr, numbers))
    done = subprocess.run(command, shell=True, cwd=tmp_path, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [int(row) for row in done.stdout.split()] == nms(boxes_N4, scores_N, *RULE)


def test_the_documentation_shows_the_selection() -> None:
    source = (SAMPLES / "nms.py").read_text()
    body = source[source.index("    areas_N") :]
    assert re.sub(r"(?m)^    ", "", body) in DOCS.read_text("utf-8")


def test_opencv_gives_the_same(folder: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    import onnxruntime

    net = cv2.dnn.readNetFromONNX(str(folder / "model.onnx"))
    runtime = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for image_1HW3 in images():
        net.setInput(image_1HW3, "images")
        for mine, expected in zip(
            net.forward(["boxes", "scores", "landmarks"]), runtime.run(None, {"images": image_1HW3}), strict=True
        ):
            np.testing.assert_allclose(mine.reshape(expected.shape), expected, atol=0.01)


def test_the_command_writes_what_the_gate_admits(
    mlcycle: Callable[..., Outcome], tmp_path: Path, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "SECONDS", 0.0)
    parent = write_float_model(tmp_path / "parent.onnx")
    words = ("export", parent, "--selection", "none", "--images", astronaut)
    done = mlcycle(*words, "--input-size", "320x256")
    assert done.code == 0, done.err
    (folder,) = [each for each in tmp_path.iterdir() if each.is_dir()]
    assert folder.name.startswith("face-nano-raw-320x256-")
    assert done.out == f"{folder}\n"
    assert json.loads((folder / "contract.json").read_text())["parent"] == read_sealed(parent).sha256
    for more, words_of_it in (
        ((), "has one input size"),
        (("--opset", "21"), "two steps"),
        (("--format", "web"), "format"),
    ):
        refused = mlcycle(*words, *more)
        assert (refused.code, words_of_it in refused.err) == (2, True)
