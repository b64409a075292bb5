"""Models that come with the package: found by a bare name, each with its card, small, and whole."""

from __future__ import annotations

import json
from collections.abc import Callable
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


@pytest.mark.parametrize("name", bundled.names())
def test_each_is_signed_knows_its_answer_and_says_what_it_is_for(name: str, mlcycle: Callable, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    public = bundled.FOLDER / "models.pub"
    outcome = mlcycle("verify", name, "--key", public)
    assert outcome.code == 0, outcome.err
    assert "signature" in outcome.err
    assert "self-test" in outcome.err
    card = (bundled.FOLDER / f"{name}.md").read_text()
    fingerprint = mlcycle("keys", "show", public).out.split("fingerprint")[1].split()[0]
    assert len(fingerprint) == 64
    assert fingerprint in card
    contract = json.loads(mlcycle("inspect", name, "--json").out)["contract"]
    assert set(contract["about"]) == {"licence", "data_licence", "intended_use", "limits"}
    for point, threshold in contract["thresholds"].items():
        assert f"| {point} | {threshold:g} |" in card
    assert contract["thresholds"].keys() == {"sensitive", "balanced", "precise"}


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
