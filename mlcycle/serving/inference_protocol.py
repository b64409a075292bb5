"""Requests and responses of the Open Inference Protocol, version 2, over HTTP, with its binary tensor extension.

A request is JSON, which may be followed by the bytes of tensors; the header Inference-Header-Content-Length has the
length of the JSON. Elements of type BYTES are a length of four bytes, little-endian, and as many bytes. In JSON they
are text in base64, because the bytes of an image are not text.

https://github.com/kserve/open-inference-protocol and Triton's extension "binary tensor data".
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcycle.artifact import strict_json
from mlcycle.serving.problems import RequestError

HEADER_LENGTH = "inference-header-content-length"
MAX_IMAGES = 64
# Of the JSON of a request: parsing as many takes a fraction of a second, in which nobody else is answered.
MAX_JSON_VALUES = 1 << 21
_REQUEST_PARAMETERS = ("threshold", "at", "long_side", "binary_data_output")


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input: uint8 pixels of shape (B, H, W, 3), or the bytes of B encoded images."""

    name: str
    pixels_BHW3: np.ndarray | None = None
    images: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request.

    Attributes:
        id: to be repeated in the response; "" for none.
        tensor: the only input.
        outputs: name → whether its data are to be binary; empty for all outputs.
        is_binary: whether outputs that are not named are to be binary.
        parameters: threshold, at and long_side, of those that are given.
    """

    id: str
    tensor: Tensor
    outputs: dict[str, bool]
    is_binary: bool
    parameters: dict[str, Any]


def parse(body: bytes, header_length: str | None) -> InferRequest:
    """Parses the body of a request.

    Raises:
        RequestError: 400, it is malformed; 413, its JSON has too many values.
    """
    text, binary = _split_body(body, header_length)
    try:
        raw = _dict(strict_json.loads(text.decode()), "the request")
    except (ValueError, RecursionError):
        raise _malformed("the body does not start with JSON") from None
    inputs = _list(raw.get("inputs"), "inputs")
    if len(inputs) != 1:
        raise _malformed("the request must have one input: images, or encoded_images")
    parameters = _known(raw, _REQUEST_PARAMETERS, "the request")
    is_binary = _flag(parameters.pop("binary_data_output", False), "binary_data_output")
    outputs = [_dict(each, "an output") for each in _list(_given(raw, "outputs", []), "outputs")]
    return InferRequest(
        id=_text(_given(raw, "id", ""), "id"),
        tensor=_tensor(_dict(inputs[0], "the input"), binary),
        outputs={_text(each.get("name"), "the name of an output"): _wants_binary(each, is_binary) for each in outputs},
        is_binary=is_binary,
        parameters=parameters,
    )


def check_outputs(request: InferRequest, outputs: Sequence[str]) -> None:
    """Raises RequestError (400) if an output is requested that the model does not have."""
    for name in request.outputs:
        if name not in outputs:
            raise _malformed(f"there is no output {name[:40]!r}; there are {', '.join(outputs)}")


def response(
    request: InferRequest, model: str, arrays: Mapping[str, np.ndarray], parameters: Mapping[str, Any]
) -> tuple[bytes, dict[str, str]]:
    """Returns the body and the headers of a response with the outputs (float32) that were requested."""
    wanted = request.outputs or dict.fromkeys(arrays, request.is_binary)
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for name, is_binary in wanted.items():
        array = np.ascontiguousarray(arrays[name], "<f4")
        output: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(array.shape)}
        if is_binary:
            output["parameters"] = {"binary_data_size": array.nbytes}
            binary.append(array.tobytes())
        else:
            output["data"] = array.ravel().tolist()
        outputs.append(output)
    document = {"model_name": model, "model_version": "1", "outputs": outputs, "parameters": dict(parameters)}
    if request.id:
        document["id"] = request.id
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    if not binary:
        return text, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return b"".join([text, *binary]), headers


def _split_body(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    """Returns the JSON of a request and the bytes after it."""
    size = len(body) if header_length is None else -1
    if header_length is not None and header_length.isascii() and header_length.isdecimal() and len(header_length) < 19:
        size = int(header_length)
    if not 0 <= size <= len(body):
        raise _malformed(f"{HEADER_LENGTH} is not the length of the JSON")
    text, binary = body[:size], memoryview(body)[size:]
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        message = f"the JSON has more than {MAX_JSON_VALUES:,} values; send tensors as binary data"
        raise RequestError(413, "too-large", message)
    return text, binary


def _tensor(raw: dict[str, Any], binary: memoryview) -> Tensor:
    name, datatype = _text(raw.get("name"), "the name of the input"), raw.get("datatype")
    shape = _shape(raw.get("shape"))
    size = _dict(_given(raw, "parameters", {}), "parameters").get("binary_data_size")
    if size is not None and (type(size) is not int or size != len(binary) or "data" in raw):
        raise _malformed("binary_data_size is not the size of the data after the JSON, or there are data in it too")
    if size is None and binary:
        raise _malformed("there are bytes after the JSON that no input has")
    if datatype == "UINT8":
        return Tensor(name, pixels_BHW3=_pixels(raw, binary if size is not None else None, shape))
    if datatype == "BYTES":
        if not 1 <= math.prod(shape) <= MAX_IMAGES:
            raise _malformed(f"the shape of encoded_images must be that of 1 to {MAX_IMAGES} images")
        images = _elements(binary) if size is not None else [_decoded(each) for each in _flat(raw.get("data"))]
        if len(images) != math.prod(shape):
            raise _malformed("the shape of the input is not that of its data")
        return Tensor(name, images=tuple(images))
    raise _malformed("the datatype of the input must be UINT8 for images, or BYTES for encoded_images")


def _pixels(raw: dict[str, Any], binary: memoryview | None, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) != 4 or shape[3] != 3 or not 1 <= shape[0] <= MAX_IMAGES or not math.prod(shape):
        raise _malformed(f"the shape of images must be B, height, width, 3, with B from 1 to {MAX_IMAGES}")
    data = binary if binary is not None else _bytes_of(_flat(raw.get("data")))
    if len(data) != math.prod(shape):
        raise _malformed("the shape of the input is not that of its data")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _bytes_of(values: list[Any]) -> bytes:
    try:
        if all(kind is int for kind in set(map(type, values))):  # True is 1 to bytes()
            return bytes(values)
    except ValueError:
        pass
    raise _malformed("the data of the input are not bytes, 0 to 255")


def _flat(data: Any) -> list[Any]:
    """Returns the elements of nested lists, in order: the protocol allows both forms."""
    flat = _list(data, "the data of the input")
    for _ in range(4):
        if not flat or not isinstance(flat[0], list):
            break
        if not all(isinstance(each, list) for each in flat):
            raise _malformed("the data of the input are not a tensor")
        flat = [each for part in flat for each in part]
    return flat


def _elements(binary: memoryview) -> list[bytes]:
    """Returns the elements of a tensor of BYTES; one more than MAX_IMAGES if there are more."""
    elements: list[bytes] = []
    position = 0
    while position < len(binary) and len(elements) <= MAX_IMAGES:
        (length,) = struct.unpack_from("<I", binary, position) if position + 4 <= len(binary) else (len(binary),)
        position += 4
        if position + length > len(binary):
            raise _malformed("an element of the input is longer than its data")
        elements.append(bytes(binary[position : position + length]))
        position += length
    return elements


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(_text(text, "an element of the input"), validate=True)
    except (binascii.Error, ValueError):
        raise _malformed("an encoded image in JSON must be base64; or send it as binary data") from None


def _wants_binary(output: dict[str, Any], default: bool) -> bool:
    return _flag(_known(output, ("binary_data",), "an output").get("binary_data", default), "binary_data")


def _known(raw: dict[str, Any], known: tuple[str, ...], of: str) -> dict[str, Any]:
    """Returns the parameters of a request or an output: a misspelt threshold must not be ignored."""
    parameters = _dict(_given(raw, "parameters", {}), "parameters")
    for name in parameters:
        if name not in known:
            raise _malformed(f"{of} has no parameter {name[:40]!r}; there are {', '.join(known)}")
    return dict(parameters)


def _shape(value: Any) -> tuple[int, ...]:
    shape = _list(value, "the shape of the input")
    if not 1 <= len(shape) <= 4 or not all(type(each) is int and 0 <= each < 1 << 31 for each in shape):
        raise _malformed("the shape of the input is not a list of one to four sizes")
    return tuple(shape)


def _given(raw: dict[str, Any], key: str, default: Any) -> Any:
    """Returns a value; null is what some clients send for none."""
    value = raw.get(key)
    return default if value is None else value


def _dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _malformed(f"{what} must be an object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _malformed(f"{what} must be a list")
    return value


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise _malformed(f"{what} must be true or false")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _malformed(f"{what} must be a string")
    return value


def _malformed(message: str) -> RequestError:
    return RequestError(400, "bad-request", message)
