"""The split into training and validation images, and the fingerprint of both."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from mlcycle.errors import DataError
from mlcycle.training.data.training_data import is_val, load_training_data
from mlcycle.training.recipes.recipe_file import load

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


def test_validation_images_are_not_trained_on_and_stay_in_the_validation_set(recipe_path: Path) -> None:
    half = load_training_data(load(recipe_path, ["data.val_fraction=0.5", "data.validation=[]"]).data)
    more = load_training_data(load(recipe_path, ["data.val_fraction=0.7", "data.validation=[]"]).data)
    trained_on, kept = ({each.name for each in part} for part in (half.train, half.val))
    assert trained_on.isdisjoint(kept)
    assert len(trained_on) + len(kept) == 12
    assert 0 < len(kept) < 12
    assert kept <= {each.name for each in more.val}


def test_the_validation_share_is_about_val_fraction() -> None:
    held = sum(is_val(f"{number}.jpg", 0.1) for number in range(5000))
    assert 430 < held < 570


def test_the_fingerprint_depends_on_the_data_not_on_its_path(
    recipe_path: Path, labelled_set: Path, tmp_path: Path
) -> None:
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


def test_a_recipe_without_training_or_validation_faces_is_an_error(recipe_path: Path) -> None:
    faces = ", ".join(f"train/{number}.jpg" for number in range(8))
    with pytest.raises(DataError, match="no face is left to train on"):
        load_training_data(load(recipe_path, [f"data.train.0.leave_out=[{faces}]"]).data)


def test_weights_come_from_the_sources(recipe_path: Path, labelled_set: Path) -> None:
    sources = f"[{{path: {labelled_set}, split: train, weight: 2}}, {{path: {labelled_set}, split: val}}]"
    training_data = load_training_data(load(recipe_path, [f"data.train={sources}"]).data)
    assert sorted(set(training_data.weights)) == [1.0, 2.0]
    assert training_data.weights.count(2.0) == 12
