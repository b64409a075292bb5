"""A Triton model repository with the configuration for KServe on Kubernetes, and an example request."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from mlcycle.artifact import self_test
from mlcycle.artifact.contract import INPUT, Contract
from mlcycle.artifact.seal import SealedBytes
from mlcycle.errors import UsageError
from mlcycle.exporting.formats import triton
from mlcycle.inference.session import padded

SERVICE, REQUEST = "inferenceservice.yaml", "request.json"
# Size of the example image in pixels: the smallest of the self-test's drawings, with one large face.
SIDE = 96
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://[^\s]+")


def write(folder: Path, sealed: SealedBytes, contract: Contract, storage_uri: str) -> None:
    """Writes the repository, inferenceservice.yaml and request.json into an empty folder.

    Args:
        storage_uri: URI from which the folder is served, e.g. s3://models/face or pvc://models/face.

    Raises:
        UsageError: the storage URI is invalid.
    """
    if not _SCHEME.fullmatch(storage_uri):
        raise UsageError(f"{storage_uri!r} is not a storage URI", "pass one such as s3://models/face")
    name = triton.write(folder, sealed, contract)
    service = yaml.safe_dump(_service(name, sealed, storage_uri), sort_keys=False)
    (folder / SERVICE).write_text(service, encoding="utf-8")
    (folder / REQUEST).write_text(json.dumps(example_request(contract)) + "\n", encoding="ascii")


def example_request(contract: Contract) -> dict[str, object]:
    """Returns a request in the Open Inference Protocol, version 2, for one image with a drawn face."""
    image_HW3, size = self_test.image(SIDE, SIDE, 0), contract.input_size
    if size is not None:
        image_HW3 = padded(image_HW3, size.width, size.height)
    image = {"name": INPUT, "shape": [1, *image_HW3.shape], "datatype": "UINT8", "data": image_HW3.ravel().tolist()}
    return {"id": "example", "inputs": [image], "outputs": [{"name": name} for name in contract.outputs]}


def service_name(name: str) -> str:
    """Returns a Kubernetes name for a model: lower-case letters, digits and hyphens, a letter first, at most 63."""
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"model-{plain}")[:63].strip("-")


def _service(name: str, sealed: SealedBytes, storage_uri: str) -> dict[str, object]:
    model = {
        "modelFormat": {"name": "onnx"},
        # KServe's default runtime for onnx; explicit, so that no other one is chosen.
        "runtime": "kserve-tritonserver",
        "protocolVersion": "v2",
        "storageUri": storage_uri,
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": service_name(name), "annotations": {"mlcycle/sha256": sealed.sha256}},
        "spec": {"predictor": {"model": model}},
    }
