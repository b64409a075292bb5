"""Which overrides are swept, their combinations, and the names of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")  # the train extra

from mlcycle.errors import RecipeError
from mlcycle.training.recipes import recipe_file
from mlcycle.training.studies import sweep_grid
from mlcycle.training.studies.sweep_grid import SweptKey, name_of, settings

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def demo() -> Path:
    return recipe_file.find("demo")


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("schedule.learning_rate=[2e-3, 0.004]", (0.002, 0.004)),
        ("schedule.optimizer=[muon,adamw]", ("muon", "adamw")),
        ("data.decoded=[null,data/decoded]", (None, "data/decoded")),
        ("seed=[7]", (7,)),
        ("augment.zoom=[[0.25,1.5],[0.5,1.5]]", ([0.25, 1.5], [0.5, 1.5])),
        ("augment.zoom.0=[0.25,0.5]", (0.25, 0.5)),
        ("data.train.0.path=[a,b]", ("a", "b")),
        ("data.train=[[{path: a}],[{path: b}]]", ([{"path": "a"}], [{"path": "b"}])),
        ("model=[{width: 8},{width: 16, depth: 2}]", ({"width": 8}, {"width": 16, "depth": 2})),
    ],
)
def test_list_is_swept(override: str, values: tuple) -> None:
    assert sweep_grid.read([override]) == ([], [SweptKey(override.partition("=")[0], values)])


@pytest.mark.parametrize(
    "override",
    [
        "schedule.steps=10",
        "augment.zoom=[0.25,1.5]",
        "augment.face_size=[8,200]",
        "data.train=[{path: a},{path: b}]",
        "data.train.0.leave_out=[a.jpg,b.jpg]",
        "about.limits=[]",
    ],
)
def test_single_value_and_list_valued_key_are_not_swept(override: str) -> None:
    assert sweep_grid.read([override]) == ([override], [])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=[]"], "list of values is empty"),
        (["seed=[1,2]", "seed=3"], "given twice"),
        (["seed=[1,2"], "not YAML"),
        (["word"], "cannot be parsed"),
    ],
)
def test_invalid_sweep_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        sweep_grid.read(overrides)


def test_grid_is_the_product_with_seeds_slowest(demo: Path) -> None:
    _, swept = sweep_grid.read(["schedule.learning_rate=[0.002,4.0e-3]", "model.width=[8,16]"])
    made = settings(demo, ["schedule.steps=7"], sweep_grid.with_seeds(swept, 5, 2))
    assert [each.name for each in made[:5]] == [
        "schedule.learning_rate=0.002,model.width=8,seed=5",
        "schedule.learning_rate=0.002,model.width=16,seed=5",
        "schedule.learning_rate=0.004,model.width=8,seed=5",
        "schedule.learning_rate=0.004,model.width=16,seed=5",
        "schedule.learning_rate=0.002,model.width=8,seed=6",
    ]
    assert len({each.name for each in made}) == 8
    last = made[-1].recipe
    assert (last.schedule.learning_rate, last.model.width, last.seed, last.schedule.steps) == (0.004, 16, 6, 7)
    with pytest.raises(RecipeError, match="given twice"):
        sweep_grid.with_seeds([SweptKey("seed", (1, 2))], 1, 2)


def test_every_combination_is_checked_as_a_recipe(demo: Path) -> None:
    for override, message in (
        ("schedule.learning_rate=[0.1,-1]", "must be more than 0, not -1"),
        ("schedule.leaning_rate=[1,2]", "unknown key 'leaning_rate'"),
        ("inference.threshold=[0.5,0.001]", "threshold must not be below"),
        ("losses.box=[1,1.0]", "the same recipe"),
    ):
        plain, swept = sweep_grid.read([override])
        with pytest.raises(RecipeError, match=message):
            settings(demo, plain, swept)


def test_larger_sample_contains_the_smaller_with_all_seeds(demo: Path) -> None:
    swept = [SweptKey("model.width", tuple(range(4, 44, 4))), SweptKey("seed", (1, 2))]
    few, more = ([each.name for each in settings(demo, [], swept, (count, 3))] for count in (2, 5))
    assert set(few) < set(more)
    assert (len(few), len(more)) == (4, 10)
    assert len({name.partition(",")[0] for name in few}) == 2
    assert [each.name for each in settings(demo, [], swept, (2, 4))] != few
    assert len(settings(demo, [], swept, (99, 3))) == 20


def test_names_are_valid_file_names_and_unique(demo: Path) -> None:
    assert name_of({"losses.box": 2.0, "augment.zoom": [0.25, 1.5]}) == "losses.box=2,augment.zoom=0.25-1.5"
    odd = [name_of({"data.decoded": value}) for value in ("a/b", "a:b", "ü" * 300, "../x", "a\x1b[31m")]
    assert len(set(odd)) == len(odd)
    for name in odd:
        assert name.isascii()
        assert len(name) < 200
        assert not set(name) & set('/\\:*?"<>| []\x1b')
    made = settings(demo, [], [SweptKey("data.decoded", (None, "true", "1e5", "a b"))])
    assert [each.recipe.data.decoded for each in made] == [None, "true", "1e5", "a b"]
