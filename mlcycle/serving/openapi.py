"""The OpenAPI document: every endpoint, its parameters, and what it answers."""

from __future__ import annotations

from typing import Any

import mlcycle
from mlcycle.serving.openapi_schemas import LONG_SIDES, THRESHOLD, schemas
from mlcycle.serving.parameters import MAX_NAME_LENGTH, METHODS
from mlcycle.serving.service import Service

_ERRORS = {
    400: "A parameter, or the body, is malformed.",
    401: "The request needs a token.",
    404: "There is no such model.",
    408: "The request did not arrive in time.",
    413: "The body, or an image in it, is too large.",
    415: "The body is compressed, or not an image of a supported format.",
    421: "The server is not addressed by one of its names.",
    422: "An image is empty, truncated or damaged.",
    431: "The head of the request is too large.",
    500: "The model failed, or something unexpected happened.",
    503: "The server has no capacity now; try again after Retry-After seconds.",
    504: "The request could not be finished before its deadline.",
}
_ANY_REQUEST = (400, 401, 404, 421, 431)
_IMAGE: dict[str, Any] = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
_IMAGES: dict[str, Any] = {
    "schema": {
        "type": "object",
        "properties": {"image": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}},
        "required": ["image"],
    }
}
_HEADER_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "The length of the JSON, if the bytes of a tensor follow it.",
}
# A grey image of 64 x 48 pixels.
_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAwCAAAAACEICPDAAAAJ0lEQVR42u3MMREAAAgEoNfkRjeEmwcBqMlNRyAQCAQCgUAgEDwNFm0oAOBn"
    "O1pYAAAAAElFTkSuQmCC"
)
_EXAMPLE = {"inputs": [{"name": "encoded_images", "datatype": "BYTES", "shape": [1], "data": [_PNG]}]}


def document(service: Service) -> dict[str, Any]:
    """Returns the OpenAPI document of a service."""
    contracts = [model.detector.contract for model in service.models.values()]
    points = sorted({point for contract in contracts for point in contract.thresholds})
    outputs = list(dict.fromkeys(name for contract in contracts for name in contract.outputs))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlcycle serve",
            "version": mlcycle.__version__,
            "description": "Finds faces in images. Coordinates are pixels of the upright image: x1 y1 x2 y2.",
        },
        "paths": _for_people(list(service.models), points) | _protocol(list(service.models)),
        "components": {
            "schemas": schemas(outputs, points),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}] if service.settings.token else [],
    }


def _for_people(names: list[str], points: list[str]) -> dict[str, Any]:
    options = [
        _query("model", {"type": "string", "enum": names, "default": names[0]}, "Which model answers."),
        _query("name", {"type": "string", "maxLength": MAX_NAME_LENGTH}, 'What the record calls the image: "image".'),
        _query("threshold", THRESHOLD),
        _query("at", {"type": "string", "enum": points}, "An operating point of the model instead.")
        | {"example": "balanced"},
        _query("long_side", LONG_SIDES),
    ]
    methods = {"type": "string", "enum": list(METHODS), "default": "blur"}
    method = _query("method", methods, "What is done to the faces.") | {"example": "pixelate"}
    detected = _json("Record", "Records") | {"description": "The record; with a multipart body one for each image."}
    redacted = {"description": "The image.", "content": dict.fromkeys(("image/jpeg", "image/png"), _IMAGE)}
    octets = {"application/octet-stream": _IMAGE}
    return {
        "/v1/detect": {
            "post": _post("Find faces in an image", options, octets | {"multipart/form-data": _IMAGES}, detected)
        },
        "/v1/redact": {
            "post": _post("Make the faces in an image unrecognisable", [*options, method], octets, redacted)
        },
        "/v1/model": _get("What the server runs, and on what", options[:1]),
        "/metrics": _get("Metrics for Prometheus", content={"text/plain": {"schema": {"type": "string"}}}),
        "/openapi.json": _get("This document"),
    }


def _protocol(names: list[str]) -> dict[str, Any]:
    """Returns the paths of the Open Inference Protocol, version 2, and of Triton's extensions of it.

    Those of a model are also below /v2/models/{model}/versions/1.
    """
    tensors = {
        "application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}, "example": _EXAMPLE},
        "application/octet-stream": _IMAGE,
    }
    outputs = _json("InferResponse") | {"description": "The outputs; their bytes may follow the JSON."}
    outputs["content"]["application/octet-stream"] = _IMAGE
    index = _get("The models in service")["get"]
    paths = {
        "/v2": _get("Name and version of the server"),
        "/v2/health/live": _get("Whether the server lives", is_open=True),
        "/v2/health/ready": _get("Whether the server takes requests", codes=(503,), is_open=True),
        "/v2/repository/index": {"post": index},
        "/v2/models/stats": _get("Statistics of all models"),
    }
    of = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string", "enum": names}}]
    path = "/v2/models/{model}"
    return paths | {
        path: _get("Inputs and outputs of a model", of),
        f"{path}/ready": _get("Whether a model is ready", of, codes=(503,)),
        f"{path}/config": _get("The configuration of a model", of),
        f"{path}/stats": _get("Statistics of a model", of),
        f"{path}/infer": {"post": _post("Run a model", [*of, _HEADER_LENGTH], tensors, outputs)},
    }


def _post(summary: str, parameters: list[Any], content: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answer, **_errors(_ERRORS)},
    }


def _get(
    summary: str,
    parameters: list[Any] | None = None,
    *,
    content: dict[str, Any] | None = None,
    codes: tuple[int, ...] = (),
    is_open: bool = False,
) -> dict[str, Any]:
    """Returns the path of an endpoint that takes nothing but parameters; `codes` are further ones that it answers."""
    answer = {"description": "The answer.", "content": content or {"application/json": {}}}
    operation = {
        "summary": summary,
        "parameters": parameters or [],
        "responses": {"200": answer, **_errors((*_ANY_REQUEST, *codes))},
    }
    return {"get": operation | ({"security": []} if is_open else {})}


def _errors(codes: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(code): {"description": _ERRORS[code], "content": content} for code in codes}


def _json(*names: str) -> dict[str, Any]:
    references = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    return {"content": {"application/json": {"schema": references[0] if len(names) == 1 else {"oneOf": references}}}}


def _query(name: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description or schema.get("description", "")}
