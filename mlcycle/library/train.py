"""`mlcycle.train`: a recipe and labelled images in, a run folder out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mlcycle.errors import UsageError
from mlcycle.extras import extra
from mlcycle.results import Run


def train(
    recipe: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto",
    quiet: bool = False,
) -> Run:
    """Trains a detector by a recipe into a run folder, as `mlcycle train` does on one device.

    Ctrl-C raises KeyboardInterrupt: what was saved last is kept, and `resume` continues from there. torch computes on
    other threads and with other random numbers while it runs; both are as before when it returns.

    Args:
        recipe: a recipe file, or the name of a bundled one; with `resume` the run folder to resume.
        overrides: values that replace the recipe's, by dotted key: {"schedule.steps": 200}.
        out: the run folder, a new one; None takes runs/NAME.
        resume: continue a run that was interrupted, with its own recipe.
        device: where to compute; auto takes the first available of cuda, mps and cpu.
        quiet: show nothing; else progress goes to stderr.

    Raises:
        MissingExtraError: the extra `train` is not installed.
        RecipeError: the recipe or an override is wrong.
        DataError, InputError, DeviceError: the data, the folder or the device cannot be used.
        TrainingDivergedError: the loss is not finite.
    """
    name, given = os.fspath(recipe), [f"{key}={_as_yaml(value)}" for key, value in (overrides or {}).items()]
    target = None if out is None else Path(out)
    with extra("train", "mlcycle.train"):
        from mlcycle.training import run_setup

        choose = run_setup.resumed_run if resume else run_setup.new_run
        chosen, folder = choose(name, given, target)
        # torch takes seconds to import: a recipe that is wrong has been refused before.
        from mlcycle.training.distributed.device import preserved_torch_state
        from mlcycle.training.fit import fit
        from mlcycle.training.run.run_folder import RunOptions
    with preserved_torch_state():
        return fit(chosen, folder, device=device, resume=resume, quiet=quiet, options=RunOptions(own_process=False))


def _as_yaml(value: Any) -> str:
    """Returns a value as JSON, which is YAML too; a path becomes text."""
    try:
        return json.dumps(value, default=os.fspath, allow_nan=False)
    except (TypeError, ValueError):
        raise UsageError(
            f"{value!r} cannot be the value of a recipe", "give numbers, words, lists or mappings"
        ) from None
