"""The driver process of `mlcycle infer dir --engine ray`: `main`, which mlcycle.ray_engine.cluster starts and uses.

→ Start                               ← the number of workers, or an exception
→ WorkerSetup and the rows of a round ← the result of each row as it comes, then None; or an exception
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from mlcycle.ray_engine.driving import ParentProcess, Start, connected, drive, ray_error
from mlcycle.ray_engine.worker import Worker, WorkerSetup

Row = dict[str, bytes]
RESUME_HINT = "finished images are kept: continue with --resume"


def main() -> None:
    """Serves rounds until standard input ends."""
    drive(_rounds)


def _rounds(parent: ParentProcess, start: Start) -> None:
    from ray.data import DataContext

    def probe() -> None:
        import mlcycle.ray_engine.worker  # noqa: F401

    with connected(start, probe, RESUME_HINT) as cores:
        context = DataContext.get_current()
        context.enable_progress_bars = False
        # A worker whose node shuts down may raise OSError first; mlcycle's own errors are results.
        context.actor_task_retry_on_errors = cast(Any, [OSError])
        workers = min(start.cores or cores, cores)
        parent.send(workers)
        while True:
            try:
                setup, rows = parent.receive()
            except EOFError:
                return
            for result in _map(setup, rows, workers):
                parent.send(result)
            parent.send(None)


class CounterActor:
    """A Ray actor that counts attempts for all workers."""

    def __init__(self) -> None:
        self._counts: Counter[Hashable] = Counter()

    def count(self, key: Hashable) -> int:
        self._counts[key] += 1
        return self._counts[key]


@dataclass(frozen=True, slots=True)
class SharedCount:
    """Counts with the actor from any worker; returns the count including this call."""

    actor: Any

    def __call__(self, key: Hashable) -> int:
        import ray

        return ray.get(self.actor.count.remote(key))


def _map(setup: WorkerSetup, rows: list[Row], workers: int) -> Iterator[bytes]:
    import ray
    import ray.data

    # Like Ray Data's actors, it is restarted whenever it dies, and unfinished calls are repeated.
    counter = ray.remote(CounterActor).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    try:
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            cast(Any, Worker),  # a class: Ray creates an instance in each process
            fn_constructor_args=(setup, SharedCount(counter)),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
            num_cpus=1,
        )
        for row in results.iter_rows():
            yield row["result"]
    except Exception as problem:  # Ray has a dozen classes, and Ray Data others that do not derive from them
        raise ray_error(problem, RESUME_HINT) from problem
