"""A program that uses KServe's client; run by the Python that has it, which need not be the tests' own.

usage: kserve_program.py URL MODEL IMAGE PIXELS.npy → JSON: what the server answered
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def tensor(name: str, array: np.ndarray, datatype: str, *, binary: bool) -> InferInput:
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def listed(response: Any) -> dict[str, Any]:
    outputs = {each.name: each.as_numpy() for each in response.outputs}
    return {name: {"shape": list(array.shape), "hex": array.tobytes().hex()} for name, array in outputs.items()}


async def main(url: str, model: str, image: bytes, pixels_BHW3: np.ndarray) -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    answers: dict[str, Any] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model ready": await client.is_model_ready(url, model),
        "other model ready": await client.is_model_ready(url, "other"),
    }
    for binary in (True, False):
        outputs = [RequestedOutput(name, {"binary_data": binary}) for name in ("boxes", "scores", "landmarks")]
        file = np.array([image if binary else base64.b64encode(image)], np.object_)
        inputs = {
            "pixels": tensor("images", pixels_BHW3, "UINT8", binary=binary),
            "file": tensor("encoded_images", file, "BYTES", binary=binary),
        }
        for name, each in inputs.items():
            request = InferRequest(model, [each], request_outputs=outputs)
            answers[f"{name}, {binary}"] = listed(await client.infer(url, request, model_name=model))
    try:
        await client.infer(url, InferRequest(model, [tensor("no", file, "BYTES", binary=True)]), model_name=model)
    except httpx.HTTPStatusError as problem:
        answers["refused"] = str(problem)
    await client.close()
    return answers


if __name__ == "__main__":
    url, model, image, pixels = sys.argv[1:]
    print(json.dumps(asyncio.run(main(url, model, Path(image).read_bytes(), np.load(pixels)))))
