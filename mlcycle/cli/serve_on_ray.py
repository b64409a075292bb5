"""The options of `mlcycle serve --engine ray`, and what it tells people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcycle.cli import console
from mlcycle.cli.infer.options import Engine, Provider
from mlcycle.counted import counted
from mlcycle.errors import UsageError
from mlcycle.extras import extra

if TYPE_CHECKING:
    from mlcycle.serving.served_model import ServedModel
    from mlcycle.serving.settings import Listening, ServerSettings

EngineOption = Annotated[
    Engine, typer.Option("--engine", help="Process images in this process, or in replicas that Ray Serve starts.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="Use this Ray cluster, or the one that auto finds. Default: start one on this machine.",
    ),
]
ReplicasOption = Annotated[
    str | None,
    typer.Option(
        "--replicas",
        metavar="MIN:MAX",
        help="With --engine ray, run so many replicas, by the load. Default: from 1 to one for each --workers cores.",
        show_default=False,
    ),
]


def must_fit(
    engine: Engine, address: str | None, replicas: str | None, provider: Provider, *, private: bool, port: int
) -> None:
    """Raises a UsageError if the engine does not support an option."""
    if engine is Engine.local:
        for option, value in (("--address", address), ("--replicas", replicas)):
            if value is not None:
                raise UsageError(f"{option} needs a Ray cluster", "add --engine ray")
        return
    if private:
        what = "--engine ray does not support --private: Ray connects its processes, and writes files"
        raise UsageError(what, "leave out --private, or --engine ray")
    if provider in (Provider.cuda, Provider.tensorrt):
        raise UsageError("--engine ray runs on CPUs", f"leave out --provider {provider}, or --engine ray")
    if address not in (None, "auto") and not re.fullmatch(r"[^/]+:\d{1,5}", address):
        raise UsageError(f"--address {address} is not a cluster address", "pass auto, or HOST:PORT")
    if address is not None and port == 0:
        raise UsageError("--port 0 would be another port on each node of a cluster", "pass one: --port 8000")
    if replicas is not None:
        replica_range(replicas)


def replica_range(text: str) -> tuple[int, int]:
    """Returns the least and the most of "MIN:MAX", or twice N of "N".

    Raises:
        UsageError: it is neither, or the least is 0 or above the most.
    """
    found = re.fullmatch(r"(\d{1,5})(?::(\d{1,5}))?", text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise UsageError(f"--replicas {text} is not a range from 1 on", "pass one such as 1:8, or one number")
    return least, most


def serve_on_ray(
    served: dict[str, ServedModel],
    settings: ServerSettings,
    listening: Listening,
    address: str | None,
    replicas: str | None,
) -> None:
    """Serves on a Ray cluster until SIGTERM or Ctrl-C.

    Raises:
        MissingExtraError: Ray Serve is not installed.
        MlcycleError: as mlcycle.ray_serving.serve.run.
    """
    from dataclasses import replace

    from mlcycle.inference.batch.worker_threads import cores
    from mlcycle.serving import server

    if address is None:  # a wrong port is an error before Ray is started
        with server.bind(listening) as listener:
            listening = replace(listening, port=listener.getsockname()[1])
    with extra("ray", "mlcycle serve --engine ray"):
        from mlcycle.ray_serving import serve
        from mlcycle.ray_serving.deployment import Deployment, pinned

        count = None if replicas is None else replica_range(replicas)
        deployment = Deployment(pinned(served.values()), settings, listening, count)
        most = deployment.replica_range(cores())[1]
        where = "on this machine" if address is None else f"at {address}"
        console.say(f"starting Ray Serve {where}")
        reporter = _Reporter(listening.url(listening.port), settings)
        serve.run(deployment, address, most * settings.workers, console.is_verbose(), reporter)


class _Reporter:
    def __init__(self, url: str, settings: ServerSettings) -> None:
        self._url, self._settings = url, settings

    def __call__(self, event: str, *details: object) -> None:
        if event == "replicas":
            least, most = details
            each = f"{counted(self._settings.workers, 'worker')} and {counted(self._settings.queue, 'image')} waiting"
            console.say(f"{self._url}  ({least} to {most} replicas, each {each}; Ctrl-C stops it)")
        elif event == "running":
            console.say(f"{counted(int(str(details[0])), 'replica')} running")
        elif event == "problem":
            console.warn(f"a replica cannot start: {details[0]}")
        elif event == "no-reload":
            console.warn("with --engine ray, SIGHUP loads no new model file: start the server again")
        else:
            console.say("stopping: reports unready, and answers what it has accepted")


def absolute(file: Path | None) -> Path | None:
    """Returns a path that is valid in any folder."""
    return None if file is None else file.absolute()
