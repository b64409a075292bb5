"""Files of the past open for ever, and give the answers they gave; a file of the future is refused politely.

The files in tests/golden are of a network with weights drawn at random, and are never written again: a format gets its
file on the day it is made. format-1-without-self-test.onnx was written before model files had a self-test;
format-2.onnx is made up.
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
def test_nobody_touched_them(name: str) -> None:
    assert hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest()[:16] == DIGESTS[name]


@pytest.mark.parametrize("name", ["format-1-without-self-test.onnx", "format-1.onnx"])
def test_files_of_format_1_answer_as_they_did(name: str, astronaut: Path, mlcycle: Callable) -> None:
    session = load_detector(GOLDEN / name).session
    assert (session.contract.name, session.contract.format) == ("golden", 1)
    assert (session.self_test is None) == ("without" in name)
    boxes_1N4, scores_1N, landmarks_1N52 = session.run(image(192, 192, 0)[None])
    known = load_detector(GOLDEN / "format-1.onnx").session.self_test
    assert known is not None
    assert landmarks_1N52 is not None
    assert len(known.scores) == 16
    assert known.distance(boxes_1N4[0], scores_1N[0], landmarks_1N52[0]).within(known.tolerance)
    np.testing.assert_allclose(scores_1N[0, :3], [0.12174, 0.12166, 0.12119], atol=1e-4)
    for command in ("verify", "inspect"):
        assert mlcycle(command, GOLDEN / name).code == 0
    assert mlcycle("infer", astronaut, "--model", GOLDEN / name).code == 0


@pytest.mark.parametrize("command", ["infer", "verify", "inspect", "selftest"])
def test_a_file_of_a_format_to_come_asks_for_a_newer_mlcycle(command: str, astronaut: Path, mlcycle: Callable) -> None:
    words = ["infer", astronaut, "--model"] if command == "infer" else [command]
    outcome = mlcycle(*words, GOLDEN / "format-2.onnx")
    assert (outcome.code, outcome.out) == (4, "")
    assert "has format 2; this mlcycle reads format 1" in outcome.err
    assert "install a newer mlcycle" in outcome.err
