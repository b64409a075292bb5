"""The conductor of `mlcycle serve --engine ray`: a server on a Ray cluster that runs until it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable

from mlcycle.ray_engine.driver_process import driver_process
from mlcycle.ray_engine.driving import Start
from mlcycle.ray_serving.deployment import Deployment
from mlcycle.ray_serving.driver import HINT
from mlcycle.ray_serving.proxy import environment

# Ray's shared memory, through which large images and responses pass between its processes.
SHARED_BYTES = 512 << 20


def run(
    deployment: Deployment, address: str | None, cores: int | None, verbose: bool, report: Callable[..., None]
) -> None:
    """Serves until SIGTERM or SIGINT, then answers what was accepted, and returns.

    Args:
        deployment: its models have been verified.
        address: of a Ray cluster, "auto" or HOST:PORT; None starts one on this machine, which ends with the server.
        cores: of the cluster that is started.
        verbose: whether Ray's output goes to stderr.
        report: receives ("replicas", least, most) when the server listens; ("running", replicas) and ("problem",
            sentence) as they change; ("draining",) when it ends; ("no-reload",) at SIGHUP.

    Raises:
        DeviceError: the cluster is not reachable, cannot be started, or runs Ray Serve already.
        MlcycleError: a replica cannot start, or Ray ended.
        ModuleNotFoundError: Ray Serve is not installed.
    """
    start = Start(address, cores, verbose, SHARED_BYTES, environment(deployment.settings))
    with driver_process("mlcycle.ray_serving.driver", start, HINT) as process:
        process.send(deployment)
        report(*process.receive())

        def end(*_: object) -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            report("draining")
            process.say_nothing_more()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: report("no-reload"))
        while (message := process.receive()) is not None:
            report(*message)
