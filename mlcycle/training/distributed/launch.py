"""The conductor of `mlcycle train --devices`: one process for each device, started and watched by PyTorch's torchrun.

Each of them is an ordinary `mlcycle train`, told by its environment which one it is (team.py). The first one talks; the
others are heard only when they fail.
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

# Between a wish to stop and SIGKILL: enough for a step, or one image of an evaluation, and a checkpoint.
GRACE_SECONDS = 300


class ProcessFailedError(MlcycleError):
    """One of the processes failed. `trace` is where it did, or what it said last; empty where that is no news."""

    trace = ""


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """Where the machines that train together meet; by default this one is alone.

    Attributes:
        machines: the least and the most.
        place: HOST:PORT of one of them; empty where there is one alone.
        restarts: how often all processes are started again after one has failed, or when a machine comes or goes.
    """

    machines: tuple[int, int] = (1, 1)
    place: str = ""
    restarts: int = 0


def launch(words: Sequence[str], devices: int, device: str, meeting: Rendezvous, hint: str) -> int:
    """Runs `mlcycle` with these words once for each device, and returns when all have ended.

    Args:
        words: of the command line.
        devices: on this machine.
        device: auto, cuda or cpu.
        hint: how to go on after a failure that has no hint of its own.

    Returns:
        the exit code: 0 or, where a signal came and the first process has said what became of the run, 128 and it.

    Raises:
        DeviceError: there are not as many devices, or not of this kind; or the machines do not meet, or no longer.
        ProcessFailedError: one did; all have ended.
    """
    must_be_there(device, devices)
    # Threads for all processes, where torchrun would give each of them a single one.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_processors() // devices)))
    os.environ[failure.REPORTED_BY_LAUNCHER] = "1"
    os.environ[stopping.PARENT] = str(os.getpid())
    # Else who is started again meets at the store of before, and finds there the addresses of those who have died.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    if meeting.machines[0] != meeting.machines[1]:
        os.environ[process_group.COME_AND_GO] = "1"
    _quieten_torchrun()
    with tempfile.TemporaryDirectory(prefix="mlcycle-processes-") as folder:
        try:
            elastic_launch(_config(devices, meeting, folder), sys.executable)("-m", "mlcycle", *words)
        except SignalException as stop:
            for rank, noted in failure.recorded_failures(Path(folder)):
                if noted.exit_code < 128 and not noted.is_loss:  # it failed, on its way to the end
                    raise _explained(rank, noted, hint) from None
            return 128 + int(stop.sigval)
        except ChildFailedError as problem:
            rank, noted = _first(problem, Path(folder))
            if noted.exit_code > 128:
                return noted.exit_code
            raise _explained(rank, noted, hint) from None
        except RendezvousError as problem:
            raise DeviceError(
                f"the machines that train together do not meet at {meeting.place or 'localhost'}: {problem}",
                f"see that the command runs there and that the others reach its port; {hint}",
            ) from None
    return 0


def _quieten_torchrun() -> None:
    """What is to be said of signals and failures, we say; each of its modules has a logger with a level of its own."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _heard() -> str:
    """Names the signals that are handed on: not what this process was told to ignore, as nohup does with hang-ups."""
    names = [name for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]
    return ",".join(name for name in names if signal.getsignal(getattr(signal, name)) != signal.SIG_IGN)


def _config(devices: int, meeting: Rendezvous, folder: str) -> LaunchConfig:
    least, most = meeting.machines
    # torch 2.10 does not know it: there they have 30 seconds to save.
    is_known = "shutdown_timeout" in {each.name for each in fields(LaunchConfig)}
    patience: dict[str, Any] = {"shutdown_timeout": GRACE_SECONDS} if is_known else {}
    return LaunchConfig(
        min_nodes=least,
        max_nodes=most,
        nproc_per_node=devices,
        run_id="mlcycle",
        rdzv_backend="c10d",
        rdzv_endpoint=meeting.place or "localhost:0",
        local_addr=None if meeting.place else "localhost",
        max_restarts=meeting.restarts,
        logs_specs=DefaultLogsSpecs(folder, redirects=dict.fromkeys(range(1, devices), Std.ALL)),
        signals_to_handle=_heard(),
        **patience,
    )


def _first(problem: ChildFailedError, folder: Path) -> tuple[int, Failure]:
    """Returns which process failed first, and why; one that only lost another counts where no other says why."""
    rank, first = min(problem.failures.items(), key=lambda item: (_weight(item[1]), item[1].timestamp, item[0]))
    return rank, failure.read(first.error_file_data) or _unnoted(first, failure.last_output(folder, first.local_rank))


def _explained(rank: int, noted: Failure, hint: str) -> ProcessFailedError:
    text = noted.sentence if rank == 0 else f"process {rank} of the training: {noted.sentence}"
    found = ProcessFailedError(text, noted.hint or hint)
    found.exit_code, found.trace = noted.exit_code, noted.trace
    return found


def _weight(each: ProcessFailure) -> int:
    """Tells how surely a process failed by itself (0), rather than since another did (3)."""
    noted = failure.read(each.error_file_data)
    if noted:
        return 2 if noted.is_loss else 0
    return 1 if each.exitcode < 0 and each.exitcode != -signal.SIGTERM else 3


def _unnoted(each: ProcessFailure, said: str) -> Failure:
    if each.exitcode < 0:
        name = signal.Signals(-each.exitcode).name
        return Failure(f"it was killed by {name}; all have ended", "", 1, said)
    return Failure(f"it has ended with exit code {each.exitcode}; all have ended", "", 1, said)
