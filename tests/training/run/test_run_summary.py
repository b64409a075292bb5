"""The summary of a run: the best score, where the time went, and values that are not numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

pytest.importorskip("torch")  # the train extra

from mlcycle.errors import InputError, RecipeError
from mlcycle.training.run import run_summary

pytestmark = pytest.mark.training


def write_run(path: Path, metrics: list[dict], recipe: str = "name: a\nschedule: {steps: 40}\n", **environment) -> Path:
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text(recipe)
    (path / "environment.json").write_text(json.dumps(environment))
    (path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in metrics))
    return path


def score(step: int, ap50: float) -> dict:
    return {"step": step, "average_precision_50": ap50, "average_precision": ap50 / 2}


def stretch(step: int, seconds: float, a_step: float, wait: float, rate: float) -> dict:
    return {
        "step": step, "seconds": seconds, "seconds_per_step": a_step, "data_wait_share": wait,
        "images_per_second": rate,
    }  # fmt: skip


def test_the_best_score_is_the_first_of_equal_ones(tmp_path: Path) -> None:
    summary = run_summary.read(
        write_run(tmp_path / "a", [score(10, 0.5), score(20, 0.7), score(30, 0.7), score(40, 0.6)])
    )
    assert summary.best == run_summary.Best(20, 0.7, 0.35)
    assert summary.is_finished
    assert not run_summary.read(write_run(tmp_path / "b", [score(10, 0.5)])).is_finished


def test_scores_are_those_of_the_fitted_score_layer_and_the_run_ends_with_it(tmp_path: Path) -> None:
    recipe = "name: a\nschedule: {steps: 40}\nfinish: {score_layer: {images: 3}}\n"
    scores = [score(20, 0.7), score(40, 0.6)]
    begun = run_summary.read(write_run(tmp_path / "begun", scores, recipe))
    fitted = run_summary.read(
        write_run(tmp_path / "fitted", [*scores, score(40, 0.68) | {"score_layer_loss": 0.1}], recipe)
    )
    assert (begun.best, begun.is_finished) == (run_summary.Best(20, 0.7, 0.35), False)
    assert (fitted.best, fitted.is_finished) == (run_summary.Best(20, 0.68, 0.34), True)
    assert [each["average_precision"] for each in fitted.evaluations()] == [0.35, 0.3, 0.34]


def test_seconds_go_to_computing_waiting_and_the_rest(tmp_path: Path) -> None:
    summary = run_summary.read(write_run(tmp_path / "a", [stretch(20, 22, 1, 0.1, 30), stretch(40, 70, 2, 0.5, 10)]))
    parts = summary.seconds_by_part()
    assert parts == pytest.approx({"computing": 38, "waiting for data": 22, "evaluations and checkpoints": 10})
    assert sum(parts.values()) == summary.seconds
    # Twenty steps of one second at 30 images/s, twenty of two seconds at 10.
    assert summary.mean_rate("images_per_second") == pytest.approx((20 * 30 + 40 * 10) / 60)
    assert math.isnan(summary.mean_rate("nothing"))


def test_values_that_are_not_numbers_are_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [{"step": 2, "loss": 1.0}, {"step": 1, "loss": 2.0}, {"loss": 3.0}])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "loss": NaN}\n[1]\n{"step": 4, "loss": "high"}\n{"step": 5, "lo')
    summary = run_summary.read(run)
    assert summary.curve("loss") == [(1, 2.0), (2, 1.0)]
    assert summary.best is None
    assert (summary.steps, summary.seconds) == (4, 0)


def test_recipes_of_other_versions_are_read(tmp_path: Path) -> None:
    recipe = "name: a\nschedule: {steps: 5, moon: full}\ndata: {train: [{path: x, leave_out: [a, b]}]}\n"
    summary = run_summary.read(write_run(tmp_path / "a", [], recipe))
    assert summary.flat_recipe() == {
        "name": "a", "schedule.steps": 5, "schedule.moon": "full", "data.train.0.path": "x",
        "data.train.0.leave_out": ["a", "b"],
    }  # fmt: skip
    with pytest.raises(RecipeError):
        run_summary.read(write_run(tmp_path / "b", [], "name: [a"))
    with pytest.raises(InputError, match="not a run folder"):
        run_summary.read(tmp_path)
