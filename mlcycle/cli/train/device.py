"""Where a training computes, as the options of several commands name it, and how several devices are started."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import typer

from mlcycle.cli import console
from mlcycle.errors import DataError, UsageError


class Device(StrEnum):
    auto = "auto"
    cuda = "cuda"
    mps = "mps"
    cpu = "cpu"


@dataclass(frozen=True, slots=True)
class Devices:
    """How many devices of this machine train, and with how many other machines, as the options say it."""

    count: int
    device: Device
    nodes: str
    rendezvous: str
    restarts: int


def must_not_be_lost(devices: int | None, nodes: str, rendezvous: str, restarts: int) -> None:
    """Raises UsageError where options are given that only --devices heeds, and it is not."""
    if devices is None and (nodes != "1" or rendezvous or restarts):
        raise UsageError(
            "--nodes, --rendezvous and --restarts do nothing without --devices",
            "say how many devices of this machine train, be it one: --devices 1",
        )


def launch(words: Sequence[str], run: Path, wanted: Devices) -> None:
    """Trains on several devices, each by a `mlcycle train` of its own with these words.

    Raises:
        UsageError: the options contradict each other.
        DeviceError, ProcessFailedError: see mlcycle.training.distributed.launch.
        Exit: a signal came; what became of the run has been said.
    """
    if is_one_of_several():
        raise UsageError("this process is one of several already", "leave --devices to torchrun: --nproc-per-node")
    nodes = re.fullmatch(r"([1-9]\d*)(?::([1-9]\d*))?", wanted.nodes)
    if not nodes:
        raise UsageError(f"--nodes {wanted.nodes} is no number of machines", "write 2, or 1:4 for one to four")
    least, most = int(nodes[1]), int(nodes[2] or nodes[1])
    if least > most or (most > 1) != bool(wanted.rendezvous):
        raise UsageError(
            f"--nodes {wanted.nodes} and --rendezvous {wanted.rendezvous or '(none)'} do not fit each other",
            "several machines meet at one of them: --nodes 2 --rendezvous HOST:29400, the same on each",
        )
    from mlcycle.training.distributed.launch import ProcessFailedError, Rendezvous, launch
    from mlcycle.training.run.run_folder import RunFolder

    quiet = ["--quiet"] if console.is_quiet() else []
    is_ours = "--resume" not in words and RunFolder(run).is_new()
    try:
        code = launch(
            [*quiet, "train", *words, "--device", wanted.device.value],
            wanted.count, wanted.device.value, Rendezvous((least, most), wanted.rendezvous, wanted.restarts),
            f"if it has saved anything, mlcycle train --resume {run} --devices {wanted.count} goes on",
        )  # fmt: skip
    except ProcessFailedError as problem:
        console.trace(problem.trace)
        if is_ours and problem.exit_code == DataError.exit_code:
            RunFolder(run).remove_if_untrained()  # which process met the bad image makes no difference
        raise
    if code:
        raise typer.Exit(code)


def is_one_of_several() -> bool:
    """Tells whether torchrun has started this process: whoever called it has been told what is to be trained."""
    return "LOCAL_WORLD_SIZE" in os.environ


def is_main() -> bool:
    """Tells whether this process is the only one, or the first of those that train together: the one that talks."""
    return not is_one_of_several() or os.environ["RANK"] == "0"
