"""What the demo's page shows of a training: the same image at several steps, and the weights of the first layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from mlcycle.demo.learning import EARLY, look_back
from mlcycle.training.recipes.recipe_file import find, load

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


def test_the_recipe_keeps_the_checkpoint_that_is_shown() -> None:
    schedule = load(find("demo")).schedule
    assert EARLY % schedule.checkpoint_every == 0
    every = (schedule.checkpoint_every, schedule.evaluate_every)
    saved = {step for each in every for step in range(each, schedule.steps + 1, each)}
    # An interrupted run saves more.
    assert schedule.keep_checkpoints > 2 * len(saved)


def test_a_run_is_shown_before_its_first_step_and_after_others(finished_run: Path, astronaut: Path) -> None:
    learning = look_back(finished_run, astronaut, 2.0)
    assert [each.step for each in learning.stages] == [0, 3, 6]
    assert len({each.example for each in learning.stages}) == 3
    assert learning.filters == (4, 27)
    assert all(each.found == () for each in learning.stages)
    first, *others = [np.asarray(each.image) for each in learning.stages]
    assert all((each == first).all() for each in others)


def test_what_reaches_the_threshold_is_drawn(finished_run: Path, astronaut: Path) -> None:
    plain, *_, last = look_back(finished_run, astronaut, 2.0).stages
    *_, found = look_back(finished_run, astronaut, 0.001).stages
    assert len(found.found) > 0
    assert 0 < found.best_score == last.best_score
    assert (np.asarray(found.image) != np.asarray(last.image)).any()
    assert (np.asarray(plain.filters) != np.asarray(found.filters)).any()
