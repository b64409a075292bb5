"""What all endpoints share: the models in service, the queue of the workers, the limits and the metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from mlcycle.serving.metrics import Metrics
from mlcycle.serving.problems import RequestError
from mlcycle.serving.request_body import HeldBytes
from mlcycle.serving.served_model import ServedModel
from mlcycle.serving.settings import ServerSettings
from mlcycle.serving.work_queue import Done, WorkQueue

Result = TypeVar("Result")


class Service:
    """The models in service and what they are served by; one for each event loop.

    Attributes:
        models: by name; the first one is used where a request does not name one.
        is_ready: what the server reports; false before it ends.
        closes: whether connections are closed after their next response, so that clients go elsewhere.
    """

    def __init__(self, models: Mapping[str, ServedModel], settings: ServerSettings) -> None:
        self.models, self.settings = dict(models), settings
        self.queue = WorkQueue(settings.workers, settings.queue)
        self.metrics = Metrics(self.models, self.queue, lambda: self.is_ready)
        self.held = HeldBytes(settings.held_bytes)
        self.is_ready, self.closes = True, False

    def model(self, name: str | None) -> ServedModel:
        """Returns a model by its name, or the first one.

        Raises:
            RequestError: 404, there is none of this name.
        """
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise RequestError(404, "no-such-model", f"no such model; there are {', '.join(self.models)}")
        return self.models[name]

    def expires(self) -> float:
        """Returns when a request that arrives now must be done, of time.perf_counter."""
        return time.perf_counter() + self.settings.deadline_seconds

    async def run(self, request: Request, work: Callable[[], Result], expires: float) -> Done[Result]:
        """Does work in a worker thread.

        If the client goes away meanwhile, work that has not started is left out.

        Raises:
            RequestError: of the work, or 503 or 504.
            ClientDisconnect: the client has gone.
        """
        return (await self.run_all(request, [work], expires))[0]

    async def run_all(
        self, request: Request, works: Sequence[Callable[[], Result]], expires: float
    ) -> list[Done[Result]]:
        """Does several pieces of work, in their order, as `run` does one; all of them are admitted, or none."""
        self.queue.admit(len(works), expires)
        result = asyncio.gather(*(self.queue.run(work, expires) for work in works))
        result.add_done_callback(_retrieve)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((result, gone), return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                raise ClientDisconnect
            return result.result()
        finally:
            gone.cancel()
            result.cancel()


def _retrieve(done: asyncio.Future[Any]) -> None:
    """Takes the exception of work that nobody waits for any more, which asyncio would write to the log."""
    if not done.cancelled():
        done.exception()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def reload_model(service: Service, name: str, report: Callable[[str, str], None]) -> None:
    """Loads a model's file again; `report` receives its name and the outcome."""
    report(name, service.models[name].reload())


async def watch_models(service: Service, seconds: float, report: Callable[[str, str], None]) -> None:
    """Looks each `seconds` whether a model file has changed, and loads it if so; runs until it is cancelled."""
    while True:
        await asyncio.sleep(seconds)
        for name, model in service.models.items():
            if await asyncio.to_thread(model.has_changed):
                await asyncio.to_thread(partial(reload_model, service, name, report))
