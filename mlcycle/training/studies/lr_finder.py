"""The conductor of `mlcycle train find-rate`: a short training at a rising rate, and what its loss says. It writes
nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from mlcycle.errors import Interrupted, TrainingDivergedError
from mlcycle.training import memory
from mlcycle.training.data.batches import loader, samples_of
from mlcycle.training.data.samples import Share, Steps, end_readers, readable
from mlcycle.training.data.training_data import TrainingData, load_training_data
from mlcycle.training.distributed.device import choose_device, describe, keep_memory, share_processors
from mlcycle.training.distributed.process_group import ProcessGroup
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.records import load_start_weights
from mlcycle.training.stopping import StopRequest
from mlcycle.training.studies import lr_curve
from mlcycle.training.studies.lr_curve import Found
from mlcycle.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Range:
    """The rates that are tried: `steps` from `low` to `high`, each larger than the one before by the same factor."""

    low: float
    high: float
    steps: int


def find_rate(recipe: Recipe, wanted: Range, device: str, advance: Callable[[int], None]) -> Found:
    """Trains from the recipe's beginning, at rates that rise step by step, until its loss diverges.

    Batches, augmentation, optimizer and precision are the recipe's; its schedule plays no part.

    Args:
        advance: called with 1 after each step.

    Raises:
        DeviceError, DataError: the device or the data cannot be used.
        Interrupted: a signal came.
    """
    chosen = choose_device(device)
    training_data = load_training_data(recipe.data)
    keep_memory()
    rates = lr_curve.rates(wanted.low, wanted.high, wanted.steps)
    losses: list[float] = []
    with StopRequest() as stop:
        for loss in _losses(recipe, training_data, chosen, rates):
            losses.append(loss)
            advance(1)
            if stop:
                raise Interrupted(
                    f"interrupted at step {len(losses)} of {wanted.steps}", "begin anew", stop.signal_number
                )
            if lr_curve.has_diverged(losses):
                break
    has_diverged = lr_curve.has_diverged(losses)
    finite = losses if math.isfinite(losses[-1]) else losses[:-1]
    smoothed_N = lr_curve.smooth(finite, wanted.steps)
    tried = rates[: len(finite)]
    suggestion = lr_curve.suggest(tried, finite, wanted.steps) if finite else None
    return Found(tried, finite, smoothed_N, suggestion, has_diverged, describe(chosen))


def _losses(recipe: Recipe, training_data: TrainingData, device: torch.device, rates: list[float]) -> Iterator[float]:
    """Yields the loss of each step; one that is not finite is the last."""
    readers = share_processors(device, recipe.schedule.workers)
    trainer = Trainer(recipe, device, ProcessGroup())
    load_start_weights(recipe, trainer)
    parts = memory.accumulation_for(recipe, device, ProcessGroup())
    steps = Steps(range(len(rates)), recipe.schedule.batch, recipe.augment, recipe.seed, Share(accumulation=parts))
    batches = iter(loader(samples_of(recipe, training_data, readers), steps, readers, device))
    try:
        for step, rate in enumerate(rates):
            batch = [readable(next(batches)) for _ in range(parts)]
            try:
                loss = trainer.step(batch, step, rate)["loss"].item()
            except TrainingDivergedError:
                yield math.inf
                return
            yield loss
    finally:
        end_readers(batches)
