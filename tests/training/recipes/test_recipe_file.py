"""Recipes from YAML: what is accepted, and the message for each error. None of this needs torch."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pydantic")

from mlcycle.errors import RecipeError
from mlcycle.training.recipes import recipe_file

GOOD = """\
# A comment
name: small
data:
  train:
    - path: faces
      split: train
    - path: more
  val_fraction: 0.1
model:
  landmarks: true
schedule:
  steps: 10
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> str:
        Path("r.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return "r.yaml"

    return write


def refused(path: str, *overrides: str) -> tuple[str, str]:
    with pytest.raises(RecipeError) as problem:
        recipe_file.load(path, overrides)
    assert problem.value.exit_code == 2
    return problem.value.message, problem.value.hint


@pytest.mark.parametrize("name", recipe_file.names())
def test_a_dumped_recipe_loads_back_equal(name, write):
    recipe = recipe_file.load(recipe_file.find(name))
    assert recipe_file.load(write(recipe_file.dump(recipe))) == recipe


def test_strings_that_look_like_numbers_survive_a_dump(write):
    for word in ["1e3", "010", "no", "null", "2024-01-01", "1:30", "ünïcode 日本", "a: b # c", " padded ", ""]:
        recipe = recipe_file.load(write(GOOD), [f"data.train.0.split={quoted(word)}"])
        assert recipe.data.train[0].split == word
        assert recipe_file.load(write(recipe_file.dump(recipe))) == recipe


def test_numbers_keep_all_their_digits(write):
    recipe = recipe_file.load(write(GOOD), ["schedule.learning_rate=0.1234567890123456789", "data.val_fraction=1e-7"])
    assert recipe.data.val_fraction == 1e-7
    assert recipe_file.load(write(recipe_file.dump(recipe))) == recipe


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("schedule.learning_rate=1e-3", "schedule", "learning_rate", 0.001),
        ("schedule.learning_rate=1E-3", "schedule", "learning_rate", 0.001),
        ("schedule.learning_rate=1", "schedule", "learning_rate", 1.0),
        ("schedule.steps=010", "schedule", "steps", 10),
        ("schedule.steps=10_000", "schedule", "steps", 10_000),
        ("model.landmarks=false", "model", "landmarks", False),
        ("augment.zoom=[1, 2]", "augment", "zoom", (1.0, 2.0)),
        ("augment.zoom.1=3", "augment", "zoom", None),
        ("inference.long_side=320", "inference", "long_side", 320),
    ],
)
def test_overrides_are_yaml_and_create_missing_sections(write, override, section, key, value):
    if value is None:  # a list that the file does not write out has no places to count
        message, _ = refused(write(GOOD), override)
        assert "override 'augment.zoom.1=3'" in message
        return
    assert getattr(getattr(recipe_file.load(write(GOOD), [override]), section), key) == value


def test_overrides_of_lists_by_index_and_as_a_whole(write):
    path = write(GOOD)
    indexed = recipe_file.load(path, ["data.train.1.path=no", "data.train.1.weight=2"])
    assert (indexed.data.train[1].path, indexed.data.train[1].weight) == ("no", 2.0)
    whole = recipe_file.load(path, ["data.train=[{path: a}, {path: on, split: off}]", "data.train.1.weight=3"])
    assert [each.path for each in whole.data.train] == ["a", "on"]
    assert (whole.data.train[1].split, whole.data.train[1].weight) == ("off", 3.0)


def test_an_empty_value_is_an_empty_string_and_the_last_override_wins(write):
    recipe = recipe_file.load(write(GOOD), ["data.train.0.split=", "schedule.steps=1", "schedule.steps=2"])
    assert recipe.data.train[0].split == ""
    assert recipe.schedule.steps == 2


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("  steps: 10", "  steps: 10\n  learning_rat: 1", "r.yaml:13: unknown key 'learning_rat' in schedule",
         "did you mean learning_rate?"),
        ("name: small", "name: small\nsede: 3", "r.yaml:3: unknown key 'sede'", "did you mean seed?"),
        ("      split: train", "      spilt: train", "r.yaml:6: unknown key 'spilt' in data.train.0",
         "did you mean split?"),
        ("  val_fraction", "  xyzzy: 1\n  val_fraction", "r.yaml:8: unknown key 'xyzzy' in data",
         "valid keys in data: train, validation, val_fraction, validation_limit"),
        ("  steps: 10", "  steps: -1", "r.yaml:12: schedule.steps must be at least 0, not -1", ""),
        ("  steps: 10", "  steps: 1.5", "r.yaml:12: schedule.steps must be a whole number, not 1.5", ""),
        ("  steps: 10", "  steps: ten", 'r.yaml:12: schedule.steps must be a whole number, not "ten"', ""),
        ("  steps: 10", "  steps:", "r.yaml:12: schedule.steps must be a whole number, not null", ""),
        ("  steps: 10", "  batch: 3", "r.yaml:11: 'steps' is missing in schedule", ""),
        ("name: small\n", "", "r.yaml:2: 'name' is missing", ""),
        ("name: small", "name: Not Good", "r.yaml:2: name must match", "small letters, digits and hyphens"),
        ("landmarks: true", "landmarks: no", 'r.yaml:10: model.landmarks must be true or false, not "no"',
         "write false"),
        ("landmarks: true", "landmarks: 1", "r.yaml:10: model.landmarks must be true or false, not 1", ""),
        ("landmarks: true", "width: 10", "r.yaml:10: model.width must be a multiple of 4, not 10", ""),
        ("val_fraction: 0.1", "val_fraction: 1.5", "r.yaml:8: data.val_fraction must be at most 1, not 1.5", ""),
        ("val_fraction: 0.1", "val_fraction: .inf", 'r.yaml:8: data.val_fraction must be a number, not ".inf"', ""),
        ("val_fraction: 0.1", "val_fraction: 1e999", "r.yaml:8: the number '1e999' is out of range", ""),
        ("  val_fraction: 0.1\n", "", "r.yaml:3: data: list sets in validation, or set val_fraction", ""),
        ("  steps: 10", "  steps: 10\n  steps: 11", "r.yaml:13: duplicate key 'steps' in schedule", "keep one"),
        ("  steps: 10", "  steps: 10\n  precision: int8",
         "r.yaml:13: schedule.precision must be 'float32' or 'bfloat16', not \"int8\"", ""),
        ("  steps: 10", "  steps: 10\naugment:\n  zoom: [1]", "r.yaml:14: augment.zoom must hold", ""),
        ("  steps: 10", "  steps: 10\naugment:\n  zoom: [1, 2, 3]", "r.yaml:14: augment.zoom must hold at most 2", ""),
        ("  steps: 10", "  steps: 10\nmodel: 3", "r.yaml:13: duplicate key 'model'", "keep one"),
        ("schedule:\n  steps: 10", "schedule: 10",
         "r.yaml:11: schedule must be a section with keys of its own, not 10", ""),
        ("  steps: 10", "  steps: [10", "not YAML", "check indentation"),
        ("  steps: 10", "\tsteps: 10", "not YAML", "check indentation"),
        ("  steps: 10", "  steps: !!python/object:os.system 10", "r.yaml:12: the tag", "write the plain value"),
        ("  steps: 10", "  steps: &a 10\n  batch: *a", "r.yaml:13: not YAML: aliases are not supported", ""),
        ("  steps: 10", "  [1, 2]: 10", "r.yaml:12: a key must be a string", ""),
        ("  steps: 10", "  steps: " + "9" * 5000, "is out of range", ""),
    ],
)  # fmt: skip
def test_an_error_names_the_line_and_the_valid_value(write, old, new, message, hint):
    assert old in GOOD
    sentence, advice = refused(write(GOOD.replace(old, new, 1)))
    assert message in sentence
    assert "\n" not in sentence
    assert advice.startswith(hint)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "r.yaml is empty"),
        (b"# only a comment\n", "r.yaml is empty"),
        (b"- a\n- b\n", "r.yaml:1: a recipe is a mapping"),
        (b"\xff\xfe\x00", "r.yaml is not text in UTF-8"),
        (b"name: a\x00b", "not YAML"),
        (b"[" * 20_000, "r.yaml: nested too deeply"),
        (b"a: 1\n---\nb: 2\n", "not YAML"),
    ],
)
def test_files_that_are_not_recipes_are_refused(write, content, message):
    assert message in refused(write(content))[0]


def test_a_folder_or_a_missing_file_is_refused(tmp_path):
    assert "cannot be read" in refused(str(tmp_path))[0]
    assert "no such recipe" in refused(str(tmp_path / "none.yaml"))[0]


def test_a_byte_order_mark_is_accepted(write):
    assert recipe_file.load(write(b"\xef\xbb\xbf" + GOOD.encode())).name == "small"


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("schedule.stps=3", "override 'schedule.stps=3': unknown key 'stps' in schedule", "did you mean steps?"),
        ("shedule.steps=3", "override 'shedule.steps=3': unknown key 'shedule'", "did you mean schedule?"),
        ("schedule.steps=-1", "override 'schedule.steps=-1': schedule.steps must be at least 0, not -1", ""),
        ("name.first=x", "override 'name.first=x': name is a value, not a section with a key 'first'", ""),
        ("data.train.2.path=x", "data.train is a list of 2, and '2' is not an index of it", "count from 0"),
        ("data.train.first.path=x", "data.train is a list of 2, and 'first' is not an index of it", "count from 0"),
        ("data.train=[a", "override 'data.train=[a': not YAML", ""),
        ("schedule..steps=1", "override 'schedule..steps=1' cannot be parsed", "write KEY.SUB=VALUE"),
        ("=1", "override '=1' cannot be parsed", "write KEY.SUB=VALUE"),
        ("schedule", "override 'schedule' cannot be parsed", "write KEY.SUB=VALUE"),
    ],
)
def test_an_error_in_an_override_names_the_override(write, override, message, hint):
    sentence, advice = refused(write(GOOD), override)
    assert message in sentence
    assert advice.startswith(hint)


def test_all_errors_are_found_and_the_first_gives_the_number_of_others(write):
    path = write(GOOD.replace("  steps: 10", "  steps: -1\n  batch: 0\n  momentum: 1"))
    recipe, problems = recipe_file.read(path)
    assert recipe is None
    assert sorted(each.message.split(" ")[0] for each in problems) == ["r.yaml:12:", "r.yaml:13:", "r.yaml:14:"]
    assert "2 more: mlcycle train recipes check r.yaml" in refused(path)[1]


def test_recipes_are_found_by_path_and_by_name(write, tmp_path):
    assert recipe_file.find(write(GOOD)) == Path("r.yaml")
    Path("demo").touch()
    assert recipe_file.find("demo") == recipe_file.recipes_folder() / "demo.yaml"
    with pytest.raises(RecipeError, match="no such recipe: dmo") as problem:
        recipe_file.find("dmo")
    assert problem.value.hint == "did you mean demo?"


def quoted(word: str) -> str:
    return "'" + word + "'"
