"""The conductor of `mlcycle serve`: a server that runs until it is stopped. Read it from top to bottom."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn

from mlcycle.errors import InputError, UsageError
from mlcycle.serving.application import application
from mlcycle.serving.connections import connection_class
from mlcycle.serving.served_model import ModelSource, ServedModel
from mlcycle.serving.service import Service, reload_model, watch_models
from mlcycle.serving.settings import Listening, ServerSettings

# Seconds between two looks at the model files.
WATCH_SECONDS = 1.0
# Seconds that a thread of Python may keep the interpreter from the event loop; by default five times as long, which
# would be most of what a request waits for.
SWITCH_SECONDS = 0.001
BACKLOG = 1024
# Seconds between the last connection that is accepted and the end of those that have sent no request until then.
LINGER_SECONDS = 0.25


def open_models(sources: Sequence[ModelSource]) -> dict[str, ServedModel]:
    """Loads models; returns them by their names, in order.

    Raises:
        UsageError: two have the same name.
        MlcycleError: as ModelSource.load.
    """
    models: dict[str, ServedModel] = {}
    for source in sources:
        model = ServedModel.open(source)
        if model.name in models:
            what = f"two models are named {model.name}"
            raise UsageError(what, f"name them: mlcycle serve one={models[model.name].source.path} two={source.path}")
        models[model.name] = model
    return models


def bind(listening: Listening) -> socket.socket:
    """Returns a socket that listens.

    Raises:
        InputError: the port is in use, not allowed, or the host is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listening.host, listening.port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as problem:  # UnicodeError: of a name that cannot be one
        listener.close()
        where, why = f"{listening.host}:{listening.port}", getattr(problem, "strerror", None) or problem
        hint = "choose another one: --port 8001, or --port 0 for a free one"
        raise InputError(f"the server cannot listen at {where}: {why}", hint) from None
    listener.setblocking(False)
    return listener


def run(
    models: dict[str, ServedModel],
    settings: ServerSettings,
    listening: Listening,
    listener: socket.socket,
    report: Callable[[str, str], None],
) -> None:
    """Serves until SIGTERM or SIGINT, then answers what was accepted, and returns.

    Args:
        listener: from `bind`.
        report: receives the name of a model and the outcome of a reload ("loaded", "unchanged" or "refused"); "" and
            "ready" when the server answers, and stops on a signal; "" and "draining" when it ends.
    """
    service = Service(models, settings)
    config = uvicorn.Config(
        application(service),
        http=connection_class(settings.body_seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,  # longer than load balancers keep theirs, which then close first
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.private_key,
    )
    server = _Server(config)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=_loop_factory(settings.body_seconds)) as runner:
        runner.run(_serve(server, service, listener, report))
    service.queue.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to `_serve`."""
        yield


async def _serve(
    server: uvicorn.Server, service: Service, listener: socket.socket, report: Callable[[str, str], None]
) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        _on_signal(loop, number, ending.set)
    if hasattr(signal, "SIGHUP"):
        _on_signal(loop, signal.SIGHUP, lambda: _reload_all(service, report))
    watching = loop.create_task(watch_models(service, WATCH_SECONDS, report))
    serving = loop.create_task(server.serve([listener]))
    ended = loop.create_task(ending.wait())
    report("", "ready")
    await asyncio.wait((serving, ended), return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    report("", "draining")
    service.is_ready, service.closes = False, True
    await asyncio.sleep(service.settings.drain_seconds)
    for each in server.servers:
        each.close()
    await asyncio.sleep(LINGER_SECONDS)
    server.should_exit = True
    await serving


def _on_signal(loop: asyncio.AbstractEventLoop, number: int, action: Callable[[], object]) -> None:
    try:
        loop.add_signal_handler(number, action)
    except NotImplementedError:  # Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(action))


_reloading: set[asyncio.Task[None]] = set()


def _reload_all(service: Service, report: Callable[[str, str], None]) -> None:
    for name in service.models:
        task = asyncio.ensure_future(asyncio.to_thread(partial(reload_model, service, name, report)))
        _reloading.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(_reloading.discard)


def _loop_factory(handshake_seconds: float) -> Callable[[], asyncio.AbstractEventLoop]:
    """Returns what makes an event loop whose servers end a connection that does not finish TLS's handshake in time."""
    base: Any = asyncio.SelectorEventLoop
    with contextlib.suppress(ImportError):  # there is none for Windows
        import uvloop

        base = uvloop.Loop

    class Loop(base):
        def create_server(self, *arguments: Any, **options: Any) -> Any:
            timeout = {"ssl_handshake_timeout": handshake_seconds} if options.get("ssl") else {}
            return super().create_server(*arguments, **options, **timeout)

    return Loop
