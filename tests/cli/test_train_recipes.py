"""`mlcycle train recipes`, and how `mlcycle train` finds recipe and run."""

from __future__ import annotations

import pytest

pytest.importorskip("pydantic")

from mlcycle.training.recipes.recipe_file import dump, find, load, recipes_folder

pytestmark = pytest.mark.training


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_list_names_every_recipe_with_cost_and_score(mlcycle, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    listed = mlcycle("train", "recipes", "list")
    assert listed.code == 0
    paths = list(recipes_folder().glob("*.yaml"))
    assert "demo" in {path.stem for path in paths}
    for path in paths:
        head = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
        row = next(line for line in listed.out.splitlines() if line.startswith(path.stem))
        for key in ("# Cost:", "# Score:"):
            words = next(line for line in head if line.startswith(key)).removeprefix(key).strip()
            assert words in row


@pytest.mark.parametrize("path", sorted(recipes_folder().glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_that_ships_is_right_and_opens_with_its_head(path, mlcycle):
    recipe = load(path)
    assert recipe.name == path.stem
    text = path.read_text("utf-8")
    assert f"\n# Command: mlcycle train {path.stem}" in text
    assert "\n# Cost: " in text
    assert "\n# Score: " in text


def test_show_prints_the_file(mlcycle):
    shown = mlcycle("train", "recipes", "show", "demo")
    assert shown.out == find("demo").read_text("utf-8")


def test_copy_keeps_an_existing_file_without_overwrite(mlcycle, tmp_path):
    original = find("demo").read_text("utf-8")
    assert mlcycle("train", "recipes", "copy", "demo").out == "demo.yaml\n"
    assert mlcycle("train", "recipes", "copy", "demo", "deep/er/mine.yaml").code == 0
    assert (tmp_path / "deep/er/mine.yaml").read_text("utf-8") == original.replace("name: demo", "name: mine")
    (tmp_path / "demo.yaml").write_text("mine")
    refused = mlcycle("train", "recipes", "copy", "demo")
    assert refused.code == 3
    assert "--overwrite" in refused.err
    assert (tmp_path / "demo.yaml").read_text() == "mine"
    assert mlcycle("train", "recipes", "copy", "demo", "--overwrite").code == 0
    assert (tmp_path / "demo.yaml").read_text("utf-8") == original
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "demo.yaml"]


@pytest.mark.parametrize(
    ("file", "name"),
    [("mine.yaml", "mine"), ("My Faces_2.yaml", "my-faces-2"), ("Ü.yaml", "mine"), ("x" * 50 + ".yml", "x" * 40)],
)
def test_a_copy_has_the_name_of_its_file(file, name, mlcycle):
    assert mlcycle("train", "recipes", "copy", "face-nano", file).code == 0
    assert load(file) == load(find("face-nano"), [f"name={name}"])


def test_check_lists_all_errors_of_all_files(mlcycle, tmp_path):
    original = find("demo").read_text("utf-8")
    (tmp_path / "a.yaml").write_text(original.replace("  steps:", "  stps:"))
    (tmp_path / "b.yaml").write_text("name: [")
    outcome = mlcycle("train", "recipes", "check", "a.yaml", "demo", "b.yaml", "none.yaml")
    assert outcome.code == 2
    assert outcome.out == "demo: fine\n"
    for message in (
        "unknown key 'stps' in schedule",
        "'steps' is missing",
        "b.yaml:1: not YAML",
        "no such recipe: none.yaml",
    ):
        assert message in outcome.err
    assert mlcycle("train", "recipes", "check", "demo", "face-nano", "face-base").code == 0


@pytest.mark.parametrize("words", [[], ["schedule.steps=7"], ["--resume"], ["--device", "cpu"]])
def test_without_a_recipe_nothing_is_trained(words, mlcycle, tmp_path):
    outcome = mlcycle("train", *words)
    assert outcome.code == 2
    assert "mlcycle train" in outcome.err.splitlines()[-1]
    assert outcome.err.startswith(
        "error: --resume needs a run" if words == ["--resume"] else "error: train needs a recipe"
    )
    assert not list(tmp_path.iterdir())


def test_an_existing_run_is_refused(mlcycle, tmp_path):
    (tmp_path / "runs/demo").mkdir(parents=True)
    (tmp_path / "runs/demo/recipe.yaml").write_text("something")
    outcome = mlcycle("train", "demo")
    assert outcome.code == 3
    assert "runs/demo already exists" in outcome.err
    assert "mlcycle train --resume runs/demo" in outcome.err
    assert "--out runs/demo-2" in outcome.err


def test_an_existing_path_that_is_not_a_run_is_refused(mlcycle, tmp_path):
    (tmp_path / "runs").write_text("a file")
    outcome = mlcycle("train", "demo", "--out", "runs")
    assert (outcome.code, "--resume" in outcome.err) == (3, False)
    assert "runs already exists and is not a run folder" in outcome.err


def test_resume_needs_a_run_of_the_same_recipe_and_no_overrides(mlcycle, tmp_path):
    missing = mlcycle("train", "--resume", "runs/none")
    assert (missing.code, "no such run: runs/none" in missing.err) == (3, True)
    assert mlcycle("train", "demo", "--resume").code == 3
    (tmp_path / "runs/demo").mkdir(parents=True)
    other = load(find("demo"), ["schedule.steps=7"])
    (tmp_path / "runs/demo/recipe.yaml").write_text(dump(other))
    overridden = mlcycle("train", "--resume", "runs/demo", "schedule.steps=9")
    assert overridden.code == 2
    assert "leave out schedule.steps=9" in overridden.err
    differs = mlcycle("train", "demo", "--resume")
    assert differs.code == 2
    assert "was started with another recipe" in differs.err


def test_two_recipes_at_once_are_refused(mlcycle):
    outcome = mlcycle("train", "demo", "face-nano")
    assert outcome.code == 2
    assert "train takes one recipe" in outcome.err
