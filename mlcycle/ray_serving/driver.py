"""The driver process of `mlcycle serve --engine ray`: `main`, which mlcycle.ray_serving.serve starts and uses.

→ Start, then a Deployment  ← ("replicas", the least, the most), when the server listens
→ END                       ← ("running", replicas) and ("problem", a sentence), as they change
                            ← None, when all that was accepted is answered; or an exception, at any time
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlcycle.errors import DeviceError, InputError
from mlcycle.ray_engine.driving import ParentProcess, Start, connected, drive, on_each_node, ray_error
from mlcycle.ray_serving import board
from mlcycle.ray_serving.deployment import Deployment

APPLICATION = "mlcycle"
HINT = "-v shows its output"
# Seconds between two looks at the state of the replicas.
WATCH_SECONDS = 1.0
# Seconds until a replica reports that it is not ready, at most.
UNREADY_SECONDS = board.REPORT_SECONDS + board.ANSWER_SECONDS


def main() -> None:
    """Serves until standard input ends."""
    drive(_serve)


def _serve(parent: ParentProcess, start: Start) -> None:
    from ray import serve  # noqa: F401 (fails here if it is not installed)

    def probe() -> None:
        import mlcycle.ray_serving.replica  # noqa: F401

    deployment: Deployment = parent.receive()
    with connected(start, probe, HINT) as cores:
        if start.address is not None:
            _must_not_serve(start.address)
            _each_node_must_have_files(deployment)
        shared = board.create()
        with _serving(deployment, cores) as replicas:
            parent.send(("replicas", *replicas))
            _watch_until_end(parent)
            _drain(shared, deployment.settings.drain_seconds)
        parent.send(None)


def _must_not_serve(address: str) -> None:
    """Raises DeviceError if the cluster runs Ray Serve already: its proxies would keep their own limits."""
    from ray import serve

    if serve.status().proxies:
        what = f"the Ray cluster at {address} runs Ray Serve already"
        raise DeviceError(what, "end it with Ray's command: serve shutdown; or choose another cluster")


def _each_node_must_have_files(deployment: Deployment) -> None:
    def problem_there(deployment: Deployment) -> Exception | None:
        from mlcycle.ray_serving.replica import problem_on_this_node

        return problem_on_this_node(deployment)

    for problem in on_each_node(problem_there, HINT, deployment):
        if problem is not None:
            raise problem


@contextmanager
def _serving(deployment: Deployment, cores: int) -> Iterator[tuple[int, int]]:
    """Starts proxies and replicas; when the block ends, replicas finish what they have accepted, and all ends."""
    from ray import serve

    settings, listening = deployment.settings, deployment.listening
    timeout = settings.body_seconds + settings.deadline_seconds + 5
    http: dict[str, Any] = {
        "host": listening.host,
        "port": listening.port,
        "request_timeout_s": timeout,
        "keep_alive_timeout_s": 75,  # longer than load balancers keep theirs, which then close first
    }
    if listening.certificate is not None:
        http |= {"ssl_certfile": str(listening.certificate), "ssl_keyfile": str(listening.private_key)}
    replicas = deployment.replica_range(cores)
    try:
        try:
            serve.start(http_options=http, proxy_location="EveryNode", logging_config={"enable_access_log": False})
            serve.run(_application(deployment, replicas, timeout), name=APPLICATION, route_prefix="/")
        except Exception as problem:
            raise _start_error(problem, deployment) from problem
        yield replicas
        serve.delete(APPLICATION)
    finally:
        serve.shutdown()


def _application(deployment: Deployment, replicas: tuple[int, int], timeout: float) -> Any:
    from ray import serve

    def build() -> Any:  # nested, so that Ray sends the function itself instead of its name
        from mlcycle.ray_serving.replica import application_of

        return application_of(deployment)

    workers, waiting = deployment.settings.workers, deployment.settings.queue
    replica: Any = serve.ingress(build)()
    made: Any = serve.deployment(
        replica,
        name=APPLICATION,
        ray_actor_options={"num_cpus": workers},
        # More than a replica takes: it refuses the rest itself, at once and with the time to wait.
        max_ongoing_requests=10 * (workers + waiting) + 100,
        autoscaling_config={
            "min_replicas": replicas[0],
            "max_replicas": replicas[1],
            "target_ongoing_requests": 2 * workers,
            "upscale_delay_s": 5,
            "downscale_delay_s": 120,
        },
        logging_config={"enable_access_log": False},
        health_check_period_s=2,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=timeout,
    )
    return made.bind()


def _start_error(problem: Exception, deployment: Deployment) -> Exception:
    if "Failed to bind" in str(problem):
        where = f"{deployment.listening.host}:{deployment.listening.port}"
        return InputError(f"a node cannot listen at {where}", "choose another port: --port 8001")
    return ray_error(problem, HINT)


def _watch_until_end(parent: ParentProcess) -> None:
    """Tells the parent process what changes, until it closes its end of the pipe or has gone."""
    known: tuple[tuple[str, object], ...] = ()
    while not parent.says_nothing_more(WATCH_SECONDS):
        state = _state()
        for each in state:
            if each not in known:
                parent.send(each)
        known = state or known


def _state() -> tuple[tuple[str, object], ...]:
    """Returns how many replicas run, and what Ray says about those that cannot start."""
    from ray import serve

    try:
        deployment = serve.status().applications[APPLICATION].deployments[APPLICATION]
    except Exception:  # the controller is being restarted
        return ()
    states = {str(state): number for state, number in deployment.replica_states.items()}
    running = ("running", states.get("RUNNING", 0))
    if deployment.status in ("UNHEALTHY", "DEPLOY_FAILED"):
        return running, ("problem", " ".join(deployment.message.split())[-300:])
    return (running,)


def _drain(shared: Any, seconds: float) -> None:
    import ray

    ray.get(shared.end.remote())
    time.sleep(max(seconds, UNREADY_SECONDS))
