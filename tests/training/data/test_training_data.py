"""What is studied and what is held out."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from mlcycle.errors import DataError
from mlcycle.training.data.training_data import is_val, load_training_data
from mlcycle.training.recipes.recipe_file import load

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


def test_held_out_images_are_not_studied_and_stay_held_out(recipe_path: Path) -> None:
    half = load_training_data(load(recipe_path, ["data.val_fraction=0.5", "data.validation=[]"]).data)
    more = load_training_data(load(recipe_path, ["data.val_fraction=0.7", "data.validation=[]"]).data)
    studied, kept = ({each.name for each in part} for part in (half.train, half.val))
    assert studied.isdisjoint(kept)
    assert len(studied) + len(kept) == 12
    assert 0 < len(kept) < 12
    assert kept <= {each.name for each in more.val}


def test_the_share_held_out_is_about_what_was_asked_for() -> None:
    held = sum(is_val(f"{number}.jpg", 0.1) for number in range(5000))
    assert 430 < held < 570


def test_the_fingerprint_is_of_the_data_not_of_its_place(recipe_path: Path, labelled_set: Path, tmp_path: Path) -> None:
    import shutil

    moved = tmp_path / "elsewhere"
    shutil.copytree(labelled_set, moved)
    there = [f"data.train.0.path={moved}", f"data.validation.0.path={moved}"]
    first = load_training_data(load(recipe_path).data)
    assert load_training_data(load(recipe_path, there).data).fingerprint == first.fingerprint
    (moved / "images" / "train" / "0.jpg").write_bytes(b"another image")
    assert load_training_data(load(recipe_path, there).data).fingerprint != first.fingerprint


def test_an_image_is_left_out_by_name_and_a_wrong_name_is_an_error(recipe_path: Path) -> None:
    left = load_training_data(load(recipe_path, ["data.train.0.leave_out=[train/3.jpg]"]).data)
    assert "train/3.jpg" not in {each.name for each in left.train}
    assert len(left.train) == 11
    with pytest.raises(DataError, match="train/nobody"):
        load_training_data(load(recipe_path, ["data.train.0.leave_out=[train/nobody.jpg]"]).data)


def test_a_recipe_without_faces_to_study_or_to_hold_out_is_an_error(recipe_path: Path) -> None:
    faces = ", ".join(f"train/{number}.jpg" for number in range(8))
    with pytest.raises(DataError, match="no face is left to train on"):
        load_training_data(load(recipe_path, [f"data.train.0.leave_out=[{faces}]"]).data)


def test_weights_come_from_the_sources(recipe_path: Path, labelled_set: Path) -> None:
    sources = f"[{{path: {labelled_set}, split: train, weight: 2}}, {{path: {labelled_set}, split: val}}]"
    training_data = load_training_data(load(recipe_path, [f"data.train={sources}"]).data)
    assert sorted(set(training_data.weights)) == [1.0, 2.0]
    assert training_data.weights.count(2.0) == 12
