"""A replica: the same application that `mlcycle serve` runs under uvicorn, in a process of Ray Serve."""

from __future__ import annotations

import sys
from typing import Any

from starlette.types import ASGIApp

from mlcycle.errors import InputError, MlcycleError
from mlcycle.machine import own_process
from mlcycle.ray_serving import board
from mlcycle.ray_serving.deployment import Deployment
from mlcycle.serving.application import application
from mlcycle.serving.server import SWITCH_SECONDS
from mlcycle.serving.service import Service


def application_of(deployment: Deployment) -> ASGIApp:
    """Returns the application of this replica; the replica is ready when it returns.

    Raises:
        MlcycleError: a model file is missing, damaged, another one, not signed, or fails its self-test.
    """
    from ray import serve

    own_process.claim()  # Ray started it for this alone
    _open_no_port()
    sys.setswitchinterval(SWITCH_SECONDS)
    service = Service(deployment.open_models(), deployment.settings)
    board.join(service, serve.get_replica_context().replica_id.unique_id)
    return application(service)


def _open_no_port() -> None:
    """Keeps Ray from opening a port for this process at all addresses of the machine.

    Whoever reaches it can run anything here: it takes pickles, without a token. Requests come by Ray's own connections.
    """
    import grpc.aio

    kind: Any = type(grpc.aio.server())
    kind.add_insecure_port = kind.add_secure_port = lambda self, address, *credentials: 0


def problem_on_this_node(deployment: Deployment) -> MlcycleError | None:
    """Returns what would keep a replica or its proxy from starting on this node."""
    import platform

    try:
        deployment.open_models()
        listening = deployment.listening
        for file in (listening.certificate, listening.private_key):
            if file is not None and not file.is_file():
                raise InputError(f"no such file: {file}", "provide the certificate and its key to all nodes")
    except MlcycleError as problem:
        return type(problem)(f"{problem.message}, on the node {platform.node()}", problem.hint)
    return None
