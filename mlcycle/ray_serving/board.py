"""What replicas share: the metrics of each, and whether the server is ending.

Ray gives each request to another replica. Without this, Prometheus would see the counters of a replica by chance.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Thread
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from mlcycle.serving.metrics import Metrics, text_of
from mlcycle.serving.service import Service

NAME, NAMESPACE = "metrics and end of the server", "mlcycle"
# Seconds between two reports of a replica; without one for longer than SILENT_SECONDS it is taken for dead.
REPORT_SECONDS, SILENT_SECONDS = 0.5, 5.0
# Seconds that a replica waits for the actor.
ANSWER_SECONDS = 1.0


class Board:
    """A Ray actor, one for all replicas."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[float, Sequence[Metric]]] = {}
        self._is_ending = False

    def report(self, replica: str, metrics: Sequence[Metric]) -> bool:
        """Keeps the metrics of a replica; returns whether the server is ending."""
        self._reports[replica] = (time.monotonic(), metrics)
        return self._is_ending

    def others(self, replica: str) -> dict[str, Sequence[Metric]]:
        """Returns the last metrics of all other replicas that are alive."""
        since = time.monotonic() - SILENT_SECONDS
        self._reports = {name: report for name, report in self._reports.items() if report[0] > since}
        return {name: metrics for name, (_, metrics) in self._reports.items() if name != replica}

    def end(self) -> None:
        """Makes all replicas report that they are not ready."""
        self._is_ending = True


def create() -> Any:
    """Creates the actor; it is restarted if its node dies, and replicas report again."""
    import ray

    options = {"name": NAME, "namespace": NAMESPACE, "num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(Board).options(**options).remote()


def join(service: Service, replica: str) -> None:
    """Makes a replica's service report to the actor, and answer with the metrics of all replicas."""
    service.metrics = _SharedMetrics(service, replica)
    Thread(target=_report, args=(service, service.metrics, replica), name="mlcycle-board", daemon=True).start()


class _SharedMetrics(Metrics):
    """The metrics of a replica; their text has those of all replicas, with the label `replica`."""

    def __init__(self, service: Service, replica: str) -> None:
        super().__init__(service.models, service.queue, lambda: service.is_ready)
        self._replica = replica

    def text(self) -> bytes:
        return text_of(merged({self._replica: self.families(), **_others(self._replica)}))


def merged(reports: dict[str, Sequence[Metric]]) -> list[Metric]:
    """Returns the metrics of several replicas, each sample with the label `replica`."""
    metrics: dict[str, Metric] = {}
    for replica, families in reports.items():
        for family in families:
            metric = metrics.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            metric.samples += [_labelled(each, replica) for each in family.samples]
    return list(metrics.values())


def _labelled(sample: Sample, replica: str) -> Sample:
    return sample._replace(labels=sample.labels | {"replica": replica})


def _others(replica: str) -> dict[str, Sequence[Metric]]:
    import ray

    try:
        return ray.get(_actor().others.remote(replica), timeout=ANSWER_SECONDS)
    except Exception:  # it is being restarted: the metrics of this replica are better than none
        return {}


def _report(service: Service, metrics: Metrics, replica: str) -> None:
    import ray

    while True:
        time.sleep(REPORT_SECONDS)
        try:
            if ray.get(_actor().report.remote(replica, metrics.families()), timeout=ANSWER_SECONDS):
                service.is_ready, service.closes = False, True
        except Exception:  # it is being restarted, or the cluster ends, and this process with it
            continue


def _actor() -> Any:
    import ray

    return ray.get_actor(NAME, NAMESPACE)
