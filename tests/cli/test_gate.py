"""The gate of `freeze` for large JPEGs: decoded at a reduced scale, they must show the same faces."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_model import write_tiny_model

from mlcycle.artifact import bundled
from mlcycle.errors import GateError
from mlcycle.inference.decoding.images import Decoded
from mlcycle.library.gate import reduced_and_whole_agree

NANO = bundled.locate(Path("face-nano"))


def test_the_bundled_model_finds_the_same_faces_either_way(astronaut: Path, tmp_path: Path) -> None:
    agreement = reduced_and_whole_agree(NANO, [astronaut], tmp_path)
    assert agreement is not None
    assert agreement.images == 2
    assert agreement.faces >= 4  # nine astronauts side by side, and one enlarged; each counts once a way
    assert agreement.shared == 1
    with pytest.raises(GateError, match="can be read"):
        reduced_and_whole_agree(NANO, [tmp_path / "missing.jpg"], tmp_path)


def test_faces_in_another_place_close_the_gate(
    astronaut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decoded, "upright_size", property(lambda decoded: decoded.image.size))
    with pytest.raises(GateError, match="give other faces than in full"):
        reduced_and_whole_agree(NANO, [astronaut], tmp_path)


def test_a_file_that_does_not_allow_it_is_not_asked(astronaut: Path, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    assert reduced_and_whole_agree(model, [astronaut], tmp_path) is None
