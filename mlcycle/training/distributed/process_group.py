"""The processes that train one network together, one for each device, as PyTorch's torchrun starts them.

torchrun tells each process by its environment which one of how many it is (RANK, WORLD_SIZE, LOCAL_RANK,
LOCAL_WORLD_SIZE) and where they meet. A process that was started without it is a team of one, for which nothing here
costs anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from mlcycle.errors import Interrupted, UsageError

# One process may wait this long for another: as long as decoding images or an evaluation may take. A process
# that has died is noticed at once, not after this time.
PATIENCE = timedelta(hours=6)

# Set by who starts a training of which machines may come and go.
COME_AND_GO = "MLCYCLE_MACHINES_COME_AND_GO"

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """Which one of how many processes this is, in all and on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Tells whether this is the process that writes and talks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Returns the sum of a tensor over all processes; the tensor itself may be changed."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def any(self, claim: bool) -> bool:
        """Tells whether the claim is true in one of the processes: the same answer in all of them."""
        return bool(self.sum(torch.tensor(int(claim)))) if self.size > 1 else claim

    def barrier(self) -> None:
        """Returns when all processes have come here."""
        self.any(False)

    def gather(self, own: Thing) -> list[Thing]:
        """Returns what each process gave, in the order of their ranks, in all of them."""
        if self.size == 1:
            return [own]
        of_all: list[Thing | None] = [None] * self.size
        distributed.all_gather_object(of_all, own)
        return of_all  # type: ignore[return-value]

    def broadcast(self, own: Thing) -> Thing:
        """Returns in all processes what the first one gave."""
        given = [own]
        if self.size > 1:
            distributed.broadcast_object_list(given, src=0, device=torch.device("cpu"))
        return given[0]


def told() -> ProcessGroup:
    """Returns the team that the environment tells of, without joining it.

    Raises:
        UsageError: it tells half of it.
    """
    if is_started_by_another():
        return ProcessGroup(
            *(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"))
        )
    if "LOCAL_RANK" in os.environ:
        raise UsageError(
            "LOCAL_RANK says that this process is one of several, and LOCAL_WORLD_SIZE does not say of how many",
            "let torchrun start them, or mlcycle train --devices",
        )
    return ProcessGroup()


def is_started_by_another() -> bool:
    """Tells whether torchrun has started this process, be it the only one."""
    # Clusters set WORLD_SIZE and RANK as well, of their machines, before anybody has called torchrun.
    return "LOCAL_WORLD_SIZE" in os.environ


def may_go_on() -> bool:
    """Tells whether a run that is there may be this training's own.

    torchrun has started this process in the place of one that came to an end, or machines come and go, at which it
    starts all anew.
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 or COME_AND_GO in os.environ


@contextmanager
def joined(device: torch.device) -> Iterator[ProcessGroup]:
    """Joins the team that the environment tells of while its block runs."""
    group = told()
    if group.size == 1:
        yield group
        return
    # What lies on the processor is exchanged there, also when a GPU trains: a wish to stop must not wait for the GPU.
    kinds = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(kinds, timeout=PATIENCE)
    try:
        yield group
    except Interrupted:
        distributed.destroy_process_group()
        raise
    # Not after an error: NCCL would wait for the others before it goes, and they for what this process no longer sends.
    distributed.destroy_process_group()
