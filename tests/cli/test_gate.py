"""The gate of `freeze` for large JPEGs: decoding at reduced scale must not change the detections."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_model import write_tiny_model

from mlcycle.artifact import bundled
from mlcycle.errors import GateError
from mlcycle.inference.decoding.images import Decoded
from mlcycle.library.gate import reduced_and_whole_agree

NANO = bundled.locate(Path("face-nano"))


def test_the_bundled_model_detects_the_same_faces_at_reduced_scale(astronaut: Path, tmp_path: Path) -> None:
    agreement = reduced_and_whole_agree(NANO, [astronaut], tmp_path)
    assert agreement is not None
    assert agreement.images == 2
    assert agreement.faces >= 4  # nine copies of the astronaut, and one enlarged; counted once per decoding
    assert agreement.shared == 1
    with pytest.raises(GateError, match="can be read"):
        reduced_and_whole_agree(NANO, [tmp_path / "missing.jpg"], tmp_path)


def test_shifted_faces_fail_the_gate(astronaut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoded, "upright_size", property(lambda decoded: decoded.image.size))
    with pytest.raises(GateError, match="give other faces than in full"):
        reduced_and_whole_agree(NANO, [astronaut], tmp_path)


def test_a_model_without_reduced_jpegs_skips_the_gate(astronaut: Path, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    assert reduced_and_whole_agree(model, [astronaut], tmp_path) is None
