"""The process group that trains one network: one process per device, started by PyTorch's torchrun.

torchrun sets each process's rank and the group's size in its environment (RANK, WORLD_SIZE, LOCAL_RANK,
LOCAL_WORLD_SIZE), and the address to connect to. A process that torchrun did not start is a group of one, for which
all methods here are free.
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

# How long one process waits for another: decoding images or an evaluation may take hours. A process that has ended is
# noticed at once.
TIMEOUT = timedelta(hours=6)

# Set by the launcher of a training whose number of machines can change.
ELASTIC = "MLCYCLE_ELASTIC"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process's rank and the number of processes, in all and on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Returns whether this is the process that writes files and prints messages."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Returns the sum of a tensor over all processes; may change the tensor in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def any(self, own: bool) -> bool:
        """Returns, in all processes, whether `own` is true in at least one of them."""
        return bool(self.all_reduce(torch.tensor(int(own)))) if self.size > 1 else own

    def barrier(self) -> None:
        """Returns when all processes have reached this call."""
        self.any(False)

    def all_gather(self, own: Value) -> list[Value]:
        """Returns, in all processes, the values of all of them by rank."""
        if self.size == 1:
            return [own]
        of_all: list[Value | None] = [None] * self.size
        distributed.all_gather_object(of_all, own)
        return of_all  # type: ignore[return-value]

    def broadcast(self, own: Value) -> Value:
        """Returns, in all processes, the value of the first one."""
        given = [own]
        if self.size > 1:
            distributed.broadcast_object_list(given, src=0, device=torch.device("cpu"))
        return given[0]


def from_environment() -> ProcessGroup:
    """Returns the process group that the environment describes, without joining it.

    Raises:
        UsageError: the environment is incomplete.
    """
    if is_started_by_another():
        return ProcessGroup(
            *(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"))
        )
    if "LOCAL_RANK" in os.environ:
        raise UsageError(
            "LOCAL_RANK is set, but LOCAL_WORLD_SIZE is not",
            "start the processes by torchrun or mlcycle train --devices",
        )
    return ProcessGroup()


def is_started_by_another() -> bool:
    """Returns whether torchrun started this process, even if it is the only one."""
    # Clusters set WORLD_SIZE and RANK for their machines too, before torchrun runs.
    return "LOCAL_WORLD_SIZE" in os.environ


def may_resume() -> bool:
    """Returns whether an existing run folder may belong to this very training.

    This is so if torchrun has restarted this process, or if machines can join and leave, whereupon torchrun restarts
    all processes.
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 or ELASTIC in os.environ


@contextmanager
def joined(device: torch.device) -> Iterator[ProcessGroup]:
    """Joins the process group that the environment describes while its block runs."""
    group = from_environment()
    if group.size == 1:
        yield group
        return
    # CPU tensors are exchanged on the CPU, also when a GPU trains: a stop request must not wait for the GPU.
    backends = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backends, timeout=TIMEOUT)
    try:
        yield group
    except Interrupted:
        distributed.destroy_process_group()
        raise
    # Not after an error: NCCL would wait for the other processes, and they for data that this one no longer sends.
    distributed.destroy_process_group()
