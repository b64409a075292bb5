"""The endpoints for people and scripts: the bytes of an image in, its record or its redacted copy out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from mlcycle.benching import machine
from mlcycle.inference.detect import DetectOptions
from mlcycle.inference.record import SCHEMA_VERSION
from mlcycle.serving import detection, parameters
from mlcycle.serving.detection import Answer
from mlcycle.serving.problems import RequestError
from mlcycle.serving.request_body import Hold, read_body, read_files
from mlcycle.serving.served_model import ServedModel
from mlcycle.serving.service import Service


class ImageEndpoints:
    """POST /v1/detect, POST /v1/redact and GET /v1/model."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def detect(self, request: Request) -> Response:
        """Answers with the record of an image; with all records if the body is multipart."""
        query = parameters.checked(request.query_params.multi_items(), parameters.DETECT)
        model, expires = self._service.model(query.get("model")), self._service.expires()
        detector = model.detector
        options = parameters.detect_options(query, detector, self._service.settings)
        with self._service.held.hold() as hold:
            if _is_multipart(request):
                return await self._detect_files(request, model, options, expires, hold)
            name = parameters.image_name(query)
            data = await read_body(request, self._service.settings, hold)
            return await self._answer(
                request,
                model,
                expires,
                lambda: detection.record_answer(detection.detect(detector, name, data, options)),
            )

    async def redact(self, request: Request) -> Response:
        """Answers with the image, its faces unrecognisable."""
        query = parameters.checked(request.query_params.multi_items(), parameters.REDACT)
        model, expires = self._service.model(query.get("model")), self._service.expires()
        detector, method = model.detector, parameters.redaction_method(query)
        options = parameters.detect_options(query, detector, self._service.settings)
        options, name = detection.redaction_options(detector, options), parameters.image_name(query)
        with self._service.held.hold() as hold:
            if _is_multipart(request):
                raise RequestError(415, "unsupported", "redaction takes the bytes of one image, not multipart")
            data = await read_body(request, self._service.settings, hold)
            return await self._answer(
                request, model, expires, partial(detection.redacted_answer, detector, name, data, options, method)
            )

    async def describe(self, request: Request) -> Response:
        """Answers with what the server runs, and on what."""
        query = parameters.checked(request.query_params.multi_items(), ("model",))
        model = self._service.model(query.get("model"))
        detector, settings = model.detector, self._service.settings
        described = machine.describe()
        return _json({
            "name": model.name,
            "sha256": detector.sha256,
            "provider": detector.provider,
            "precision": detector.contract.precision,
            "long_side": detector.contract.resize.long_side,
            "thresholds": detector.contract.thresholds,
            "landmarks": list(detector.contract.landmarks),
            "machine": {key: described[key] for key in ("cpu", "cores", "system")},
            "workers": settings.workers,
            "threads": model.source.threads,
            "queue": settings.queue,
            "deadline_seconds": settings.deadline_seconds,
            "max_body_bytes": settings.max_body_bytes,
            "max_pixels": settings.max_pixels,
            "models": list(self._service.models),
        })  # fmt: skip

    async def _answer(
        self, request: Request, model: ServedModel, expires: float, work: Callable[[], Answer]
    ) -> Response:
        begin = time.perf_counter()
        done = await self._service.run(request, work, expires)
        answer = done.result
        stages = {"queue": done.waited * 1000, **answer.milliseconds}
        stages["request"] = (time.perf_counter() - begin) * 1000
        self._service.metrics.success(model.name, 1, stages)
        timing = server_timing(stages | {"worker": done.busy * 1000})
        headers = {"server-timing": timing, "mlcycle-faces": str(answer.faces)}
        return Response(answer.body, media_type=answer.media_type, headers=headers)

    async def _detect_files(
        self, request: Request, model: ServedModel, options: DetectOptions, expires: float, hold: Hold
    ) -> Response:
        settings = self._service.settings
        files = await read_files(request, settings, hold)
        if len(files) > settings.queue + settings.workers:  # they would never be admitted
            message = f"the server takes at most {settings.queue + settings.workers} images in one request"
            raise RequestError(413, "too-large", message)
        works = [partial(detection.detect, model.detector, name, data, options) for name, data in files]
        results = await self._service.run_all(request, works, expires)
        for done in results:
            record = done.result
            if record.error:
                self._service.metrics.failure(model.name, record.error[0])
            else:
                self._service.metrics.success(model.name, 1, {"queue": done.waited * 1000, **record.milliseconds})
        records = [done.result.as_dict() for done in results]
        return _json({"schema_version": SCHEMA_VERSION, "records": records})


def server_timing(milliseconds: dict[str, float]) -> str:
    """Returns the value of the header Server-Timing, which browsers show: stage;dur=milliseconds, …"""
    return ", ".join(f"{stage};dur={value:.3f}" for stage, value in milliseconds.items())


def _is_multipart(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"


def _json(document: object) -> Response:
    return Response(json.dumps(document, allow_nan=False), media_type="application/json")
