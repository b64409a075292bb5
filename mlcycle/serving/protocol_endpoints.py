"""The endpoints of the Open Inference Protocol, version 2, so that its clients work unchanged."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from mlcycle.artifact.contract import INPUT
from mlcycle.errors import UsageError
from mlcycle.inference.detect import DetectOptions, Detector
from mlcycle.inference.record import Record
from mlcycle.serving import detection, inference_protocol, parameters, protocol_documents
from mlcycle.serving.inference_protocol import HEADER_LENGTH, InferRequest
from mlcycle.serving.parameters import MAX_LONG_SIDE
from mlcycle.serving.problems import RequestError, unreadable
from mlcycle.serving.protocol_documents import ENCODED, VERSION
from mlcycle.serving.request_body import read_body
from mlcycle.serving.served_model import ServedModel
from mlcycle.serving.service import Service
from mlcycle.serving.settings import ServerSettings

# The graph's memory and time grow with the pixels: those of the largest long side that a request may choose. It pads
# each side to a multiple of its coarsest stride.
_MAX_TENSOR_PIXELS, _LEAST_SIDE = MAX_LONG_SIDE**2, 128


class ProtocolEndpoints:
    """Everything under /v2."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def server(self, request: Request) -> Response:
        return _json(protocol_documents.server_metadata())

    async def live(self, request: Request) -> Response:
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        is_ready = self._service.is_ready
        return _json({"ready": is_ready}, 200 if is_ready else 503)

    async def index(self, request: Request) -> Response:
        """Answers with the models, as Triton's repository index."""
        state = "READY" if self._service.is_ready else "UNAVAILABLE"
        return _json([{"name": name, "version": VERSION, "state": state} for name in self._service.models])

    async def model_ready(self, request: Request) -> Response:
        model, is_ready = self._model(request), self._service.is_ready
        return _json({"name": model.name, "ready": is_ready}, 200 if is_ready else 503)

    async def model(self, request: Request) -> Response:
        """Answers with a model's inputs and outputs; a request has one of the inputs."""
        return _json(protocol_documents.model_metadata(self._model(request)))

    async def config(self, request: Request) -> Response:
        return _json(protocol_documents.model_config(self._model(request), self._service.settings.workers))

    async def statistics(self, request: Request) -> Response:
        """Answers with the statistics of a model, or of all of them if the path names none."""
        names = [self._model(request).name] if "model" in request.path_params else list(self._service.models)
        return _json(protocol_documents.statistics(self._service.metrics, names))

    async def infer(self, request: Request) -> Response:
        """Runs a model on a tensor of pixels, or on encoded images."""
        model, expires = self._model(request), self._service.expires()
        with self._service.held.hold() as hold:
            body = await read_body(request, self._service.settings, hold)
            begin = time.perf_counter()
            work = partial(self._infer, model, body, request.headers.get(HEADER_LENGTH), expires)
            done = await self._service.run(request, work, expires)
        data, headers, images, milliseconds = done.result
        stages = {"queue": done.waited * 1000, **milliseconds, "request": (time.perf_counter() - begin) * 1000}
        self._service.metrics.success(model.name, images, stages)
        return Response(data, headers=headers)

    def _infer(
        self, model: ServedModel, body: bytes, header_length: str | None, expires: float
    ) -> tuple[bytes, dict[str, str], int, dict[str, float]]:
        """Does the work of `infer`, in a worker thread: JSON of megabytes would keep the event loop from others."""
        parsed, detector = inference_protocol.parse(body, header_length), model.detector
        inference_protocol.check_outputs(parsed, detector.contract.outputs)
        pixels_BHW3 = parsed.tensor.pixels_BHW3
        _must_be(ENCODED if pixels_BHW3 is None else INPUT, parsed)
        if pixels_BHW3 is not None:
            arrays, milliseconds = _run_on_pixels(detector, parsed, pixels_BHW3)
            count = len(pixels_BHW3)
        else:
            records = self._records(detector, parsed, expires)
            arrays, milliseconds, count = _stacked(records), _summed(records), len(records)
        about = {"sha256": detector.sha256}
        return *inference_protocol.response(parsed, model.name, arrays, about), count, milliseconds

    def _records(self, detector: Detector, parsed: InferRequest, expires: float) -> list[Record]:
        options = _options(detector, parsed.parameters, self._service.settings)
        records: list[Record] = []
        for number, data in enumerate(parsed.tensor.images, 1):
            if time.perf_counter() > expires:
                raise RequestError(504, "deadline", f"{number - 1} images were finished before the deadline")
            record = detection.detect(detector, f"image {number}", data, options)
            if record.error:
                code, message = record.error
                raise unreadable(code, message if len(parsed.tensor.images) == 1 else f"image {number}: {message}")
            records.append(record)
        return records

    def _model(self, request: Request) -> ServedModel:
        if request.path_params.get("version", VERSION) != VERSION:
            raise RequestError(404, "no-such-model", f"each model has one version: {VERSION}")
        return self._service.model(request.path_params["model"])


def _must_be(name: str, parsed: InferRequest) -> None:
    if parsed.tensor.name != name:
        datatype = "UINT8" if name == INPUT else "BYTES"
        raise RequestError(400, "bad-request", f"the input of the datatype {datatype} is named {name}")


def _options(detector: Detector, given: dict[str, Any], settings: ServerSettings) -> DetectOptions:
    """Returns how to detect faces in encoded images; the parameters are those of /v1/detect."""
    threshold = given.get("threshold")
    if threshold is not None and type(threshold) not in (int, float):
        raise UsageError("the parameter threshold must be a number")
    if not all(isinstance(given.get(name, ""), str) for name in ("at", "long_side")):
        raise UsageError("the parameters at and long_side must be strings")
    return parameters.detect_options({name: str(value) for name, value in given.items()}, detector, settings)


def _run_on_pixels(
    detector: Detector, parsed: InferRequest, images_BHW3: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Returns the graph's outputs for a batch, and the milliseconds that it took."""
    size, shape = detector.contract.input_size, images_BHW3.shape
    if parsed.parameters:
        message = f"{', '.join(parsed.parameters)} is for {ENCODED}; the outputs for {INPUT} are the graph's own"
        raise RequestError(400, "bad-request", message)
    if size is not None and shape != (size.batch, size.height, size.width, 3):
        message = f"the shape of {INPUT} must be {size.batch}, {size.height}, {size.width}, 3"
        raise RequestError(400, "bad-request", message)
    if shape[0] * max(shape[1], _LEAST_SIDE) * max(shape[2], _LEAST_SIDE) > _MAX_TENSOR_PIXELS:
        message = f"{INPUT} has more than {_MAX_TENSOR_PIXELS:,} pixels, with at least {_LEAST_SIDE} for each side"
        raise RequestError(413, "too-large", message)
    begin = time.perf_counter()
    try:
        outputs = detector.session.run(images_BHW3)
    except Exception as problem:  # onnxruntime has a dozen classes
        raise unreadable("model-failed", "the model failed on the images") from problem
    milliseconds = {"run": (time.perf_counter() - begin) * 1000}
    named = zip(("boxes", "scores", "landmarks"), outputs, strict=True)
    return {name: array for name, array in named if array is not None}, milliseconds


def _stacked(records: list[Record]) -> dict[str, np.ndarray]:
    """Returns boxes_BN4, scores_BN and landmarks_BN52 in pixels of the images; rows beyond an image's faces are 0."""
    rows = max(len(record.scores_N) for record in records)
    arrays = {"boxes": [record.boxes_N4 for record in records], "scores": [record.scores_N for record in records]}
    points = [record.landmarks_N52 for record in records]
    if records[0].landmark_names:
        empty = np.zeros((0, len(records[0].landmark_names), 2), np.float32)
        arrays["landmarks"] = [empty if each is None else each for each in points]
    return {name: np.stack([_lengthened(each, rows) for each in parts]) for name, parts in arrays.items()}


def _lengthened(array_N: np.ndarray, rows: int) -> np.ndarray:
    missing = np.zeros((rows - len(array_N), *array_N.shape[1:]), np.float32)
    return np.concatenate([array_N.astype(np.float32, copy=False), missing])


def _summed(records: list[Record]) -> dict[str, float]:
    stages = {stage for record in records for stage in record.milliseconds}
    return {stage: sum(record.milliseconds.get(stage, 0.0) for record in records) for stage in sorted(stages)}


def _json(document: object, status: int = 200) -> Response:
    return Response(json.dumps(document, allow_nan=False), status, media_type="application/json")
