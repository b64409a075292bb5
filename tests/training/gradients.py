"""The gradients of one training step in double precision, by one process and by two.

`gradients.py FOLDER RECIPE:ACCUMULATION …` writes FOLDER/N-PROCESSES.pt for the N-th of these. The code casts to
float32 in several places; here that casts to float64 instead.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import torch
import torch._dynamo  # which an optimizer brings in: here once, and not in each process
from torch import Tensor, multiprocessing

torch.set_default_dtype(torch.float64)
torch.Tensor.float = lambda tensor: tensor.double()  # type: ignore[method-assign,assignment]

from mlcycle.training.data.samples import Samples, Share, Steps, collate  # noqa: E402
from mlcycle.training.data.sampling_order import make_order  # noqa: E402
from mlcycle.training.data.training_data import load_training_data  # noqa: E402
from mlcycle.training.distributed import process_group  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.trainer import Trainer  # noqa: E402

CHANGES = ("schedule.precision=float32", "schedule.batch=8")


def compute_gradients(rank: int, recipe_path: str, file: str, processes: int, accumulation: int) -> None:
    if processes > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    recipe = load(Path(recipe_path), CHANGES)
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


def main(folder: str, *trials: str) -> None:
    os.environ["MASTER_PORT"] = str(free_port())
    for number, trial in enumerate(trials):
        recipe_path, _, accumulation = trial.rpartition(":")
        for processes in (1, 2):
            words = (recipe_path, f"{folder}/{number}-{processes}.pt", processes, int(accumulation))
            # Forked, because importing torch takes seconds.
            multiprocessing.start_processes(compute_gradients, words, nprocs=processes, start_method="fork")


if __name__ == "__main__":
    main(*sys.argv[1:])
