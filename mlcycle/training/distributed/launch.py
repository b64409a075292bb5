"""The conductor of `mlcycle train --devices`: PyTorch's torchrun starts and watches one process per device.

Each of them is an ordinary `mlcycle train` that reads its rank from the environment (process_group.py). Only the first
one prints messages; the output of the others is shown if they fail.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from mlcycle.errors import DeviceError, MlcycleError
from mlcycle.training import stopping
from mlcycle.training.distributed import failure, process_group
from mlcycle.training.distributed.device import available_processors, must_be_there
from mlcycle.training.distributed.failure import Failure

# Between a stop request and SIGKILL: enough for a step, or one image of an evaluation, and a checkpoint.
GRACE_SECONDS = 300


class ProcessFailedError(MlcycleError):
    """One of the processes failed. `trace` is its traceback or the end of its output; may be empty."""

    trace = ""


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """How several machines find each other; the default is a single machine.

    Attributes:
        nodes: the minimum and maximum number of machines.
        endpoint: HOST:PORT of one of them; "" for a single machine.
        restarts: how often all processes are restarted after one failed, or when a machine joins or leaves.
    """

    nodes: tuple[int, int] = (1, 1)
    endpoint: str = ""
    restarts: int = 0


def launch(arguments: Sequence[str], devices: int, device: str, rendezvous: Rendezvous, hint: str) -> int:
    """Runs `mlcycle` with these arguments once per device, and returns when all processes have ended.

    Args:
        arguments: of the command line.
        devices: on this machine.
        device: auto, cuda or cpu.
        hint: how to continue after a failure that has no hint of its own.

    Returns:
        the exit code: 0, or 128 + the signal after which the first process saved and reported.

    Raises:
        DeviceError: too few devices, or none of this kind; or the machines cannot reach each other.
        ProcessFailedError: a process failed; all have ended.
    """
    must_be_there(device, devices)
    # Divides the threads among all processes; torchrun would give each of them a single one.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_processors() // devices)))
    os.environ[failure.REPORTED_BY_LAUNCHER] = "1"
    os.environ[stopping.PARENT] = str(os.getpid())
    # Otherwise a restarted process joins the previous store, which still holds the addresses of ended processes.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    if rendezvous.nodes[0] != rendezvous.nodes[1]:
        os.environ[process_group.ELASTIC] = "1"
    _quieten_torchrun()
    with tempfile.TemporaryDirectory(prefix="mlcycle-processes-") as folder:
        try:
            elastic_launch(_config(devices, rendezvous, folder), sys.executable)("-m", "mlcycle", *arguments)
        except SignalException as stop:
            for rank, recorded in failure.recorded_failures(Path(folder)):
                if recorded.exit_code < 128 and not recorded.is_loss:  # it failed while it was stopping
                    raise _explained(rank, recorded, hint) from None
            return 128 + int(stop.sigval)
        except ChildFailedError as problem:
            rank, recorded = _first(problem, Path(folder))
            if recorded.exit_code > 128:
                return recorded.exit_code
            raise _explained(rank, recorded, hint) from None
        except RendezvousError as problem:
            raise DeviceError(
                f"the machines cannot connect at {rendezvous.endpoint or 'localhost'}: {problem}",
                f"check that the command runs there and that the other machines reach its port; {hint}",
            ) from None
    return 0


def _quieten_torchrun() -> None:
    """Silences torchrun's messages, because mlcycle reports signals and failures itself.

    Each of torchrun's modules has a logger with its own level.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _forwarded_signals() -> str:
    """Returns the names of the signals to forward: not those that the parent set to ignored, as nohup does."""
    names = [name for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]
    return ",".join(name for name in names if signal.getsignal(getattr(signal, name)) != signal.SIG_IGN)


def _config(devices: int, rendezvous: Rendezvous, folder: str) -> LaunchConfig:
    min_nodes, max_nodes = rendezvous.nodes
    # torch 2.10 lacks this field and gives the processes 30 seconds to save.
    has_timeout = "shutdown_timeout" in {each.name for each in fields(LaunchConfig)}
    timeout: dict[str, Any] = {"shutdown_timeout": GRACE_SECONDS} if has_timeout else {}
    return LaunchConfig(
        min_nodes=min_nodes,
        max_nodes=max_nodes,
        nproc_per_node=devices,
        run_id="mlcycle",
        rdzv_backend="c10d",
        rdzv_endpoint=rendezvous.endpoint or "localhost:0",
        local_addr=None if rendezvous.endpoint else "localhost",
        max_restarts=rendezvous.restarts,
        logs_specs=DefaultLogsSpecs(folder, redirects=dict.fromkeys(range(1, devices), Std.ALL)),
        signals_to_handle=_forwarded_signals(),
        **timeout,
    )


def _first(problem: ChildFailedError, folder: Path) -> tuple[int, Failure]:
    """Returns the rank and failure of the process that most likely made the others fail; the first of several."""
    rank, first = min(problem.failures.items(), key=lambda item: (_order(item[1]), item[1].timestamp, item[0]))
    output = failure.last_output(folder, first.local_rank)
    return rank, failure.parse(first.error_file_data) or _unrecorded(first, output)


def _explained(rank: int, recorded: Failure, hint: str) -> ProcessFailedError:
    text = recorded.sentence if rank == 0 else f"process {rank} of the training: {recorded.sentence}"
    found = ProcessFailedError(text, recorded.hint or hint)
    found.exit_code, found.trace = recorded.exit_code, recorded.trace
    return found


def _order(each: ProcessFailure) -> int:
    """Returns 0 for a process that failed by itself, up to 3 for one that most likely failed because another did."""
    recorded = failure.parse(each.error_file_data)
    if recorded:
        return 2 if recorded.is_loss else 0
    return 1 if each.exitcode < 0 and each.exitcode != -signal.SIGTERM else 3


def _unrecorded(each: ProcessFailure, output: str) -> Failure:
    if each.exitcode < 0:
        name = signal.Signals(-each.exitcode).name
        return Failure(f"it was killed by {name}; all processes have ended", "", 1, output)
    return Failure(f"it ended with exit code {each.exitcode}; all processes have ended", "", 1, output)
