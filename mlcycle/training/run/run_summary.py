"""The summary of a run, read from its folder: curves, the best score, where the time went.

The run need not have ended, and its data need not be available.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlcycle.errors import DataError, InputError, RecipeError
from mlcycle.plain_yaml import parse
from mlcycle.training.run.run_folder import RECIPE, RunFolder

# In the line of metrics.jsonl that reports the fit of the score layer.
FITTED = "score_layer_loss"
# The parts of a run's time: two of them are the time of its steps.
COMPUTING, WAITING, REST = "computing", "waiting for data", "evaluations and checkpoints"
STEPS = (COMPUTING, WAITING)


@dataclass(frozen=True, slots=True)
class Best:
    """The best scores of a run on the validation set, by AP50, and their step."""

    step: int
    average_precision_50: float
    average_precision: float


@dataclass(frozen=True)
class RunSummary:
    """One run.

    Attributes:
        path: its folder.
        recipe_text, recipe: recipe.yaml as text and as plain data. This version of mlcycle need not accept it.
        environment: environment.json; empty if it is missing.
        metrics: the lines of metrics.jsonl that have a step, sorted by step.
    """

    path: Path
    recipe_text: str
    recipe: dict[str, Any]
    environment: dict[str, Any]
    metrics: list[dict[str, Any]]

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def flat_recipe(self) -> dict[str, Any]:
        """Returns the recipe's values by dotted keys."""
        return flat(self.recipe)

    @property
    def data(self) -> dict[str, Any]:
        """The summary of the run's data; empty if it is not recorded."""
        return _mapping(self.environment.get("data"))

    @property
    def resumed(self) -> list[dict[str, Any]]:
        """The parts of the run after the first, each with the step that it resumed from."""
        parts = self.environment.get("resumed")
        return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []

    @property
    def planned(self) -> int | None:
        """The recipe's number of steps; None if it has none."""
        steps = _mapping(self.recipe.get("schedule")).get("steps")
        return steps if isinstance(steps, int) else None

    @cached_property
    def steps(self) -> int:
        """The last step that was reported."""
        return max((entry["step"] for entry in self.metrics), default=0)

    @property
    def is_finished(self) -> bool:
        """Whether the last step was made and evaluated, and the score layer fitted if the recipe says so."""
        evaluated = [step for step, _ in self.curve("average_precision_50")]
        is_evaluated = self.planned is not None and bool(evaluated) and evaluated[-1] >= self.planned
        fits = _mapping(self.recipe.get("finish")).get("score_layer") is not None
        return is_evaluated and (not fits or any(FITTED in entry for entry in self.metrics))

    def curve(self, key: str) -> list[tuple[float, float]]:
        """Returns step and value wherever a line of metrics.jsonl has a finite number of this name."""
        return [(entry["step"], entry[key]) for entry in self.metrics if _is_number(entry.get(key))]

    @cached_property
    def best(self) -> Best | None:
        """The best evaluation, the first of equal ones; None before the first.

        The evaluation of the weights that a run starts from, at step 0, does not count.
        Once the score layer of the best weights is fitted, the scores are those of the fit, which replaces them.
        """
        entries = self.evaluations()
        trained = [entry for entry in entries if FITTED not in entry and (entry["step"] or not self.planned)]
        if not trained:
            return None
        best = max(trained, key=lambda each: (each["average_precision_50"], -each["step"]))
        scores = next((entry for entry in reversed(entries) if FITTED in entry), best)
        return Best(best["step"], scores["average_precision_50"], scores["average_precision"])

    def evaluations(self) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl that have scores on the validation set."""
        both = ("average_precision_50", "average_precision")
        return [entry for entry in self.metrics if all(_is_number(entry.get(key)) for key in both)]

    @property
    def seconds(self) -> float:
        """Seconds of training, evaluations included, up to the last report."""
        return max((value for _, value in self.curve("seconds")), default=0.0)

    def seconds_by_part(self) -> dict[str, float]:
        """Returns where the time went according to the reports; the rest is evaluations and checkpoints."""
        waited = computed = 0.0
        for steps, entry in self._intervals():
            passed = steps * entry["seconds_per_step"]
            waited += passed * entry.get("data_wait_share", 0.0)
            computed += passed * (1 - entry.get("data_wait_share", 0.0))
        rest = max(0.0, self.seconds - waited - computed)
        return {COMPUTING: computed, WAITING: waited, REST: rest}

    def mean_rate(self, key: str) -> float:
        """Returns the time-weighted mean of a rate or share; NaN if it was not reported."""
        values = [
            (steps * entry["seconds_per_step"], entry[key])
            for steps, entry in self._intervals()
            if _is_number(entry.get(key))
        ]
        passed = sum(seconds for seconds, _ in values)
        return sum(seconds * value for seconds, value in values) / passed if passed else float("nan")

    def _intervals(self) -> list[tuple[int, dict[str, Any]]]:
        """Returns each report with its number of steps."""
        reports = [entry for entry in self.metrics if _is_number(entry.get("seconds_per_step"))]
        before = [0, *(entry["step"] for entry in reports)]
        return [(entry["step"] - step, entry) for step, entry in zip(before, reports, strict=False)]


def read(run: Path) -> RunSummary:
    """Reads a run folder, also of a training that is running or was interrupted.

    Raises:
        InputError: not a run folder.
        RecipeError: its recipe.yaml is not YAML.
    """
    folder = RunFolder(run)
    folder.must_exist()
    try:
        text = (run / RECIPE).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"{run / RECIPE} cannot be read: {problem}", "restore it") from None
    try:
        environment = _mapping(folder.environment())
    except DataError:
        environment = {}
    metrics = [entry for entry in folder.metrics() if isinstance(entry, dict) and _is_number(entry.get("step"))]
    metrics.sort(key=lambda entry: entry["step"])
    return RunSummary(run, text, _mapping(parse(text, str(run / RECIPE), RecipeError).data), environment, metrics)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Returns a recipe's values by dotted keys, as an override names them; a list of plain values is one value."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        items = {str(number): each for number, each in enumerate(value)}.items()
    else:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, each in items:
        found |= flat(each, f"{prefix}.{key}" if prefix else str(key))
    return found


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
