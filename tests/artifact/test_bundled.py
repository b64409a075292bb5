"""Bundled models: found by a bare name, each small, sealed, signed and with a card."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mlcycle.artifact import bundled
from mlcycle.artifact.admission import admit
from mlcycle.artifact.contract import CONTRACT_KEY, from_json
from mlcycle.artifact.seal import read_sealed

LARGEST = 2 * 1024**2


def test_the_default_model_is_bundled() -> None:
    assert bundled.DEFAULT in bundled.names()


@pytest.mark.parametrize("name", bundled.names())
def test_each_is_sealed_and_small_and_its_card_names_its_digest(name: str) -> None:
    sealed = read_sealed(Path(name))
    assert len(sealed.data) <= LARGEST
    card = (bundled.FOLDER / f"{name}.md").read_text()
    assert sealed.sha256 in card
    assert "trained on" in card.lower()
    assert "bad at" in card.lower()


@pytest.mark.parametrize("name", bundled.names())
def test_each_is_signed_passes_its_self_test_and_states_its_intended_use(
    name: str, mlcycle: Callable, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    public = bundled.FOLDER / "models.pub"
    outcome = mlcycle("model", "verify", name, "--key", public)
    assert outcome.code == 0, outcome.err
    assert "signature" in outcome.err
    assert "self-test" in outcome.err
    card = (bundled.FOLDER / f"{name}.md").read_text()
    fingerprint = mlcycle("model", "keys", "show", public).out.split("fingerprint")[1].split()[0]
    assert len(fingerprint) == 64
    assert fingerprint in card
    contract = json.loads(mlcycle("model", "inspect", name, "--json").out)["contract"]
    assert set(contract["about"]) == {"licence", "data_licence", "intended_use", "limits"}
    for point, threshold in contract["thresholds"].items():
        assert f"| {point} | {threshold:g} |" in card
    assert contract["thresholds"].keys() == {"sensitive", "balanced", "precise"}


@pytest.mark.parametrize("name", bundled.names())
def test_the_head_of_each_card_has_the_numbers_of_its_text(name: str) -> None:
    _, head, text = (bundled.FOLDER / f"{name}.md").read_text("utf-8").split("---\n", 2)
    card = yaml.safe_load(head)
    assert (card["license"], card["library_name"], card["pipeline_tag"]) == (
        "apache-2.0",
        "mlcycle",
        "object-detection",
    )
    [model] = card["model-index"]
    assert model["name"] == name
    found = {}
    for result in model["results"]:
        values = [each["value"] for each in result["metrics"]]
        names = [each["name"] for each in result["metrics"]]
        assert names == ["AP easy", "AP medium", "AP hard", "AP50", "recall at one false alarm in ten images"]
        found[result["dataset"]["config"].removeprefix("long side ")] = values
    heads = (
        "| long side | AP easy / medium / hard | AP50 | recall at one false alarm in ten images |\n|---|---|---|---|\n"
    )
    rows = [line.strip("| ").split(" | ") for line in text.partition(heads)[2].partition("\n\n")[0].splitlines()]
    shown = {
        side: [*map(float, levels.split(" / ")), float(ap50), float(recall)] for side, levels, ap50, recall in rows
    }
    assert found == shown
    assert len(found) == 2


def test_a_file_in_the_current_folder_does_not_replace_a_bundled_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(bundled.DEFAULT).touch()
    assert bundled.locate(Path(bundled.DEFAULT)) == bundled.FOLDER / f"{bundled.DEFAULT}.onnx"
    assert read_sealed(Path(bundled.DEFAULT)).path.parent == bundled.FOLDER
    for text in (f"./{bundled.DEFAULT}", str(tmp_path / bundled.DEFAULT)):
        assert bundled.locate(text) == bundled.locate(bundled.locate(text)) == tmp_path / bundled.DEFAULT


def test_other_paths_are_unchanged() -> None:
    for path in (Path("other"), Path("models/face-nano"), Path("face-nano.onnx")):
        assert bundled.locate(path) == path


@pytest.mark.parametrize("name", bundled.names())
def test_no_folder_of_the_machine_that_trained_is_in_a_bundled_model(name: str) -> None:
    recipe = json.dumps(from_json(admit(read_sealed(bundled.locate(name))).metadata[CONTRACT_KEY]).training)
    assert not re.findall(r'"/[^"]*', recipe)
