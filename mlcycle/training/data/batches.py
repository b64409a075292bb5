"""Builds the samples of a recipe and the loader that reads them into batches, by worker processes or threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.utils.data import DataLoader

from mlcycle.datasets.member import ImagePath
from mlcycle.training.data.crop import Source
from mlcycle.training.data.samples import Batch, Samples, Steps, collate, end_readers, readable
from mlcycle.training.data.sampling_order import make_order
from mlcycle.training.data.training_data import TrainingData
from mlcycle.training.distributed.device import Readers
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.stopping import leave_signals_to_the_parent


def samples_of(
    recipe: Recipe, training_data: TrainingData, readers: Readers, decoded: Mapping[ImagePath, Source] | None = None
) -> Samples:
    """Returns the samples of a recipe's training data; images that are not in `decoded` are read from their files."""
    order = make_order(recipe.data.order, training_data.train, training_data.weights, recipe.seed)
    threads = 1 if readers.processes else readers.threads
    return Samples(training_data.train, order, recipe.augment, recipe.seed, decoded, threads)


def loader(samples: Samples, steps: Steps, readers: Readers, device: torch.device) -> DataLoader:
    """Returns a loader that yields a batch, or a DataError, for each part of each step.

    Args:
        readers: without worker processes, each batch is read when it is requested.
        device: where the batches are used; memory is pinned for a GPU.
    """
    return DataLoader(
        samples, batch_sampler=steps, num_workers=readers.processes, collate_fn=collate,
        pin_memory=device.type == "cuda", worker_init_fn=leave_signals_to_the_parent,
        prefetch_factor=2 * steps.share.accumulation if readers.processes else None,
    )  # fmt: skip


@contextmanager
def batches_of(
    recipe: Recipe, training_data: TrainingData, steps: Steps, readers: Readers, device: torch.device
) -> Iterator[Iterator[Batch]]:
    """Reads the batches of some steps outside of a run: a context with an iterator, which ends its readers.

    Raises:
        DataError: an image cannot be read; the iterator raises it when it reaches that image's batch.
    """
    results = iter(loader(samples_of(recipe, training_data, readers), steps, readers, device))
    try:
        yield map(readable, results)
    finally:
        end_readers(results)
