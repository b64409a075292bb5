"""The gradients of one training step in double precision, by one process and by two.

The code casts to float32 in several places; here that casts to float64 instead.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import torch
import torch._dynamo  # which an optimizer brings in: here once, and not in each process
from torch import Tensor, multiprocessing

from mlcycle.training.data.samples import Samples, Share, Steps, collate
from mlcycle.training.data.sampling_order import make_order
from mlcycle.training.data.training_data import load_training_data
from mlcycle.training.distributed import process_group
from mlcycle.training.recipes.recipe_file import load
from mlcycle.training.trainer import Trainer

CHANGES = ("schedule.precision=float32", "schedule.batch=8")


def compute_gradients(rank: int, recipe_path: Path, file: Path, processes: int, accumulation: int) -> None:
    if processes > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    recipe = load(recipe_path, CHANGES)
    with process_group.joined(torch.device("cpu")) as group:
        training_data = load_training_data(recipe.data)
        trainer = Trainer(recipe, torch.device("cpu"), group)
        trainer.noise_TT3 = trainer.noise_TT3.double()
        if trainer.teacher:
            trainer.teacher.precision = torch.float64
            trainer.teacher.network.double()
        order = make_order(recipe.data.order, training_data.train, training_data.weights, recipe.seed)
        samples = Samples(training_data.train, order, recipe.augment, recipe.seed)
        share = Share(group.rank, group.size, accumulation)
        batches = [
            collate(samples.__getitems__(keys))._each(lambda each: each.double() if each.is_floating_point() else each)
            for keys in Steps(range(1), recipe.schedule.batch, recipe.augment, recipe.seed, share)
        ]
        losses = trainer.step(batches, 0, 1e-12)
        if group.is_main:
            found: dict[str, Tensor] = {name: each.grad for name, each in trainer.model.named_parameters()}
            torch.save(found | losses | dict(trainer.model.named_buffers()), file)


def free_port() -> int:
    """Returns a free port below the ephemeral range, so that no other program gets it before it is used."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as trial, suppress(OSError):
            trial.bind(("127.0.0.1", port))
            return port
    raise OSError("all ports are taken")


def write_gradients(folder: Path, trials: list[tuple[Path, int]]) -> None:
    """Writes FOLDER/N-PROCESSES.pt for the N-th pair of a recipe and a number of parts; changes torch for good."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = lambda tensor: tensor.double()  # type: ignore[method-assign,assignment]
    os.environ["MASTER_PORT"] = str(free_port())
    for number, (recipe_path, accumulation) in enumerate(trials):
        for processes in (1, 2):
            words = (recipe_path, folder / f"{number}-{processes}.pt", processes, accumulation)
            # Forked, because importing torch takes seconds.
            multiprocessing.start_processes(compute_gradients, words, nprocs=processes, start_method="fork")
