"""Models that come with the package: found by a bare name, each with its card, small, and whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcycle.artifact import bundled
from mlcycle.artifact.seal import read_sealed

LARGEST = 2 * 1024**2


def test_the_default_is_there() -> None:
    assert bundled.DEFAULT in bundled.names()


@pytest.mark.parametrize("name", bundled.names())
def test_each_is_sealed_small_and_has_a_card_that_names_its_digest(name: str) -> None:
    sealed = read_sealed(Path(name))
    assert len(sealed.data) <= LARGEST
    card = (bundled.FOLDER / f"{name}.md").read_text()
    assert sealed.sha256 in card
    assert "trained on" in card.lower()
    assert "bad at" in card.lower()


def test_a_file_of_the_same_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundled.locate(Path(bundled.DEFAULT)).parent == bundled.FOLDER
    Path(bundled.DEFAULT).mkdir()
    assert bundled.locate(Path(bundled.DEFAULT)).parent == bundled.FOLDER
    Path(bundled.DEFAULT).rmdir()
    Path(bundled.DEFAULT).touch()
    assert bundled.locate(Path(bundled.DEFAULT)) == Path(bundled.DEFAULT)


def test_other_paths_are_left_alone() -> None:
    for path in (Path("other"), Path("models/face-nano"), Path("face-nano.onnx")):
        assert bundled.locate(path) == path
