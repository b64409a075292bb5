"""What a run keeps in its folder, and how it comes back from there.

Of several processes the first one alone reads and writes; the others are told.
"""

from __future__ import annotations

import copy
import hashlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcycle.artifact.bundled import FOLDER as BUNDLED
from mlcycle.errors import DataError
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.recipes.recipe_file import dump
from mlcycle.training.run import checkpoint
from mlcycle.training.run.checkpoint import Progress
from mlcycle.training.run.run_folder import BEST, CHECKPOINTS, RECIPE, RunFolder, describe_environment

if TYPE_CHECKING:
    from torch import nn

    from mlcycle.training.distributed.process_group import ProcessGroup
    from mlcycle.training.model.network import FaceNetwork
    from mlcycle.training.trainer import Trainer


class Records:
    """A run's folder, as all processes of a team see it.

    Attributes:
        notes: what people should be told before the run goes on.
        resumed_from: the checkpoint that the run goes on from; None at its beginning.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, group: ProcessGroup) -> None:
        self.recipe, self.folder, self.group = recipe, folder, group
        self.notes: list[str] = []
        self.resumed_from: Path | None = None
        self.started_from: str | None = None

    def opened(self, resume: bool) -> AbstractContextManager:
        """Makes the folder, or finds it, and returns what holds it against other runs.

        Raises:
            InputError: it exists, where a new one is wanted, or does not, or another process holds it.
        """
        if not self.group.is_main:
            return nullcontext()
        if resume:
            self.folder.must_exist()
        else:
            self.folder.create()
        return self.folder.locked()

    def begin(self) -> None:
        """Writes the recipe of a new run."""
        if self.group.is_main:
            self.folder.write(RECIPE, dump(self.recipe))

    def give_up(self) -> None:
        """Removes a new run in which nothing was learnt, so that it can be begun again."""
        if self.group.is_main:
            self.folder.remove_if_untrained()

    def restore(self, trainer: Trainer) -> Progress:
        """Brings a learner to where the run is: to its newest checkpoint or, at the beginning, to the weights that the
        recipe starts from.

        Raises:
            DataError: no checkpoint can be read, or there are no such weights.
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
            self.notes.append("no checkpoint had been saved: it begins anew")
        self.folder.forget_metrics_after(0, 0)
        self.started_from = load_start_weights(self.recipe, trainer)
        return Progress()

    def note_environment(self, progress: Progress, figures: dict[str, Any], machine: dict[str, Any]) -> None:
        """Notes how the run came about, or with what it is gone on with.

        Args:
            progress: how far it is.
            figures: of the data.
            machine: what of it has a hand in the numbers; `device` in words.

        Raises:
            DataError: the data is not what the run was begun with.
        """
        if not self.group.is_main:
            return
        now = {
            **describe_environment(machine["device"], figures),
            **machine,
            "recipe_sha256": hashlib.sha256(dump(self.recipe).encode()).hexdigest(),
            "started_from": self.started_from,
        }
        others = self.folder.note_environment(now, progress.step if self.resumed_from else None)
        if others:
            self.notes.append(f"begun with {'; '.join(others)}: the weights will not be those of an unbroken run")

    def accumulation(self) -> int | None:
        """Returns in how many parts the run has made its steps so far; None at its beginning."""
        noted = None
        if self.group.is_main and self.resumed_from is not None:
            noted = self.folder.environment().get("accumulation", 1)
        return self.group.broadcast(noted)

    def add(self, entry: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        if self.group.is_main:
            self.folder.append_metrics(entry)

    def save_step(self, trainer: Trainer, progress: Progress) -> None:
        """Saves all that the run needs to go on from here, and drops the oldest."""
        if self.group.is_main:
            checkpoint.save(self.folder.checkpoint_path(progress.step), self._collect(trainer), progress)
            self.folder.drop_old_checkpoints(self.recipe.schedule.keep_checkpoints, progress.step)

    def save_best(self, trainer: Trainer, progress: Progress) -> None:
        """Saves it as the best so far."""
        if self.group.is_main:
            checkpoint.save(self.folder.checkpoints / BEST, self._collect(trainer), progress)

    def improve_best(self, ema: nn.Module, progress: Progress) -> None:
        """Saves another EMA in the place of that of the best so far."""
        if self.group.is_main:
            tensors = checkpoint.load(self.folder.checkpoints / BEST)[0]
            improved = {f"average.{name}": value.cpu().contiguous() for name, value in ema.state_dict().items()}
            checkpoint.save(self.folder.checkpoints / BEST, tensors | improved, progress)

    def best(self, trainer: Trainer) -> FaceNetwork:
        """Returns a copy of the EMA with the weights that were the best so far, in all processes.

        Raises:
            DataError: they cannot be read.
        """
        network = copy.deepcopy(trainer.ema)
        if self.group.is_main:
            checkpoint.load_weights(checkpoint.load(self.folder.checkpoints / BEST)[0], network, "average")
        network.load_state_dict(self.group.broadcast(network.state_dict()))
        return network

    def _collect(self, trainer: Trainer) -> dict[str, Any]:
        return checkpoint.collect(trainer.model, trainer.ema, trainer.optimizer)


def load_start_weights(recipe: Recipe, trainer: Trainer) -> str | None:
    """Gives a learner the weights that the recipe says to start from, if it names any; returns the file's sha256.

    Raises:
        DataError: there are none, or they are of another network.
    """
    if recipe.start_from is None:
        return None
    path = checkpoint.find_weights(recipe.start_from, CHECKPOINTS / BEST, BUNDLED)
    tensors, _ = checkpoint.load(path)
    for network in (trainer.model, trainer.ema):
        checkpoint.start(tensors, network, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()
