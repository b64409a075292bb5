"""KServe's client works unchanged, and gets the same numbers as `mlcycle infer`, bit for bit.

Its package needs older versions of others than the tests do: MLCYCLE_KSERVE_PYTHON is a Python that has it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from live_server import LiveServer
from PIL import Image

from mlcycle.inference.detect import load_detector
from mlcycle.inference.models import find_model

OUTPUTS = ("boxes", "scores", "landmarks")


@pytest.mark.slow
def test_kserve_gets_the_numbers_of_infer(server: LiveServer, astronaut: Path, tmp_path: Path) -> None:
    python = os.environ.get("MLCYCLE_KSERVE_PYTHON")
    if not python:
        pytest.skip("MLCYCLE_KSERVE_PYTHON is not set")
    detector = load_detector(find_model()[0], threads=1)
    pixels_BHW3 = np.asarray(Image.open(astronaut).resize((256, 256)))[None]
    np.save(tmp_path / "pixels.npy", pixels_BHW3)
    program = Path(__file__).with_name("kserve_program.py")
    words = [python, program, server.url, "face-nano", astronaut, tmp_path / "pixels.npy"]
    answers = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    record = detector.detect_file(astronaut)
    assert len(record.scores_N) == 1
    expected = {
        "pixels": dict(zip(OUTPUTS, detector.session.run(pixels_BHW3), strict=True)),
        "file": dict(zip(OUTPUTS, (record.boxes_N4, record.scores_N, record.landmarks_N52), strict=True)),
    }
    for name, arrays in expected.items():
        for binary in (True, False):
            answer = answers[f"{name}, {binary}"]
            for output, array in arrays.items():
                assert answer[output]["hex"] == array.astype(np.float32).tobytes().hex(), (name, binary, output)
    states = [answers[key] for key in ("live", "ready", "model ready", "other model ready")]
    assert states == [True, True, True, False]
    assert "is named encoded_images" in answers["refused"]
