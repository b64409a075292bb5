"""The JSON of requests and responses, as schemas of the OpenAPI document."""

from __future__ import annotations

from typing import Any

from mlcycle.inference.record import SCHEMA_VERSION
from mlcycle.serving.inference_protocol import MAX_IMAGES
from mlcycle.serving.parameters import MAX_LONG_SIDES

Schema = dict[str, Any]

LONG_SIDE = r"(original|[1-9][0-9]{0,2}|[1-3][0-9]{3}|40[0-8][0-9]|409[0-6])"
LONG_SIDES: Schema = {
    "type": "string",
    "pattern": f"^{LONG_SIDE}(,{LONG_SIDE}){{0,{MAX_LONG_SIDES - 1}}}$",
    "description": f"Long side of the input: pixels, original, or up to {MAX_LONG_SIDES} of these.",
}
THRESHOLD: Schema = {"type": "number", "minimum": 0, "maximum": 1, "description": "The least score of a face."}
_NUMBERS: Schema = {"type": "array", "items": {"type": "number"}}
_TEXT: Schema = {"type": "string"}
_SHAPE: Schema = {"type": "array", "items": {"type": "integer", "minimum": 1}}
_PROBLEM: Schema = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": _TEXT, "message": _TEXT},
}
_FACE: Schema = {
    "type": "object",
    "required": ["box", "score"],
    "properties": {
        "box": _NUMBERS | {"minItems": 4, "maxItems": 4, "description": "x1 y1 x2 y2 in pixels of the upright image"},
        "score": {"type": "number", "minimum": 0, "maximum": 1, "description": "0 to 1"},
        "landmarks": {"type": "object", "additionalProperties": _NUMBERS, "description": "name → x y in pixels"},
    },
}
_RECORD: Schema = {
    "type": "object",
    "required": ["schema_version", "input", "status", "error", "image", "faces", "model", "threshold", "milliseconds"],
    "properties": {
        "schema_version": {"const": SCHEMA_VERSION},
        "input": _TEXT | {"description": "The name of the image."},
        "status": {"enum": ["ok", "empty", "error"], "description": "empty: there is no face in the image."},
        "error": _PROBLEM | {"type": ["object", "null"]},
        "image": {
            "type": ["object", "null"],
            "required": ["width", "height"],
            "properties": {"width": {"type": "integer"}, "height": {"type": "integer"}},
            "description": "The upright image, in pixels.",
        },
        "note": _TEXT | {"description": "Such as first of 12 frames."},
        "flaw": {"type": ["string", "null"], "description": "Why faces may be missed: damaged, unsupported."},
        "faces": {"type": "array", "items": _FACE, "description": "Best first."},
        "model": {"type": "object", "properties": {"name": _TEXT, "sha256": _TEXT}, "description": "The model file."},
        "threshold": {"type": ["number", "null"], "description": "The least score of a face."},
        "provider": _TEXT | {"description": "What ran the model: cpu, cuda …"},
        "milliseconds": {
            "type": "object",
            "additionalProperties": {"type": "number"},
            "description": "stage → milliseconds",
        },
    },
}
_RECORDS: Schema = {
    "type": "object",
    "required": ["schema_version", "records"],
    "properties": {
        "schema_version": {"const": SCHEMA_VERSION},
        "records": {"type": "array", "items": {"$ref": "#/components/schemas/Record"}},
    },
}
_RESPONSE: Schema = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "id": _TEXT,
        "model_name": _TEXT,
        "model_version": _TEXT,
        "parameters": {"type": "object"},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "datatype", "shape"],
                "properties": {
                    "name": _TEXT,
                    "datatype": {"const": "FP32"},
                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                    "data": _NUMBERS,
                    "parameters": {"type": "object"},
                },
            },
        },
    },
}


def schemas(outputs: list[str], points: list[str]) -> dict[str, Schema]:
    """Returns the document's named schemas.

    Args:
        outputs: of the models.
        points: operating points of the models.
    """
    error = {"oneOf": [_TEXT | {"description": "Below /v2."}, _PROBLEM]}
    return {
        "Record": _RECORD,
        "Records": _RECORDS,
        "InferRequest": _request(outputs, points),
        "InferResponse": _RESPONSE,
        "Error": {"type": "object", "required": ["error"], "properties": {"error": error}},
    }


def _request(outputs: list[str], points: list[str]) -> Schema:
    parameters = {
        "threshold": THRESHOLD,
        "at": {"enum": points},
        "long_side": LONG_SIDES,
        "binary_data_output": {"type": "boolean"},
    }
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": outputs}, "parameters": _closed({"binary_data": {"type": "boolean"}})},
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": _TEXT,
            "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"oneOf": [_pixels(), _encoded()]}},
            "outputs": {"type": "array", "items": output},
            "parameters": _closed(parameters) | {"description": "The first three are for encoded_images."},
        },
    }


def _pixels() -> Schema:
    data = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}
    shape = _SHAPE | {"minItems": 4, "maxItems": 4, "description": "B, height, width, 3: RGB"}
    return _input("images", "UINT8", shape, data)


def _encoded() -> Schema:
    data = {"type": "array", "minItems": 1, "maxItems": MAX_IMAGES, "items": _TEXT | {"contentEncoding": "base64"}}
    return _input("encoded_images", "BYTES", _SHAPE | {"minItems": 1, "maxItems": 4}, data)


def _input(name: str, datatype: str, shape: Schema, data: Schema) -> Schema:
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {"name": {"const": name}, "datatype": {"const": datatype}, "shape": shape, "data": data},
    }


def _closed(properties: dict[str, Any]) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}
