"""A sweep's folder: its plan, its runs, and how each of them ended.

sweeps/NAME/
  sweep.json     the swept keys, and for each run its values, how it ended, and the seconds it took
  recipes/       NAME.yaml of each run, resolved
  NAME/          a run folder
  logs/          NAME.txt: the output of its training
  sweep.csv, sweep.html
  lock           held while a sweep trains here
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlcycle import files
from mlcycle.errors import InputError, MlcycleError
from mlcycle.training.recipes import recipe_file
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.run import run_summary
from mlcycle.training.run.run_folder import RECIPE, RunFolder
from mlcycle.training.run.run_summary import RunSummary
from mlcycle.training.studies.sweep_grid import Setting

PLAN, CSV, PAGE = "sweep.json", "sweep.csv", "sweep.html"
SCHEMA_VERSION = 1
NEW, INTERRUPTED, FAILED, FINISHED = "new", "interrupted", "failed", "finished"
# Exit codes of a training that saved its checkpoint after a signal; one that was killed has a negative code.
STOPPED = (129, 130, 143)


@dataclass(slots=True)
class Entry:
    """A run in sweep.json.

    Attributes:
        values: of the swept keys.
        code: the exit code of its last training, the negative number of the signal that killed it, or None before it
            has ended.
        reason: its last log lines if it failed.
        seconds: of all its trainings, from start to exit.
    """

    values: dict[str, Any]
    code: int | None = None
    reason: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Plan:
    """sweep.json: the swept keys, and an entry for each run, by name."""

    keys: list[str]
    runs: dict[str, Entry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """A run: its entry, its state (new, interrupted, failed, finished), and its summary once it has started."""

    name: str
    entry: Entry
    state: str
    summary: RunSummary | None


class SweepFolder:
    """Paths and small files of one sweep.

    Args:
        path: the folder; `add` creates it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own = RunFolder(path)  # for its lock and its atomic writes
        self.plan = Plan([])

    def run(self, name: str) -> Path:
        return self.path / name

    def recipe(self, name: str) -> Path:
        return self.path / "recipes" / f"{name}.yaml"

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.txt"

    def read(self) -> None:
        """Reads the plan.

        Raises:
            InputError: the file does not exist or is damaged.
        """
        try:
            document = json.loads((self.path / PLAN).read_text("utf-8"))
            runs = {name: Entry(**entry) for name, entry in document["runs"].items()}
            self.plan = Plan(list(document["keys"]), runs)
        except FileNotFoundError:
            raise InputError(
                f"{self.path} is not a sweep folder: it has no {PLAN}", "start a sweep: mlcycle train sweep"
            ) from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise InputError(f"{self.path / PLAN} is damaged", "restore it, or choose another folder") from None

    def check(self, settings: Sequence[Setting]) -> None:
        """Reads the plan, if it exists, and checks that nothing in the folder would be overwritten.

        Raises:
            InputError: the folder holds other files, or a sweep of another recipe or over other keys.
        """
        if not (self.path / PLAN).exists():
            if self.path.exists() and not (self.path.is_dir() and self._is_unstarted()):
                raise InputError(f"{self.path} exists and is not a sweep folder", "choose another folder with --out")
            self.plan = Plan(list(settings[0].values))
            return
        self.read()
        self._check_recipe(settings[0])
        for each in settings:
            existing = self.run(each.name) / RECIPE
            if existing.is_file() and recipe_file.load(existing) != each.recipe:
                raise InputError(
                    f"{existing.parent} was started with another recipe", "choose another folder with --out"
                )

    def _is_unstarted(self) -> bool:
        # A process may have been killed before it wrote its plan.
        present = {*self.path.iterdir()} - {*files.drafts(self.path)}
        return {each.name for each in present} <= {"lock", "recipes", "logs"}

    def _check_recipe(self, setting: Setting) -> None:
        keys = list(setting.values)
        if set(keys) != set(self.plan.keys):
            raise InputError(
                f"{self.path} contains a sweep over {', '.join(self.plan.keys)}, not over {', '.join(keys)}",
                "nothing was changed; choose another folder with --out",
            )
        names = [name for name in self.plan.runs if self.recipe(name).is_file()]
        if not names:
            return
        before, now = (_fixed(each, keys) for each in (recipe_file.load(self.recipe(names[0])), setting.recipe))
        for key in [*now, *before]:
            if before.get(key) != now.get(key):
                old, new = (json.dumps(each.get(key), ensure_ascii=False) for each in (before, now))
                raise InputError(
                    f"{self.path} contains a sweep of another recipe: its {key} is {old}, not {new}",
                    "nothing was changed; choose another folder with --out",
                )

    def add(self, settings: Sequence[Setting]) -> None:
        """Writes the recipes and the plan of checked settings; earlier runs stay in the plan."""
        for folder in (self.path / "recipes", self.path / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        self.own.remove_drafts()
        for each in settings:
            if each.name not in self.plan.runs:
                RunFolder(self.path / "recipes").write(f"{each.name}.yaml", recipe_file.dump(each.recipe))
                self.plan.runs[each.name] = Entry(each.values)
        self.write_plan()

    def write_plan(self) -> None:
        document = {
            "schema_version": SCHEMA_VERSION,
            "keys": self.plan.keys,
            "runs": {name: asdict(entry) for name, entry in self.plan.runs.items()},
        }
        self.own.write(PLAN, json.dumps(document, indent=2, ensure_ascii=False) + "\n")

    def run_state(self, name: str) -> Run:
        """Returns a run with its current state."""
        entry = self.plan.runs.get(name, Entry({}))
        path, summary = self.run(name), None
        if (path / RECIPE).is_file():
            with suppress(MlcycleError):
                summary = run_summary.read(path)
        return Run(name, entry, _state(entry, summary), summary)

    def runs(self) -> list[Run]:
        """Returns all runs of the plan, in its order."""
        return [self.run_state(name) for name in self.plan.runs]


def _state(entry: Entry, summary: RunSummary | None) -> str:
    if entry.code is not None and entry.code > 0 and entry.code not in STOPPED:
        return FAILED
    if summary is None:
        return NEW
    return FINISHED if entry.code == 0 and summary.is_finished else INTERRUPTED


def _fixed(recipe: Recipe, keys: Sequence[str]) -> dict[str, Any]:
    """Returns the values of a recipe that are not swept."""
    values = run_summary.flat(recipe.model_dump(mode="json"))

    def is_swept(key: str) -> bool:
        return any(f"{key}.".startswith(f"{each}.") or each.startswith(f"{key}.") for each in keys)

    return {key: value for key, value in values.items() if not is_swept(key)}
