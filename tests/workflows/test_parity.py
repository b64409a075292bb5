"""The comparison of two pipelines: which differences it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcycle.errors import GateError
from mlcycle.workflows.parity import Tolerance, compare

IMAGES = [Path("one.jpg"), Path("two.jpg")]


def trace(boxes: Any, scores: Any, **changes: Any) -> dict[str, np.ndarray]:
    """Returns the trace of one image with these boxes, from the graph and selected."""
    boxes, scores = np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)
    points = np.zeros((len(boxes), 5, 2), np.float32)
    content: dict[str, Any] = {
        "decode_sha256": "a", "decode_shape": (8, 8, 3), "upright_sha256": "b", "upright_shape": (8, 8, 3),
        "resized": np.zeros((8, 8, 3), np.uint8), "max_faces": 100,
        "graph_least_score": 0.02, "graph_boxes": boxes, "graph_scores": scores, "graph_landmarks": points,
        "least_score": 0.5, "boxes": boxes, "scores": scores, "landmarks": points, "scale": (1.0, 1.0),
        "iou_threshold": 0.45, "candidate_boxes": boxes, "candidate_scores": scores, "candidate_landmarks": points,
    }  # fmt: skip
    return {name: np.asarray(value) for name, value in (content | changes).items()}


def compare_all(folder: Path, pairs: list[tuple[dict, dict]]) -> Any:
    folders = (folder / "one", folder / "other")
    for index, traces in enumerate(pairs):
        for place, content in zip(folders, traces, strict=True):
            place.mkdir(exist_ok=True)
            np.savez(place / f"{index:05d}.npz", **content)
    return compare(IMAGES[: len(pairs)], folders, Tolerance())


FACE, OTHER_FACE = (10, 10, 30, 40), (60, 60, 90, 95)
FOUND = trace([FACE, OTHER_FACE], [0.95, 0.9])


def test_equal_boxes_pass_in_any_order(tmp_path: Path) -> None:
    other = trace([OTHER_FACE, FACE], [0.9, 0.95])
    difference = compare_all(tmp_path, [(FOUND, other)])
    assert (difference.images, difference.faces, difference.pixels, difference.score) == (1, 2, 0, 0)


@pytest.mark.parametrize(
    "other",
    [
        trace([FACE], [0.95]),
        trace([OTHER_FACE], [0.9]),
        trace([], []),
        trace([FACE, (60, 60, 90, 95.1)], [0.95, 0.9]),
        trace([FACE, OTHER_FACE], [0.95, 0.901]),
        trace([FACE, (np.nan,) * 4], [0.95, 0.9]),
        trace([FACE, OTHER_FACE], [0.95, np.nan]),
        FOUND | {"landmarks": np.full((2, 5, 2), 0.1, np.float32)},
        FOUND | {"resized": np.ones((8, 8, 3), np.uint8)},
        FOUND | {"upright_shape": np.array((8, 9, 3))},
        {"error": np.array("truncated")},
    ],
)
def test_a_difference_of_either_pipeline_is_refused(tmp_path: Path, other: dict[str, np.ndarray]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(GateError, match=r"two\.jpg"):
        compare_all(tmp_path / "a", [(FOUND, FOUND), (FOUND, other)])
    with pytest.raises(GateError, match=r"two\.jpg"):
        compare_all(tmp_path / "b", [(FOUND, FOUND), (other, FOUND)])


def test_one_pipeline_alone_can_have_a_box_at_the_threshold(tmp_path: Path) -> None:
    at_threshold = FOUND | {
        "boxes": np.array([FACE, OTHER_FACE, (0, 0, 5, 5)], np.float32),
        "scores": np.array([0.95, 0.9, 0.50001], np.float32),
        "landmarks": np.zeros((3, 5, 2), np.float32),
    }
    assert compare_all(tmp_path, [(FOUND, at_threshold)]).images == 1


@pytest.mark.parametrize(("score", "is_fault"), [(0.90005, False), (0.91, True)])
def test_either_of_two_candidates_with_equal_scores_can_be_kept(tmp_path: Path, score: float, is_fault: bool) -> None:
    near = (62, 60, 92, 95)
    training = FOUND | {
        "scale": np.array((2.0, 3.0)),
        "boxes": FOUND["graph_boxes"] * (2, 3, 2, 3),
        "candidate_boxes": np.array([FACE, near, OTHER_FACE], np.float32),
        "candidate_scores": np.array([0.95, score, 0.9], np.float32),
        "candidate_landmarks": np.full((3, 5, 2), 7, np.float32),
    }
    points = np.stack((np.zeros((5, 2)), np.full((5, 2), 7))).astype(np.float32)
    inference = trace([FACE, near], [0.95, score], graph_landmarks=points, landmarks=points * (2, 3))
    inference["boxes"] = inference["boxes"] * (2, 3, 2, 3)
    if is_fault:
        with pytest.raises(GateError, match="boxes differ by"):
            compare_all(tmp_path, [(training, inference)])
    else:
        assert compare_all(tmp_path, [(training, inference)]).pixels == 0


def test_only_a_candidate_of_training_can_be_kept_instead(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="differ by 2 px"):
        compare_all(tmp_path, [(FOUND, trace([FACE, (62, 60, 92, 95)], [0.95, 0.9]))])


def test_images_that_neither_pipeline_reads_prove_nothing(tmp_path: Path) -> None:
    neither = ({"error": np.array("a")}, {"error": np.array("b")})
    with pytest.raises(GateError, match="none of the images can be read"):
        compare_all(tmp_path, [neither])


def test_images_without_any_box_prove_nothing(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="no box was found"):
        compare_all(tmp_path, [(trace([], []), trace([], []))])
