"""What the Open Inference Protocol tells about a server and its models, with Triton's extensions for its clients."""

from __future__ import annotations

from typing import Any

import mlcycle
from mlcycle.artifact.contract import INPUT, Contract
from mlcycle.serving.metrics import Metrics
from mlcycle.serving.served_model import ServedModel

# The input for files of images, which are decoded as `mlcycle infer` does.
ENCODED = "encoded_images"
VERSION = "1"
_EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration", "statistics"]
# Triton's name → the stages of a request that it sums up.
_STAGES = {
    "queue": ("queue",),
    "compute_input": ("decode", "resize"),
    "compute_infer": ("run",),
    "compute_output": ("select",),
    "success": ("request",),
}


def server_metadata() -> dict[str, Any]:
    """Returns the name, the version and the extensions of the server."""
    return {"name": "mlcycle", "version": mlcycle.__version__, "extensions": _EXTENSIONS}


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """Returns a model's inputs and outputs; a request has one of the inputs."""
    contract = model.detector.contract
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": "onnx_mlcycle",
        "inputs": [
            {"name": INPUT, "datatype": "UINT8", "shape": _pixels_shape(contract)},
            {"name": ENCODED, "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": shape} for name, shape in _output_shapes(contract).items()
        ],
        "parameters": {"sha256": model.detector.sha256, "thresholds": contract.thresholds},
    }


def model_config(model: ServedModel, workers: int) -> dict[str, Any]:
    """Returns a model's configuration, as Triton's extension "model configuration" has it."""
    contract = model.detector.contract
    return {
        "name": model.name,
        "platform": "onnx_mlcycle",
        "max_batch_size": 0,
        "input": [
            {"name": INPUT, "data_type": "TYPE_UINT8", "dims": _pixels_shape(contract), "optional": True},
            {"name": ENCODED, "data_type": "TYPE_STRING", "dims": [-1], "optional": True},
        ],
        "output": [
            {"name": name, "data_type": "TYPE_FP32", "dims": shape} for name, shape in _output_shapes(contract).items()
        ],
        "instance_group": [{"kind": "KIND_CPU" if model.detector.provider == "cpu" else "KIND_GPU", "count": workers}],
    }


def statistics(metrics: Metrics, names: list[str]) -> dict[str, Any]:
    """Returns how many requests were answered and how long their stages took, as Triton's extension has it."""
    return {"model_stats": [_statistics(metrics, name) for name in names]}


def _statistics(metrics: Metrics, name: str) -> dict[str, Any]:
    succeeded, failed, images = metrics.counts(name)
    durations = {
        what: {"count": succeeded, "ns": 1000 * metrics.microseconds(name, stages)} for what, stages in _STAGES.items()
    }
    return {
        "name": name,
        "version": VERSION,
        "inference_count": images,
        "execution_count": images,
        "inference_stats": {**durations, "fail": {"count": failed, "ns": 0}},
        "batch_stats": [],
    }


def _pixels_shape(contract: Contract) -> list[int]:
    size = contract.input_size
    return [size.batch, size.height, size.width, 3] if size else [-1, -1, -1, 3]


def _output_shapes(contract: Contract) -> dict[str, list[int]]:
    shapes = {"boxes": [-1, -1, 4], "scores": [-1, -1], "landmarks": [-1, -1, len(contract.landmarks), 2]}
    return {name: shapes[name] for name in contract.outputs}
