"""The gradients of one training step in double precision: `gradients.py RECIPE FILE PROCESSES ACCUMULATION`.

The code casts to float32 in several places; here that casts to float64 instead.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import Tensor, multiprocessing

CHANGES = ("schedule.precision=float32", "schedule.batch=8")


def look(rank: int, recipe_path: str, file: str, processes: int, accumulation: int) -> None:
    if processes > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = lambda tensor: tensor.double()  # type: ignore[method-assign,assignment]
    from mlcycle.training import team
    from mlcycle.training.learner import Learner
    from mlcycle.training.material import gather
    from mlcycle.training.order import make_order
    from mlcycle.training.recipe_file import load
    from mlcycle.training.samples import Samples, Share, Steps, collate

    recipe = load(Path(recipe_path), CHANGES)
    with team.joined(torch.device("cpu")) as together:
        material = gather(recipe.data)
        learner = Learner(recipe, torch.device("cpu"), together)
        learner.noise_TT3 = learner.noise_TT3.double()
        if learner.teacher:
            learner.teacher.precision = torch.float64
            learner.teacher.network.double()
        order = make_order(recipe.data.order, material.train, material.weights, recipe.seed)
        samples = Samples(material.train, order, recipe.augment, recipe.seed)
        share = Share(together.rank, together.size, accumulation)
        batches = [
            collate(samples.__getitems__(keys))._each(lambda each: each.double() if each.is_floating_point() else each)
            for keys in Steps(range(1), recipe.schedule.batch, recipe.augment, recipe.seed, share)
        ]
        losses = learner.step(batches, 0, 1e-12)
        if together.is_first:
            found: dict[str, Tensor] = {name: each.grad for name, each in learner.model.named_parameters()}
            torch.save(found | losses | dict(learner.model.named_buffers()), file)


if __name__ == "__main__":
    recipe_path, file, processes, accumulation = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if processes == 1:
        look(0, recipe_path, file, 1, accumulation)
    else:
        import socket

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            os.environ["MASTER_PORT"] = str(free.getsockname()[1])
        multiprocessing.spawn(look, (recipe_path, file, processes, accumulation), nprocs=processes)
