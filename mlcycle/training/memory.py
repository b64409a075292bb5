"""Whether the device has room for a step: tried before a run begins, instead of found out hours later."""

from __future__ import annotations

import math
import os
import sys
import warnings

import torch

from mlcycle.errors import DeviceError
from mlcycle.training.data.samples import fewest
from mlcycle.training.data.synthetic_batch import synthetic_batch
from mlcycle.training.distributed.process_group import ProcessGroup
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.trainer import Trainer

# Faces in each image of a trial: as many as crowds have in a crop.
FACES = 50
# A GPU's driver and Apple's allocator; libraries of CUDA; torch's allocator for a CPU, its library of convolutions, and
# that of C++.
SAYS = (
    "out of memory",
    "STATUS_ALLOC_FAILED",
    "can't allocate memory",
    "could not create a primitive",
    "could not create a memory",
    "bad_alloc",
)
# How a copy of the process says so that tried.
RAN_OUT = 3
# Two steps: what the optimizer remembers is there from the second on.
STEPS = 2


def can_run_out(device: torch.device) -> bool:
    """Tells whether a step that is too large for the device would be told so.

    A CPU's memory is lent out without looking, unless the process has a limit (ulimit -v).
    """
    if device.type != "cpu":
        return True
    if sys.platform == "win32":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def accumulation_for(recipe: Recipe, device: torch.device, group: ProcessGroup, least: int = 1) -> int:
    """Returns in how many parts a step is made: as the recipe says or, where it leaves that open, as few as fit.

    Raises:
        DeviceError: see `find_accumulation`.
    """
    if recipe.schedule.accumulation is not None:
        return recipe.schedule.accumulation
    # All try if one must, for they wait for each other.
    return find_accumulation(recipe, device, group, least) if group.any(can_run_out(device)) else least


def find_accumulation(recipe: Recipe, device: torch.device, group: ProcessGroup, least: int) -> int:
    """Returns in how few parts a step fits into the memory of the device, or of the smallest of the team's.

    Args:
        least: the first number that is tried; then twice as many, and so on.

    Raises:
        DeviceError: not even the smallest part fits.
    """
    accumulation = least
    while not _fits(recipe, device, group.size * accumulation, group):
        if 2 * accumulation > most_parts(recipe, group.size):
            raise DeviceError(
                f"{device} has no room for a step, not even in {accumulation} parts",
                "lower augment.crop or model.width, or end what else uses the device",
            )
        accumulation *= 2
    return accumulation


def most_parts(recipe: Recipe, processes: int) -> int:
    """Returns in how many parts a step can be made at most: each process is to have an image of each.

    0 where the step has fewer images than there are processes. A part needs two images, since on a coarse grid one
    may be one cell, which has no spread.
    """
    images = fewest(recipe.schedule.batch, is_large=recipe.augment.large > 0)
    return images // max(2, processes)


def _fits(recipe: Recipe, device: torch.device, pieces: int, group: ProcessGroup) -> bool:
    """Tries steps as large as this process would have to make; the team agrees on what came of it."""
    rule, batch = recipe.augment, recipe.schedule.batch
    sizes = [(fewest(batch, is_large=False), rule.crop)]
    if rule.large:
        sizes.append((fewest(batch, is_large=True), 2 * rule.crop))
    parts = [(max(2, math.ceil(count / pieces)), side) for count, side in sizes]
    return not group.any(_runs_out_apart(recipe, parts) if device.type == "cpu" else _runs_out(recipe, device, parts))


def _runs_out(recipe: Recipe, device: torch.device, parts: list[tuple[int, int]]) -> bool:
    ran_out = False
    try:
        _try(recipe, device, parts)
    except (RuntimeError, MemoryError) as problem:
        if not is_out_of_memory(problem):
            raise
        ran_out = True
    if ran_out:
        # What the backward pass had not come to waits, with all that it holds, until the next one begins.
        torch.zeros((), device=device, requires_grad=True).backward()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    return ran_out


def _runs_out_apart(recipe: Recipe, parts: list[tuple[int, int]]) -> bool:
    """Tries in a copy of this process, on one thread: a copy has no others.

    On a CPU, torch's library of convolutions may crash where memory ends, or refuse all that is asked of it afterwards.
    """
    cpu = torch.device("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of copies of a process that has threads
        copy = os.fork()
    if not copy:
        failed = 1
        try:
            torch.set_num_threads(1)
            failed = RAN_OUT if _runs_out(recipe, cpu, parts) else 0
        finally:
            os._exit(failed)
    ended = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    if ended > 0 and ended != RAN_OUT:
        return _runs_out(recipe, cpu, parts)  # raises what the copy had to keep to itself
    return ended != 0


def _try(recipe: Recipe, device: torch.device, sizes: list[tuple[int, int]]) -> None:
    """Makes steps of these sizes (images and their side), alone: who runs out must not leave others waiting."""
    alone = Trainer(recipe, device, ProcessGroup())
    for step in range(STEPS):
        for count, side in sizes:
            alone.step([synthetic_batch(count, side, FACES)], step, recipe.schedule.learning_rate)


def is_out_of_memory(problem: BaseException) -> bool:
    """Tells whether the device ran out of memory; only CUDA's allocator has an error of its own for it."""
    return isinstance(problem, torch.OutOfMemoryError | MemoryError) or any(each in str(problem) for each in SAYS)
