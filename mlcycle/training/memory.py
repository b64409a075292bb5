"""Probes before a run starts whether a step fits into the device's memory, instead of failing hours later."""

from __future__ import annotations

import math
import os
import sys
import warnings

import torch

from mlcycle.counted import counted
from mlcycle.errors import DeviceError, UsageError
from mlcycle.training.data.samples import crops_per_step
from mlcycle.training.data.synthetic_batch import synthetic_batch
from mlcycle.training.distributed.process_group import ProcessGroup
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.trainer import Trainer

# Faces in each image of a probe: as many as a crop of a crowd has.
FACES = 50
# Out-of-memory messages of GPU drivers and Apple's allocator; CUDA's libraries; torch's CPU allocator, its convolution
# library, and the C++ standard library.
OUT_OF_MEMORY_MESSAGES = (
    "out of memory",
    "STATUS_ALLOC_FAILED",
    "can't allocate memory",
    "could not create a primitive",
    "could not create a memory",
    "bad_alloc",
)
# The exit code with which a forked probe reports that memory ran out.
RAN_OUT = 3
# The optimizer's state exists from the second step on.
STEPS = 2


def can_run_out(device: torch.device) -> bool:
    """Returns whether the device reports an error for a step that is too large.

    On a CPU the system overcommits memory, unless the process has a limit (ulimit -v).
    """
    if device.type != "cpu":
        return True
    if sys.platform == "win32":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def accumulation_for(recipe: Recipe, device: torch.device, group: ProcessGroup, least: int = 1) -> int:
    """Returns the number of accumulation parts of a step: the recipe's or, if it is null, the smallest that fits.

    Raises:
        UsageError: a step has too few images for so many parts.
        DeviceError: see `find_accumulation`.
    """
    must_be_enough(recipe, group, recipe.schedule.accumulation or least)
    if recipe.schedule.accumulation is not None:
        return recipe.schedule.accumulation
    # All processes probe if one has to, because they wait for each other.
    return find_accumulation(recipe, device, group, least) if group.any(can_run_out(device)) else least


def find_accumulation(recipe: Recipe, device: torch.device, group: ProcessGroup, least: int) -> int:
    """Returns the smallest number of parts in which a step fits into the memory of every process's device.

    Args:
        least: the first number to try; it is then doubled.

    Raises:
        DeviceError: even the smallest part does not fit.
    """
    accumulation = least
    while not _fits(recipe, device, group.size * accumulation, group):
        if 2 * accumulation > max_parts(recipe, group.size):
            raise DeviceError(
                f"a step does not fit into the memory of {device}, not even in {counted(accumulation, 'part')}",
                "lower augment.crop or model.width, or end other programs that use the device",
            )
        accumulation *= 2
    return accumulation


def max_parts(recipe: Recipe, processes: int) -> int:
    """Returns the largest number of parts of a step in which every process has an image of each part.

    0 if the step has fewer images than there are processes. A part needs two images, because on a coarse grid one
    image can be a single cell, which has no variance to normalise by.
    """
    images = crops_per_step(recipe.schedule.batch, is_large=recipe.augment.large > 0)
    return images // max(2, processes)


def must_be_enough(recipe: Recipe, group: ProcessGroup, accumulation: int) -> None:
    """Raises UsageError if a step has too few images for its accumulation parts and processes."""
    if accumulation > max_parts(recipe, group.size):
        raise UsageError(
            f"a step of schedule.batch={recipe.schedule.batch} cannot be split into"
            f" schedule.accumulation={accumulation} parts with --devices {group.size}: each part needs at least two"
            " images, and one for each device"
            + ("; steps of large crops have a quarter as many" if recipe.augment.large else ""),
            "raise schedule.batch, or lower --devices or schedule.accumulation",
        )


def _fits(recipe: Recipe, device: torch.device, pieces: int, group: ProcessGroup) -> bool:
    """Probes steps of the size that this process would have to make; returns whether they fit in all processes."""
    rule, batch = recipe.augment, recipe.schedule.batch
    sizes = [(crops_per_step(batch, is_large=False), rule.crop)]
    if rule.large:
        sizes.append((crops_per_step(batch, is_large=True), 2 * rule.crop))
    parts = [(max(2, math.ceil(count / pieces)), side) for count, side in sizes]
    return not group.any(_runs_out_in_fork(recipe, parts) if device.type == "cpu" else _runs_out(recipe, device, parts))


def _runs_out(recipe: Recipe, device: torch.device, parts: list[tuple[int, int]]) -> bool:
    ran_out = False
    try:
        _probe(recipe, device, parts)
    except (RuntimeError, MemoryError) as problem:
        if not is_out_of_memory(problem):
            raise
        ran_out = True
    if ran_out:
        # An aborted backward pass keeps its tensors until the next one starts.
        torch.zeros((), device=device, requires_grad=True).backward()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    return ran_out


def _runs_out_in_fork(recipe: Recipe, parts: list[tuple[int, int]]) -> bool:
    """Probes in a fork of this process, on one thread, because a fork has no others.

    On a CPU, torch's convolution library may crash when memory runs out, or fail in every later call.
    """
    cpu = torch.device("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about forking a process with threads
        child = os.fork()
    if not child:
        failed = 1
        try:
            torch.set_num_threads(1)
            failed = RAN_OUT if _runs_out(recipe, cpu, parts) else 0
        finally:
            os._exit(failed)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code > 0 and code != RAN_OUT:
        return _runs_out(recipe, cpu, parts)  # raises the child's error in this process
    return code != 0


def _probe(recipe: Recipe, device: torch.device, sizes: list[tuple[int, int]]) -> None:
    """Makes steps of these sizes (images and their side) outside the process group, so that a process that runs out of
    memory does not leave others waiting."""
    trainer = Trainer(recipe, device, ProcessGroup())
    for step in range(STEPS):
        for count, side in sizes:
            trainer.step([synthetic_batch(count, side, FACES)], step, recipe.schedule.learning_rate)


def is_out_of_memory(problem: BaseException) -> bool:
    """Returns whether an error means that the device ran out of memory; only CUDA's allocator has a class for it."""
    return isinstance(problem, torch.OutOfMemoryError | MemoryError) or any(
        each in str(problem) for each in OUT_OF_MEMORY_MESSAGES
    )
