"""The conductor of `mlcycle train average`: the weights of several runs in, one file of their mean out.

Source: Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time". It works for runs that started from the same trained weights; the mean of unrelated networks
detects nothing. The statistics of a mean network are not the mean of statistics, so they are measured again, unless the
runs kept theirs in all steps: such weights fit the statistics that they were trained with, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mlcycle.errors import DataError, Interrupted
from mlcycle.training.data.batches import batches_of
from mlcycle.training.data.samples import Steps
from mlcycle.training.data.training_data import load_training_data
from mlcycle.training.distributed.device import choose_device, share_processors
from mlcycle.training.distributed.process_group import ProcessGroup
from mlcycle.training.model.network import architecture_of
from mlcycle.training.model.teacher import read_network
from mlcycle.training.recipes.recipe import Model, Recipe
from mlcycle.training.run import checkpoint
from mlcycle.training.stopping import StopRequest
from mlcycle.training.trainer import Trainer

# Batches on which the statistics are measured. They hardly change after some dozens.
BATCHES = 60


def average(sources: Sequence[str], recipe: Recipe, target: Path, device: str, advance: Callable[[int], None]) -> None:
    """Averages the EMA weights of runs, and measures the running statistics of the normalisations again.

    The statistics are those of the mean network on batches of the recipe, as training sees them; if its
    `frozen_normalisation` is 1, they are the mean of the runs' statistics.

    Args:
        sources: run folders, checkpoints, or bundled models' names; one that is given twice counts twice.
        recipe: whose images, batches and augmentation are used; of its schedule only `frozen_normalisation`.
        target: the file to write, from which a run can start; an existing one is replaced.
        advance: called with 1 after each of `BATCHES` batches, if there are any.

    Raises:
        DataError: weights do not exist or are of different networks, or images cannot be read.
        DeviceError: the device cannot be used.
        InputError: the file cannot be written.
        Interrupted: a signal was received; nothing was written.
    """
    state = mean_of([(name, read_network(name, "averaged")[0].state_dict()) for name in sources])
    chosen = choose_device(device)
    trainer = Trainer(_for_network(recipe, state), chosen, ProcessGroup())
    trainer.model.load_state_dict(state)
    if recipe.schedule.frozen_normalisation < 1:
        _measure(trainer, recipe, chosen, advance)
    checkpoint.save_weights(target, trainer.model)


def _measure(trainer: Trainer, recipe: Recipe, device: torch.device, advance: Callable[[int], None]) -> None:
    """Measures the running statistics of all normalisations on batches of the recipe."""
    forget_statistics(trainer.model)
    steps = Steps(range(BATCHES), recipe.schedule.batch, recipe.augment, recipe.seed)
    readers = share_processors(device, recipe.schedule.workers)
    training_data = load_training_data(recipe.data)
    with StopRequest() as stop, batches_of(recipe, training_data, steps, readers, device) as batches:
        for step in range(BATCHES):
            trainer.see(next(batches), step)
            advance(1)
            if stop:
                raise Interrupted("interrupted; nothing was written", "start again", stop.signal_number)


def mean_of(parts: Sequence[tuple[str, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """Returns the mean of networks' weights, computed in float64.

    Args:
        parts: (name, weights) of each network.

    Raises:
        DataError: they are of different networks; the error names two of them.
    """
    first_name, first = parts[0]
    for name, state in parts[1:]:
        if {key: value.shape for key, value in state.items()} != {key: value.shape for key, value in first.items()}:
            raise DataError(
                f"{first_name} and {name} have different networks, and cannot be averaged",
                "average runs of one recipe, or runs that started from the same weights",
            )
    return {
        key: torch.stack([state[key].double() for _, state in parts]).mean(0).to(value)
        if value.is_floating_point()
        else value
        for key, value in first.items()
    }


def forget_statistics(network: torch.nn.Module) -> None:
    """Makes each normalisation forget its running statistics; the next ones are means over all batches, equally."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None


def _for_network(recipe: Recipe, state: dict[str, Tensor]) -> Recipe:
    """Returns the recipe with the architecture of the weights, and without a teacher, which would only cost memory."""
    return recipe.model_copy(update={"model": Model(**architecture_of(state)), "teacher": None})
