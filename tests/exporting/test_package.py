"""`mlcycle export --format`: the folders, the required options, and the gate."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from float_model import write_float_model  # noqa: E402

from mlcycle.artifact.self_test import Tolerance  # noqa: E402
from mlcycle.errors import GateError  # noqa: E402
from mlcycle.exporting import package  # noqa: E402
from mlcycle.exporting.gates import side_by_side  # noqa: E402
from mlcycle.inference.detect import Detector, load_detector  # noqa: E402


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests do not measure speed."""
    monkeypatch.setattr(side_by_side, "SECONDS", 0.0)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_float_model(tmp_path_factory.mktemp("models") / "parent.onnx")


class _SameFace:
    """A runtime that detects the same face in every image."""

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.array([[[1, 2, 30, 40]]]), np.array([[0.99]]), np.zeros((1, 1, 5, 2))]


def test_a_face_in_a_black_image_is_accepted_if_the_parent_finds_it_too(parent: Path) -> None:
    session = replace(load_detector(parent, threads=1).session, self_test=None)
    detector = Detector(replace(session, runtime=_SameFace()), "", parent)  # type: ignore[arg-type]
    package._check_outputs(detector, detector, package.LEAST_TOLERANCE)
    with pytest.raises(GateError, match="black image"):
        package._check_outputs(Detector(session, "", parent), detector, package.LEAST_TOLERANCE)


def test_the_tolerance_of_the_parent_applies(parent: Path) -> None:
    session = load_detector(parent, threads=1).session
    assert session.self_test is not None
    points = tuple(tuple((x + 3, y) for x, y in each) for each in session.self_test.landmarks)
    moved = replace(session.self_test, landmarks=points)
    for allowed in (Tolerance(2.0, 0.1), Tolerance(4.0, 0.1)):
        variant = Detector(replace(session, self_test=replace(moved, tolerance=allowed)), "", parent)
        with pytest.raises(GateError) if allowed.pixels < 3 else nullcontext():
            package._check_outputs(load_detector(parent), variant, package.LEAST_TOLERANCE)


def test_a_repository_contains_the_file_unchanged_and_needs_no_images(
    parent: Path, tmp_path: Path, mlcycle: Callable
) -> None:
    outcome = mlcycle("export", parent, "--format", "triton", "-o", tmp_path / "repository")
    assert (outcome.code, outcome.out.strip()) == (0, str(tmp_path / "repository"))
    (served,) = (tmp_path / "repository").rglob("*.onnx")
    assert served.read_bytes() == parent.read_bytes()
    subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "repository", check=True, capture_output=True)
    assert mlcycle("export", parent, "--format", "triton", "-o", tmp_path / "repository").code == 3


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--format", "kserve"], 2, "--storage-uri"),
        (["--format", "web"], 2, "npm install onnxruntime-web"),
        (["--format", "openvino"], 3, "--images"),
        (["--format", "openvino", "--precision", "int8"], 2, "two steps"),
        (["--format", "coreml"], 2, "coreml"),
        (["--format", "ort"], 2, "ort"),
    ],
)
def test_missing_options_of_a_format_are_named(
    options: list[str], code: int, words: str, parent: Path, tmp_path: Path, mlcycle: Callable
) -> None:
    outcome = mlcycle("export", parent, *options, "-o", tmp_path / "out")
    assert outcome.code == code
    assert words in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_an_engine_needs_tensorrt(parent: Path, astronaut: Path, tmp_path: Path, mlcycle: Callable) -> None:
    import onnxruntime

    if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has TensorRT")
    outcome = mlcycle("export", parent, "--format", "tensorrt", "--images", astronaut, "-o", tmp_path / "engine")
    assert outcome.code == 6
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["stale", "shifted"])
def test_a_runtime_with_other_outputs_fails_the_gate(
    fault: str, parent: Path, astronaut: Path, tmp_path: Path, mlcycle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like OpenVINO, which does not update its outputs if there is no face."""
    session = load_detector(parent, threads=1).session

    def runner(folder: Path) -> package.Run:
        last: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]] = []

        def run(images_BHW3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
            boxes, scores, landmarks = session.run(images_BHW3)
            if fault == "shifted":
                return boxes + 3, scores, landmarks
            if scores.any() or not last:
                last.append((boxes, scores, landmarks))
            return last[-1]

        return run

    monkeypatch.setattr(package.openvino, "write", lambda folder, *others: (folder / "model.xml").write_text("<>"))
    monkeypatch.setattr(package.openvino, "runner", runner)
    outcome = mlcycle("export", parent, "--format", "openvino", "--images", astronaut, "-o", tmp_path / "ir")
    assert outcome.code == 5
    assert ("black image" if fault == "stale" else "self-test") in outcome.err
    assert list(tmp_path.iterdir()) == []
