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
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcycle.artifact import strict_json
from mlcycle.serving.problems import RequestError

HEADER_LENGTH = "inference-header-content-length"
MAX_IMAGES = 64


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
        parameters: of the request.
    """

    id: str
    tensor: Tensor
    outputs: dict[str, bool]
    is_binary: bool
    parameters: dict[str, Any]


def parse(body: bytes, header_length: str | None) -> InferRequest:
    """Parses the body of a request.

    Raises:
        RequestError: 400, it is malformed.
    """
    if header_length is None:
        text, binary = body, b""
    elif header_length.isascii() and header_length.isdecimal() and int(header_length) <= len(body):
        text, binary = body[: int(header_length)], body[int(header_length) :]
    else:
        raise _malformed(f"{HEADER_LENGTH} is not the length of the JSON")
    try:
        raw = strict_json.loads(text.decode())
    except (ValueError, RecursionError):
        raise _malformed("the body does not start with JSON") from None
    inputs = _list(_dict(raw, "the request").get("inputs"), "inputs")
    if len(inputs) != 1:
        raise _malformed("the request must have one input: images, or encoded_images")
    parameters = _dict(raw.get("parameters", {}), "parameters")
    outputs = [_dict(each, "an output") for each in _list(raw.get("outputs", []), "outputs")]
    is_binary = parameters.get("binary_data_output") is True
    return InferRequest(
        id=_text(raw.get("id", ""), "id"),
        tensor=_tensor(_dict(inputs[0], "the input"), binary),
        outputs={_text(each.get("name"), "the name of an output"): _wants_binary(each, is_binary) for each in outputs},
        is_binary=is_binary,
        parameters=parameters,
    )


def response(
    request: InferRequest, model: str, arrays: Mapping[str, np.ndarray], parameters: Mapping[str, Any]
) -> tuple[bytes, dict[str, str]]:
    """Returns the body and the headers of a response with the outputs (float32) that were requested.

    Raises:
        RequestError: 400, an output that there is not was requested.
    """
    wanted = request.outputs or dict.fromkeys(arrays, request.is_binary)
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for name, is_binary in wanted.items():
        if name not in arrays:
            raise _malformed(f"there is no output {name[:40]!r}; there are {', '.join(arrays)}")
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


def _tensor(raw: dict[str, Any], binary: bytes) -> Tensor:
    name, datatype = _text(raw.get("name"), "the name of the input"), raw.get("datatype")
    shape = _shape(raw.get("shape"))
    size = _dict(raw.get("parameters", {}), "parameters").get("binary_data_size")
    if size is not None and (type(size) is not int or size != len(binary)):
        raise _malformed("binary_data_size is not the size of the data after the JSON")
    if size is None and binary:
        raise _malformed("there are bytes after the JSON that no input has")
    if datatype == "UINT8":
        return Tensor(name, pixels_BHW3=_pixels(raw, binary if size is not None else None, shape))
    if datatype == "BYTES":
        images = _split(binary) if size is not None else [_decoded(each) for each in _flat(raw.get("data"))]
        if len(images) != _product(shape) or not 1 <= len(images) <= MAX_IMAGES:
            raise _malformed(f"the shape of the input is not that of its images, or there are more than {MAX_IMAGES}")
        return Tensor(name, images=tuple(images))
    raise _malformed("the datatype of the input must be UINT8 for images, or BYTES for encoded_images")


def _pixels(raw: dict[str, Any], binary: bytes | None, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) != 4 or shape[3] != 3 or not 1 <= shape[0] <= MAX_IMAGES or not _product(shape):
        raise _malformed(f"the shape of images must be B, height, width, 3, with B from 1 to {MAX_IMAGES}")
    if binary is not None:
        if len(binary) != _product(shape):
            raise _malformed("the shape of the input is not that of its data")
        return np.frombuffer(binary, np.uint8).reshape(shape)
    values = _flat(raw.get("data"))
    if len(values) != _product(shape) or not all(type(each) is int and 0 <= each <= 255 for each in values):
        raise _malformed("the data of the input are not as many bytes, 0 to 255, as its shape has")
    return np.array(values, np.uint8).reshape(shape)


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


def _split(binary: bytes) -> list[bytes]:
    images: list[bytes] = []
    position = 0
    while position < len(binary):
        if position + 4 > len(binary):
            raise _malformed("an element of the input has no length")
        (length,) = struct.unpack_from("<I", binary, position)
        position += 4
        if position + length > len(binary):
            raise _malformed("an element of the input is longer than its data")
        images.append(binary[position : position + length])
        position += length
    return images


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(_text(text, "an element of the input"), validate=True)
    except (binascii.Error, ValueError):
        raise _malformed("an encoded image in JSON must be base64; or send it as binary data") from None


def _wants_binary(output: dict[str, Any], default: bool) -> bool:
    wanted = _dict(output.get("parameters", {}), "parameters").get("binary_data")
    return default if wanted is None else wanted is True


def _shape(value: Any) -> tuple[int, ...]:
    shape = _list(value, "the shape of the input")
    if not all(type(each) is int and 0 <= each < 1 << 31 for each in shape):
        raise _malformed("the shape of the input is not a list of sizes")
    return tuple(shape)


def _product(shape: Sequence[int]) -> int:
    product = 1
    for each in shape:
        product *= each
    return product


def _dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _malformed(f"{what} must be an object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _malformed(f"{what} must be a list")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _malformed(f"{what} must be a string")
    return value


def _malformed(message: str) -> RequestError:
    return RequestError(400, "bad-request", message)
