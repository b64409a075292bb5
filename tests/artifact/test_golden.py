"""Old model files load and give the same outputs as before; a file of a newer format is refused with a hint.

The files in tests/golden have random weights and are never rewritten: each format gets its file when it is introduced.
format-1-without-self-test.onnx was written before model files had a self-test; format-2.onnx is made up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlcycle.artifact.self_test import image
from mlcycle.inference.detect import load_detector

GOLDEN = Path(__file__).parent.parent / "golden"
DIGESTS = {
    "format-1-without-self-test.onnx": "3139ac3869aa6c78",
    "format-1.onnx": "e3eea12031050106",
    "format-2.onnx": "d734ca772b432c8f",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_the_golden_files_are_unchanged(name: str) -> None:
    assert hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest()[:16] == DIGESTS[name]


@pytest.mark.parametrize("name", ["format-1-without-self-test.onnx", "format-1.onnx"])
def test_files_of_format_1_give_the_same_outputs(name: str, astronaut: Path, mlcycle: Callable) -> None:
    session = load_detector(GOLDEN / name).session
    assert (session.contract.name, session.contract.format) == ("golden", 1)
    assert (session.self_test is None) == ("without" in name)
    boxes_1N4, scores_1N, landmarks_1N52 = session.run(image(192, 192, 0)[None])
    expected = load_detector(GOLDEN / "format-1.onnx").session.self_test
    assert expected is not None
    assert landmarks_1N52 is not None
    assert len(expected.scores) == 16
    assert expected.distance(boxes_1N4[0], scores_1N[0], landmarks_1N52[0]).within(expected.tolerance)
    np.testing.assert_allclose(scores_1N[0, :3], [0.12174, 0.12166, 0.12119], atol=1e-4)
    for command in ("verify", "inspect"):
        assert mlcycle("model", command, GOLDEN / name).code == 0
    assert mlcycle("infer", astronaut, "--model", GOLDEN / name).code == 0


@pytest.mark.parametrize("command", ["infer", "verify", "inspect", "selftest"])
def test_a_file_of_a_newer_format_needs_a_newer_mlcycle(command: str, astronaut: Path, mlcycle: Callable) -> None:
    words = ["infer", astronaut, "--model"] if command == "infer" else ["model", command]
    outcome = mlcycle(*words, GOLDEN / "format-2.onnx")
    assert (outcome.code, outcome.out) == (4, "")
    assert "has format 2; this mlcycle reads format 1" in outcome.err
    assert "install a newer mlcycle" in outcome.err
