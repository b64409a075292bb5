"""The server's metrics for Prometheus; names are Triton's where they mean the same, so that its dashboards work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from mlcycle.serving.served_model import ServedModel
    from mlcycle.serving.work_queue import WorkQueue

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
# Triton's metric of microseconds → the stages that it sums up.
_DURATIONS = {
    "nv_inference_queue_duration_us": ("queue",),
    "nv_inference_compute_input_duration_us": ("decode", "resize"),
    "nv_inference_compute_infer_duration_us": ("run",),
    "nv_inference_compute_output_duration_us": ("select", "redact"),
    "nv_inference_request_duration_us": ("request",),
}


class Metrics:
    """Counts what the server does; used by the event loop alone.

    Args:
        models: in service, by name.
        queue: of the workers.
        is_ready: whether the server reports that it is ready.
    """

    def __init__(self, models: Mapping[str, ServedModel], queue: WorkQueue, is_ready: Callable[[], bool]) -> None:
        self._models, self._queue, self._is_ready = models, queue, is_ready
        self._registry = CollectorRegistry()
        self._stages = Histogram(
            "mlcycle_stage_seconds",
            "Seconds of each stage of a request",
            ("model", "stage"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._succeeded: Counter[str] = Counter()
        self._images: Counter[str] = Counter()
        self._failed: Counter[tuple[str, str]] = Counter()
        self._microseconds: Counter[tuple[str, str]] = Counter()
        self._registry.register(self)

    def success(self, model: str, images: int, milliseconds: Mapping[str, float]) -> None:
        """Counts a request that was answered, its images, and the milliseconds of its stages."""
        self._succeeded[model] += 1
        self._images[model] += images
        for stage, value in milliseconds.items():
            self._stages.labels(model, stage).observe(value / 1000)
            self._microseconds[model, stage] += round(value * 1000)

    def failure(self, model: str, code: str) -> None:
        """Counts a request that was answered with an error."""
        self._failed[model, code] += 1

    def counts(self, model: str) -> tuple[int, int, int]:
        """Returns how many requests to a model were answered, how many failed, and how many images were processed."""
        failed = sum(count for (name, _), count in self._failed.items() if name == model)
        return self._succeeded[model], failed, self._images[model]

    def microseconds(self, model: str, stages: Sequence[str]) -> int:
        """Returns how long these stages of a model's requests took in sum."""
        return sum(self._microseconds[model, stage] for stage in stages)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def families(self) -> list[Metric]:
        """Returns all metrics as objects, of which `text_of` makes the text."""
        return list(self._registry.collect())

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics that are not histograms; called by the registry."""
        yield _of("nv_inference_request_success", "Requests answered", self._of_models(self._succeeded))
        failures = [({"model": model, "version": "1", "reason": code}, n) for (model, code), n in self._failed.items()]
        yield _of("nv_inference_request_failure", "Requests answered with an error, by its code", failures)
        yield _of("nv_inference_count", "Images processed", self._of_models(self._images))
        for name, stages in _DURATIONS.items():
            sums = {model: self.microseconds(model, stages) for model in self._models}
            yield _of(name, f"Microseconds of {', '.join(stages)}", self._of_models(sums))
        waiting, active = self._queue.waiting, self._queue.active
        yield _of("nv_inference_pending_request_count", "Images that wait for a worker", [({}, waiting)])
        yield _of("mlcycle_active_images", "Images that workers process", [({}, active)])
        yield _of("mlcycle_workers", "Worker threads", [({}, self._queue.workers)])
        yield _of("mlcycle_ready", "1 if the server reports that it is ready", [({}, self._is_ready())])
        models = self._models.items()
        digests = [({"model": name, "sha256": each.detector.sha256}, 1) for name, each in models]
        yield _of("mlcycle_model_info", "Digest of the model file in service", digests)
        refused = [({"model": name}, bool(each.problem)) for name, each in models]
        yield _of("mlcycle_model_refused", "1 if the model file has changed and was refused", refused)
        reloads = [({"model": name, "outcome": how}, n) for name, each in models for how, n in each.reloads.items()]
        yield _of("mlcycle_reloads", "Attempts to load a model file again, by outcome", reloads)

    def _of_models(self, values: Mapping[str, int]) -> list[tuple[dict[str, str], float]]:
        return [({"model": name, "version": "1"}, values.get(name, 0)) for name in self._models]


def text_of(families: Iterable[Metric]) -> bytes:
    """Returns metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collected(list(families)))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _of(name: str, help: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
    # "unknown", because the client library would append _total to the name of a counter, which Triton does not.
    metric = Metric(name, help, "unknown")
    for labels, value in samples:
        metric.add_sample(name, labels, float(value))
    return metric
