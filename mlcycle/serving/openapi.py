"""The description of the endpoints for people and scripts, and of the protocol's, as an OpenAPI document."""

from __future__ import annotations

from typing import Any

import mlcycle
from mlcycle.inference.record import SCHEMA_VERSION
from mlcycle.serving.parameters import MAX_LONG_SIDES, METHODS
from mlcycle.serving.service import Service

_BYTES: dict[str, Any] = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
_PARTS = {
    "schema": {
        "type": "object",
        "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
        "required": ["image"],
    }
}
# A grey image of 64 x 48 pixels.
_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAwCAAAAACEICPDAAAAJ0lEQVR42u3MMREAAAgEoNfkRjeEmwcBqMlNRyAQCAQCgUAgEDwNFm0oAOBn"
    "O1pYAAAAAElFTkSuQmCC"
)
_JSON: dict[str, Any] = {
    "schema": {"$ref": "#/components/schemas/InferRequest"},
    "example": {"inputs": [{"name": "encoded_images", "datatype": "BYTES", "shape": [1], "data": [_PNG]}]},
}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_ERRORS = {
    "400": "A parameter or the body is malformed.",
    "401": "The request needs a token.",
    "404": "There is no such model.",
    "408": "The body did not arrive in time.",
    "413": "The body, or the image in it, is too large.",
    "415": "The body is not an image of a supported format.",
    "421": "The server is not addressed by one of its names.",
    "422": "The image is empty, truncated or damaged.",
    "503": "The server has no capacity now; try again after Retry-After seconds.",
    "504": "The request could not be finished before its deadline.",
}


def document(service: Service) -> dict[str, Any]:
    """Returns the OpenAPI document of a service."""
    names = list(service.models)
    image = _operation("Find faces in an image", names, _BYTES, _json_response("Record"))
    image["requestBody"]["content"]["multipart/form-data"] = _PARTS
    image["responses"]["200"]["description"] += " With a multipart body: records, one per image."
    redacted = {"description": "The image without recognisable faces.", "content": {"image/jpeg": {}, "image/png": {}}}
    redact = _operation("Make the faces in an image unrecognisable", names, _BYTES, redacted)
    method = _query(
        "method", {"type": "string", "enum": list(METHODS), "default": "blur"}, "What is done to the faces."
    )
    redact["parameters"].append(method | {"example": "pixelate"})
    at = next(each for each in image["parameters"] if each["name"] == "at")
    at["example"] = "balanced"
    infer = _operation("Run a model (Open Inference Protocol, version 2)", [], _JSON, _json_response("Tensors"))
    infer["parameters"] = [_model_path(names)]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlcycle serve",
            "version": mlcycle.__version__,
            "description": "Finds faces in images. Coordinates are pixels of the upright image: x1 y1 x2 y2.",
        },
        "paths": {
            "/v1/detect": {"post": image},
            "/v1/redact": {"post": redact},
            "/v1/model": {"get": _simple("What the server runs, and on what", [_model_query(names)])},
            "/v2": {"get": _simple("Name and version of the server")},
            "/v2/health/live": {"get": _simple("Whether the server lives")},
            "/v2/health/ready": {"get": _simple("Whether the server takes requests", busy=True)},
            "/v2/repository/index": {"post": _simple("The models in service")},
            "/v2/models/{model}": {"get": _simple("Inputs and outputs of a model", [_model_path(names)])},
            "/v2/models/{model}/ready": {"get": _simple("Whether a model is ready", [_model_path(names)], busy=True)},
            "/v2/models/{model}/infer": {"post": infer},
            "/metrics": {"get": {"summary": "Metrics", "responses": {"200": {"description": "Prometheus' text."}}}},
        },
        "components": {
            "schemas": {"Record": _RECORD, "Error": _ERROR, "InferRequest": _INFER_REQUEST, "Tensors": _TENSORS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}] if service.settings.token else [],
    }


def _operation(summary: str, names: list[str], body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    media_type = "application/octet-stream" if body is _BYTES else "application/json"
    parameters = [
        _model_query(names),
        _query("name", {"type": "string", "default": "image"}, "What the record calls the image."),
        _query("threshold", {"type": "number", "minimum": 0, "maximum": 1}, "The least score of a face."),
        _query("at", {"type": "string"}, "An operating point of the model instead: sensitive, balanced or precise."),
        _query("long_side", {"type": "string"}, f"Of the input: pixels, original, or up to {MAX_LONG_SIDES} of these."),
    ]
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": {media_type: body}},
        "responses": {"200": answer, **_errors(_ERRORS)},
    }


def _simple(summary: str, parameters: list[dict[str, Any]] | None = None, *, busy: bool = False) -> dict[str, Any]:
    codes = ["400", "401", "404", "421"] + ["503"] * busy
    responses = {"200": {"description": "JSON", "content": {"application/json": {}}}}
    return {
        "summary": summary,
        "parameters": parameters or [],
        "responses": responses | _errors({code: _ERRORS[code] for code in codes}),
    }


def _errors(sentences: dict[str, str]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {code: {"description": sentence, "content": content} for code, sentence in sentences.items()}


def _json_response(schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": "The result.", "content": content}


def _query(name: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _model_query(names: list[str]) -> dict[str, Any]:
    schema = {"type": "string", "enum": names, "default": names[0]} if names else {"type": "string"}
    return _query("model", schema, "Which model answers.")


def _model_path(names: list[str]) -> dict[str, Any]:
    return {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "enum": names}}


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "oneOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
                },
            ]
        }
    },
}
_FACE = {
    "type": "object",
    "required": ["box", "score"],
    "properties": {
        "box": _NUMBERS | {"minItems": 4, "maxItems": 4, "description": "x1 y1 x2 y2 in pixels"},
        "score": {"type": "number", "description": "0 to 1"},
        "landmarks": {"type": "object", "additionalProperties": _NUMBERS, "description": "name → x y in pixels"},
    },
}
_RECORD = {
    "type": "object",
    "properties": {
        "schema_version": {"const": SCHEMA_VERSION},
        "input": {"type": "string", "description": "The name of the image."},
        "status": {"enum": ["ok", "empty", "error"], "description": "empty: there is no face in the image."},
        "image": {"type": ["object", "null"], "description": "width and height of the upright image in pixels"},
        "note": {"type": "string", "description": "Such as first of 12 frames."},
        "flaw": {"type": ["string", "null"], "description": "Why faces may be missed: damaged, unsupported."},
        "faces": {"type": "array", "items": _FACE, "description": "Best first."},
        "model": {"type": "object", "description": "name and sha256 of the model file"},
        "threshold": {"type": ["number", "null"], "description": "The least score of a face."},
        "milliseconds": {"type": "object", "description": "stage → milliseconds"},
        "records": {
            "type": "array",
            "items": {"type": "object"},
            "description": "With a multipart body: one per image.",
        },
    },
}
_TENSORS = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {"model_name": {"type": "string"}, "outputs": {"type": "array", "items": {"type": "object"}}},
}
_INFER_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {"enum": ["images", "encoded_images"]},
                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                    "datatype": {"enum": ["UINT8", "BYTES"]},
                    "data": {"type": "array", "description": "Bytes of pixels, or encoded images in base64."},
                },
            },
        },
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "parameters": {"type": "object", "description": "threshold, at, binary_data_output"},
    },
}
