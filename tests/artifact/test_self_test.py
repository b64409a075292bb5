"""The self-test: the same image everywhere, and outputs that match only for an intact file on a correct runtime."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlcycle.artifact import self_test
from mlcycle.artifact.self_test import EXACT, Distance, Tolerance, from_json, image, tolerance_of
from mlcycle.errors import GateError, ModelFileError

onnx = pytest.importorskip("onnx")

import onnxruntime  # noqa: E402
from float_model import float_contract, float_model, self_test_of, write_float_model  # noqa: E402

from mlcycle.artifact.packing import pack  # noqa: E402
from mlcycle.artifact.seal import SealedBytes, write_sealed  # noqa: E402
from mlcycle.inference.detect import load_detector  # noqa: E402
from mlcycle.inference.session import open_session  # noqa: E402


def outputs_of(model: onnx.ModelProto, pixels_HW3: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    session = open_session(SealedBytes(pack(model, float_contract()), "", Path("x.onnx")), provider="cpu", threads=1)
    outputs = session.run((image(192, 192, 0) if pixels_HW3 is None else pixels_HW3)[None])
    return tuple(each[0] for each in outputs if each is not None)


def test_the_test_image_never_changes() -> None:
    """A changed formula needs a new name: existing files have expected outputs for exactly this image."""
    digests = [hashlib.sha256(image(*each).tobytes()).hexdigest()[:16] for each in ((192, 192, 0), (130, 250, 7))]
    assert digests == ["dcda23cd649b2974", "662eb4e69f773151"]
    assert image(40, 40, 0).shape == (40, 40, 3)  # too small for a face


def test_a_face_detector_finds_the_drawn_faces() -> None:
    expected = self_test_of(float_model())
    assert len(expected.scores) == 13
    assert min(expected.scores) > 0.7
    assert max(x2 - x1 for x1, _, x2, _ in expected.boxes) > 2 * min(x2 - x1 for x1, _, x2, _ in expected.boxes)


def test_optimisations_and_threads_stay_within_the_tolerance() -> None:
    model = float_model()
    expected = self_test_of(model)
    for level in (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    ):
        for threads in (1, 2):
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level, options.intra_op_num_threads = level, threads
            runtime = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            outputs = runtime.run(None, {"images": image(192, 192, 0)[None]})
            assert expected.distance(*(each[0] for each in outputs)).within(EXACT)


def test_wrong_preprocessing_exceeds_the_tolerance() -> None:
    model = float_model()
    expected, drawing = self_test_of(model), image(192, 192, 0)
    wrong = {
        "BGR": drawing[..., ::-1],
        "upside down": drawing[::-1],
        "mirrored": drawing[:, ::-1],
        "dark": drawing // 2,
    }
    for name, pixels in wrong.items():
        distance = expected.distance(*outputs_of(model, np.ascontiguousarray(pixels)))
        assert not distance.within(self_test.LOOSE), name


def test_one_wrong_weight_in_an_early_layer_exceeds_the_tolerance() -> None:
    model = float_model()
    expected = self_test_of(model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    for node in convolutions[:8]:
        weights = next(each for each in model.graph.initializer if each.name == node.input[1])
        original = weights.raw_data
        values = np.frombuffer(original, np.float32).copy()
        values[np.abs(values).argmax()] *= -1
        weights.raw_data = values.tobytes()
        assert not expected.distance(*outputs_of(model)).within(EXACT), node.name
        weights.raw_data = original
    assert expected.distance(*outputs_of(model)).within(EXACT)


def test_a_file_that_fails_its_self_test_is_not_loaded(tmp_path: Path) -> None:
    model = float_model()
    expected = self_test_of(model)
    weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    values = np.frombuffer(weights.raw_data, np.float32) * np.float32(1.05)
    weights.raw_data = values.tobytes()
    write_sealed(pack(model, float_contract(), expected), tmp_path / "forged.onnx")  # sealed again: the seal is valid
    with pytest.raises(ModelFileError, match="self-test"):
        load_detector(tmp_path / "forged.onnx")
    load_detector(write_float_model(tmp_path / "original.onnx"))


def test_missing_added_and_nan_rows_are_detected() -> None:
    expected = self_test_of(float_model())
    boxes, scores, points = np.array(expected.boxes), np.array(expected.scores), np.array(expected.landmarks)
    assert expected.distance(boxes, scores, points) == Distance(0.0, 0.0)
    order = np.arange(len(scores))[::-1]
    assert expected.distance(boxes[order], scores[order], points[order]) == Distance(0.0, 0.0)
    assert expected.distance(boxes[1:], scores[1:], points[1:]).score == pytest.approx(scores[0])
    assert expected.distance(boxes[:0], scores[:0], points[:0]).pixels == float("inf")
    more = (np.vstack((boxes, [[0, 0, 9, 9]])), np.append(scores, 0.99), np.concatenate((points, points[:1])))
    assert expected.distance(*more).score == pytest.approx(0.99 - scores.min())
    for spoilt in (np.nan, np.inf):
        assert not expected.distance(boxes, np.where(order == 3, spoilt, scores), points).within(Tolerance(9, 9))
    moved = points.copy()
    moved[4, 2] += 0.5
    assert expected.distance(boxes, scores, moved).pixels == pytest.approx(0.5)


def test_the_tolerance_of_a_variant_is_twice_the_measured_distance_and_limited() -> None:
    assert tolerance_of(Distance(0.6, 0.011), Tolerance(2, 0.05)) == Tolerance(1.2, 0.022)
    assert tolerance_of(Distance(0, 0), Tolerance(2, 0.05)) == self_test.LOOSE
    for distance in (Distance(3, 0), Distance(0, 0.06), Distance(float("inf"), 0), Distance(float("nan"), 0)):
        with pytest.raises(GateError, match="self-test"):
            tolerance_of(distance, Tolerance(2, 0.05))


def test_the_text_is_canonical_and_invalid_text_is_refused() -> None:
    expected = self_test_of(float_model())
    assert from_json(expected.to_json()) == expected
    assert " " not in expected.to_json()
    for text in ("", "[]", "{}", expected.to_json().replace('"boxes":', '"box":'), '{"formula":"drawn-faces-1"}'):
        with pytest.raises(ModelFileError, match="self-test"):
            from_json(text)
    with pytest.raises(ModelFileError, match="unknown image"):
        from_json(expected.to_json().replace("drawn-faces-1", "drawn-cats-1"))
    with pytest.raises(ModelFileError, match="inconsistent"):
        from_json(replace(expected, scores=expected.scores[1:]).to_json())
    with pytest.raises(ModelFileError, match="inconsistent"):
        from_json(replace(expected, height=5000).to_json())
