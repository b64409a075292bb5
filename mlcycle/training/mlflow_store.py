"""A run in the form of MLflow's file store: a folder `mlruns` of small texts, which MLflow reads and can take over.

It is written here and not by MLflow, whose smallest package brings two dozen others, refuses to write its own file
store unless told to, and reports its use to its makers unless told not to. Nothing here needs it, or any network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from mlcycle.errors import InputError
from mlcycle.training.run.run_folder import RECIPE
from mlcycle.training.run.run_summary import Story

EXPERIMENT = "mlcycle"
META = "meta.yaml"
# MLflow's numbers for how a run stands, and for what started it: a program of this machine.
RUNNING, FINISHED, LOCAL = 1, 3, 4


def log(story: Story, store: Path, *, overwrite: bool) -> Path:
    """Writes a run into a store, which is made if it is not there; returns the folder of the run in it.

    Its recipe becomes parameters, metrics.jsonl becomes metrics; the times are those of the run's files. The same run
    always has the same number, so that it is not there twice.

    Raises:
        InputError: the run is in the store already and may not be replaced, or nothing can be written there.
    """
    experiment = store / str(int(_digest(EXPERIMENT)[:15], 16))
    first = {key: value for key, value in story.environment.items() if key != "resumed"}
    number = _digest(story.recipe_text, json.dumps(first), json.dumps(story.metrics[:1]))[:32]
    run = experiment / number
    if run.exists() and not overwrite:
        raise InputError(f"{story.path} is in {store} already, as {number}", "say --overwrite to replace it")
    temporary = store / f".{number}.{os.getpid()}.part"
    try:
        experiment.mkdir(parents=True, exist_ok=True)
        if not (experiment / META).exists():
            _write(experiment / META, yaml.safe_dump(_experiment(experiment, _began(story))))
        _write_run(story, temporary, run)
        shutil.rmtree(run, ignore_errors=True)
        temporary.replace(run)
    except OSError as problem:
        raise InputError(f"{store} cannot be written: {problem.strerror}", "choose another place: --to DIR") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return run


def _write_run(story: Story, folder: Path, final: Path) -> None:
    for name in ("metrics", "params", "tags", "artifacts"):
        (folder / name).mkdir(parents=True)
    _write(folder / META, yaml.safe_dump(_run(story, final)))
    for key, value in story.flat_recipe().items():
        _write(folder / "params" / key, "" if value is None else str(value))
    for key, text in _tags(story).items():
        _write(folder / "tags" / key, text)
    for key, lines in _metrics(story).items():
        _write(folder / "metrics" / key, "".join(f"{line}\n" for line in lines))


def _experiment(folder: Path, began: int) -> dict[str, Any]:
    return {
        "artifact_location": folder.absolute().as_uri(),
        "creation_time": began,
        "experiment_id": folder.name,
        "last_update_time": began,
        "lifecycle_stage": "active",
        "name": EXPERIMENT,
    }


def _run(story: Story, folder: Path) -> dict[str, Any]:
    began = _began(story)
    return {
        "artifact_uri": (folder / "artifacts").absolute().as_uri(),
        "deleted_time": None,
        "end_time": began + round(story.seconds * 1000) if story.is_finished else None,
        "entry_point_name": "",
        "experiment_id": folder.parent.name,
        "lifecycle_stage": "active",
        "run_id": folder.name,
        "run_name": story.name,
        "run_uuid": folder.name,
        "source_name": "",
        "source_type": LOCAL,
        "source_version": "",
        "start_time": began,
        "status": FINISHED if story.is_finished else RUNNING,
        "tags": [],
        "user_id": "",
    }


def _tags(story: Story) -> dict[str, str]:
    tags = {"mlflow.runName": story.name, "mlcycle.device": story.environment.get("device")}
    tags |= {"mlflow.source.git.commit": story.environment.get("git_commit")}
    tags |= {f"mlcycle.data.{key}": value for key, value in story.data.items()}
    return {key: str(value) for key, value in tags.items() if value is not None}


def _metrics(story: Story) -> dict[str, list[str]]:
    """Returns for each metric its lines: milliseconds, value, step. An evaluation has no time; it follows a report."""
    began, now = _began(story), 0.0
    lines: dict[str, list[str]] = {}
    for entry in story.metrics:
        now = max(now, entry.get("seconds", 0.0))
        for key, value in entry.items():
            if key != "step" and isinstance(value, int | float):
                lines.setdefault(key, []).append(f"{began + round(now * 1000)} {value} {entry['step']}")
    return lines


def _began(story: Story) -> int:
    """Returns when the run was begun, in milliseconds: its recipe was written then."""
    return round((story.path / RECIPE).stat().st_mtime * 1000)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape")).hexdigest()


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8", errors="backslashreplace")
