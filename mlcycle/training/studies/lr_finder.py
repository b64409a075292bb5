"""The conductor of the learning-rate finder: a short training at a rising rate, which writes no run folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from mlcycle.errors import Interrupted, TrainingDivergedError
from mlcycle.training import memory
from mlcycle.training.data.batches import batches_of
from mlcycle.training.data.samples import Share, Steps
from mlcycle.training.data.training_data import TrainingData, load_training_data
from mlcycle.training.distributed.device import choose_device, describe, keep_memory, share_processors
from mlcycle.training.distributed.process_group import ProcessGroup
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.records import load_start_weights
from mlcycle.training.stopping import StopRequest
from mlcycle.training.studies import lr_curve
from mlcycle.training.studies.lr_curve import LrCurve
from mlcycle.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class LrRange:
    """The tried rates: `steps` from `low` to `high`, each larger than the one before by the same factor."""

    low: float
    high: float
    steps: int


def find_learning_rate(recipe: Recipe, tried: LrRange, device: str, advance: Callable[[int], None]) -> LrCurve:
    """Trains from the recipe's initial weights, at a rate that rises with each step, until the loss diverges.

    Batches, augmentation, optimizer and precision are those of the recipe; its learning-rate schedule is not used.

    Args:
        advance: called with 1 after each step.

    Raises:
        DeviceError, DataError: the device or the data cannot be used.
        Interrupted: a signal was received.
    """
    chosen = choose_device(device)
    training_data = load_training_data(recipe.data)
    keep_memory()
    rates = lr_curve.rates(tried.low, tried.high, tried.steps)
    losses: list[float] = []
    with StopRequest() as stop:
        for loss in _losses(recipe, training_data, chosen, rates):
            losses.append(loss)
            advance(1)
            if stop:
                raise Interrupted(
                    f"interrupted at step {len(losses)} of {tried.steps}", "start again", stop.signal_number
                )
            if lr_curve.has_diverged(losses):
                break
    has_diverged = lr_curve.has_diverged(losses)
    finite = losses if math.isfinite(losses[-1]) else losses[:-1]
    smoothed_N = lr_curve.smooth(finite, tried.steps)
    rates = rates[: len(finite)]
    suggestion = lr_curve.suggest(rates, finite, tried.steps) if finite else None
    return LrCurve(rates, finite, smoothed_N, suggestion, has_diverged, describe(chosen))


def _losses(recipe: Recipe, training_data: TrainingData, device: torch.device, rates: list[float]) -> Iterator[float]:
    """Yields the loss of each step, up to the first that is not finite."""
    # No step may count as one after the schedule's end, where batch normalisation uses its running statistics.
    steps_and_share = {"steps": max(recipe.schedule.steps, len(rates)), "frozen_normalisation": 0.0}
    schedule = recipe.schedule.model_copy(update=steps_and_share)
    recipe = recipe.model_copy(update={"schedule": schedule})
    readers = share_processors(device, recipe.schedule.workers)
    trainer = Trainer(recipe, device, ProcessGroup())
    load_start_weights(recipe, trainer)
    parts = memory.accumulation_for(recipe, device, ProcessGroup())
    steps = Steps(range(len(rates)), recipe.schedule.batch, recipe.augment, recipe.seed, Share(accumulation=parts))
    with batches_of(recipe, training_data, steps, readers, device) as batches:
        for step, rate in enumerate(rates):
            try:
                loss = trainer.step([next(batches) for _ in range(parts)], step, rate)["loss"].item()
            except TrainingDivergedError:
                yield math.inf
                return
            yield loss
