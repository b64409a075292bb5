"""Saves a run to its folder, and restores it from there.

Only the first process of a group reads and writes; it broadcasts what the others need.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcycle.errors import DataError
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.recipes.recipe_file import dump
from mlcycle.training.run import checkpoint
from mlcycle.training.run.checkpoint import Progress
from mlcycle.training.run.run_folder import BEST, RECIPE, RunFolder, describe_environment

if TYPE_CHECKING:
    from torch import nn

    from mlcycle.training.distributed.process_group import ProcessGroup
    from mlcycle.training.model.network import FaceNetwork
    from mlcycle.training.trainer import Trainer


class Records:
    """A run's folder, as all processes of the group see it.

    Attributes:
        notes: messages to show before the training starts.
        resumed_from: the checkpoint that the run resumes from; None at its start.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, group: ProcessGroup) -> None:
        self.recipe, self.folder, self.group = recipe, folder, group
        self.notes: list[str] = []
        self.resumed_from: Path | None = None
        self.started_from: str | None = None

    def opened(self, resume: bool) -> AbstractContextManager:
        """Creates the folder of a new run, or finds that of a resumed one; returns a context that locks it.

        Raises:
            InputError: a new run's folder exists, a resumed run's does not, or another process has locked it.
        """
        if not self.group.is_main:
            return nullcontext()
        if resume:
            self.folder.must_exist()
        else:
            self.folder.create()
        return self.folder.locked()

    def start(self) -> None:
        """Writes the recipe of a new run."""
        if self.group.is_main:
            self.folder.write(RECIPE, dump(self.recipe))

    def discard(self) -> None:
        """Removes a new run that has not trained yet, so that it can be started again."""
        if self.group.is_main:
            self.folder.remove_if_untrained()

    def restore(self, trainer: Trainer) -> Progress:
        """Restores a trainer from the run's newest checkpoint or, at its start, from the recipe's initial weights.

        Raises:
            DataError: no checkpoint can be read, or the initial weights do not exist.
        """
        progress = self._read(trainer) if self.group.is_main else Progress()
        if self.group.size > 1:
            mine = self._collect(trainer) if self.group.is_main else {}
            tensors, progress, self.resumed_from = self.group.broadcast((mine, progress, self.resumed_from))
            if not self.group.is_main:
                checkpoint.restore(tensors, trainer.model, trainer.ema, trainer.optimizer)
        return progress

    def _read(self, trainer: Trainer) -> Progress:
        self.folder.remove_drafts()
        for path in self.folder.checkpoint_paths():
            try:
                tensors, progress = checkpoint.load(path)
            except DataError as problem:
                self.notes.append(problem.message)
                continue
            self.notes.append(f"resumed from step {progress.step} ({path.name})")
            checkpoint.restore(tensors, trainer.model, trainer.ema, trainer.optimizer)
            progress, lost = checkpoint.restore_best_score(progress, self.folder.checkpoints / BEST)
            self.notes += lost
            self.folder.forget_metrics_after(progress.step, progress.evaluated_step)
            self.resumed_from = path
            return progress
        if self.notes:
            raise DataError(
                f"no checkpoint of {self.folder.path} can be read; the newest: {self.notes[0]}", "train again"
            )
        if self.folder.metrics():
            self.notes.append("no checkpoint had been saved: the training starts again")
        self.folder.forget_metrics_after(-1, -1)
        self.started_from = load_start_weights(self.recipe, trainer, self.notes.append)
        return Progress()

    def note_environment(self, progress: Progress, data: dict[str, Any], machine: dict[str, Any]) -> None:
        """Records the environment in which the run starts or resumes.

        Args:
            progress: the run's progress.
            data: the summary of the training data.
            machine: what can affect the numbers; `device` in words.

        Raises:
            DataError: the data has changed since the run was started.
        """
        if not self.group.is_main:
            return
        now = {
            **describe_environment(machine["device"], data),
            **machine,
            "recipe_sha256": hashlib.sha256(dump(self.recipe).encode()).hexdigest(),
            "started_from": self.started_from,
        }
        changes = self.folder.note_environment(now, progress.step if self.resumed_from else None)
        if changes:
            self.notes.append(f"started with {'; '.join(changes)}: the weights will differ from an uninterrupted run's")

    def accumulation(self) -> int | None:
        """Returns the number of accumulation parts of the run so far; None at its start."""
        noted = None
        if self.group.is_main and self.resumed_from is not None:
            noted = self.folder.environment().get("accumulation", 1)
        return self.group.broadcast(noted)

    def add(self, entry: dict[str, Any]) -> None:
        """Appends a line to metrics.jsonl."""
        if self.group.is_main:
            self.folder.append_metrics(entry)

    def save_step(self, trainer: Trainer, progress: Progress) -> None:
        """Saves a checkpoint to resume from, and removes the oldest one."""
        if self.group.is_main:
            checkpoint.save(self.folder.checkpoint_path(progress.step), self._collect(trainer), progress)
            self.folder.drop_old_checkpoints(self.recipe.schedule.keep_checkpoints, progress.step)

    def save_best(self, trainer: Trainer, progress: Progress) -> None:
        """Saves the best checkpoint so far."""
        if self.group.is_main:
            checkpoint.save(self.folder.checkpoints / BEST, self._collect(trainer), progress)

    def improve_best(self, ema: nn.Module, progress: Progress) -> None:
        """Replaces the EMA weights of the best checkpoint."""
        if self.group.is_main:
            tensors = checkpoint.load(self.folder.checkpoints / BEST)[0]
            improved = {f"average.{name}": value.cpu().contiguous() for name, value in ema.state_dict().items()}
            checkpoint.save(self.folder.checkpoints / BEST, tensors | improved, progress)

    def best(self, trainer: Trainer) -> FaceNetwork:
        """Returns, in all processes, a copy of the EMA network with the weights of the best checkpoint.

        Raises:
            DataError: they cannot be read.
        """
        network = copy.deepcopy(trainer.ema)
        if self.group.is_main:
            checkpoint.load_weights(checkpoint.load(self.folder.checkpoints / BEST)[0], network, "average")
        # On the CPU: a process would put tensors of the first one's GPU on that GPU.
        weights = {name: value.cpu() for name, value in network.state_dict().items()}
        network.load_state_dict(self.group.broadcast(weights))
        return network

    def _collect(self, trainer: Trainer) -> dict[str, Any]:
        return checkpoint.collect(trainer.model, trainer.ema, trainer.optimizer)


def load_start_weights(recipe: Recipe, trainer: Trainer, say: Callable[[str], None] = lambda text: None) -> str | None:
    """Initialises a trainer with the weights that the recipe starts from, if it names any; returns the file's sha256.

    Args:
        say: called with a sentence if only the weights, or only the network, have landmarks.

    Raises:
        DataError: the weights do not exist, or do not fit the network.
    """
    if recipe.start_from is None:
        return None
    path = checkpoint.find_weights(recipe.start_from)
    tensors, _ = checkpoint.load(path)
    for network in (trainer.model, trainer.ema):
        checkpoint.start(tensors, network, path)
    outputs = len(tensors["average.answer.weight"])
    if outputs > len(trainer.model.answer.weight):
        say(f"{recipe.start_from} has landmarks, which this run leaves out, because model.landmarks is false")
    elif outputs < len(trainer.model.answer.weight):
        say(f"{recipe.start_from} has no landmarks, so that their layer starts from random weights")
    return hashlib.sha256(path.read_bytes()).hexdigest()
