"""The device options of several commands, and the start of several devices."""

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
    """The options for several devices and machines."""

    count: int
    device: Device
    nodes: str
    rendezvous: str
    restarts: int


def must_not_be_lost(devices: int | None, nodes: str, rendezvous: str, restarts: int) -> None:
    """Raises UsageError if options that need --devices are given without it."""
    if devices is None and (nodes != "1" or rendezvous or restarts):
        raise UsageError(
            "--nodes, --rendezvous and --restarts have no effect without --devices",
            "add the number of devices of this machine, even if it is one: --devices 1",
        )


def launch(words: Sequence[str], run: Path, wanted: Devices) -> None:
    """Trains on several devices, with one `mlcycle train` process per device.

    Args:
        words: the arguments of these processes.

    Raises:
        UsageError: the options contradict each other.
        DeviceError, ProcessFailedError: see mlcycle.training.distributed.launch.
        Exit: a signal arrived; the first process has reported the state of the run.
    """
    if is_one_of_several():
        raise UsageError("this process was started by torchrun already", "use torchrun's --nproc-per-node instead")
    nodes = re.fullmatch(r"([1-9]\d*)(?::([1-9]\d*))?", wanted.nodes)
    if not nodes:
        raise UsageError(f"--nodes {wanted.nodes} is not a number of machines", "write 2, or 1:4 for one to four")
    least, most = int(nodes[1]), int(nodes[2] or nodes[1])
    if least > most or (most > 1) != bool(wanted.rendezvous):
        raise UsageError(
            f"--nodes {wanted.nodes} and --rendezvous {wanted.rendezvous or '(none)'} contradict each other",
            "for several machines, give the address of one of them on each: --nodes 2 --rendezvous HOST:29400",
        )
    from mlcycle.training.distributed.launch import ProcessFailedError, Rendezvous, launch
    from mlcycle.training.run.run_folder import RunFolder

    quiet = ["--quiet"] if console.is_quiet() else []
    is_ours = "--resume" not in words and RunFolder(run).is_new()
    try:
        code = launch(
            [*quiet, "train", *words, "--device", wanted.device.value],
            wanted.count, wanted.device.value, Rendezvous((least, most), wanted.rendezvous, wanted.restarts),
            f"if a checkpoint was saved, resume with: mlcycle train --resume {run} --devices {wanted.count}",
        )  # fmt: skip
    except ProcessFailedError as problem:
        console.trace(problem.trace)
        if is_ours and problem.exit_code == DataError.exit_code:
            RunFolder(run).remove_if_untrained()  # as a single process does
        raise
    if code:
        raise typer.Exit(code)


def is_one_of_several() -> bool:
    """Returns whether torchrun started this process; then the launcher has printed the messages about the run."""
    return "LOCAL_WORLD_SIZE" in os.environ


def is_main() -> bool:
    """Returns whether this is the only process, or the first of its group: the one that prints messages."""
    return not is_one_of_several() or os.environ["RANK"] == "0"
