"""A model repository for NVIDIA's Triton Inference Server: the sealed file as it is, and how to serve it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import onnx

from mlcycle.artifact.contract import Contract
from mlcycle.artifact.seal import SealedBytes
from mlcycle.exporting.sidecar_files import write_sidecar_files

TYPES: dict[int, str] = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32"}
# Images that Triton puts into one batch: enough to keep a GPU busy, few enough for any memory.
MOST_IMAGES = 8

# Triton joins only requests whose images have the same size, which is the model file's rule too. (What it calls
# allow_ragged_batch is for models that take rows of different lengths as one long one.)
_BATCHING = """
# Requests that wait are answered together, if their images have the same size. An image's rows beyond its own
# faces have score 0, and there are as many rows as the image with the most faces needs.
dynamic_batching { }
"""
_CONFIG = """\
# {name}, sha256 {sha256}
name: "{name}"
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: {most}

input [
{inputs}
]
output [
{outputs}
]
{batching}
version_policy {{ latest {{ num_versions: 1 }} }}

# Without this, Triton runs one instance on each GPU, or one on the CPU.
# instance_group [ {{ count: 2 kind: KIND_CPU }} ]
# Threads of each instance; 0 is one for each core.
# parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}

parameters {{ key: "mlcycle.sha256" value: {{ string_value: "{sha256}" }} }}
parameters {{ key: "mlcycle.threshold.balanced" value: {{ string_value: "{threshold}" }} }}
"""


def write(folder: Path, sealed: SealedBytes, contract: Contract, *, most_images: int = MOST_IMAGES) -> str:
    """Writes a repository with one model into an empty folder, and returns the model's name there.

    NAME/1/model.onnx holds the sealed bytes unchanged; beside 1/ lie config.pbtxt, labels.txt, contract.json and, if
    the model has one, self_test.json.
    """
    name, model = model_name(contract), onnx.load_model_from_string(sealed.data)
    config = _config(name, sealed, model.graph, contract.thresholds["balanced"], most_images)
    (folder / name / "1").mkdir(parents=True)
    (folder / name / "1" / "model.onnx").write_bytes(sealed.data)
    (folder / name / "config.pbtxt").write_text(config, encoding="ascii")
    (folder / name / "labels.txt").write_text("".join(f"{label}\n" for label in contract.labels), encoding="utf-8")
    write_sidecar_files(folder / name, model, contract)
    return name


def model_name(contract: Contract) -> str:
    """Returns the contract's name as one that can stand in a URL and for a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", contract.name).strip(".-") or "model"


def _config(name: str, sealed: SealedBytes, graph: onnx.GraphProto, threshold: float, most_images: int) -> str:
    any_number = not any(value.type.tensor_type.shape.dim[0].dim_value for value in (*graph.input, *graph.output))
    return _CONFIG.format(
        name=name,
        sha256=sealed.sha256,
        most=most_images if any_number else 0,
        inputs=_tensors(graph.input, 1 if any_number else 0),
        outputs=_tensors(graph.output, 1 if any_number else 0),
        batching=_BATCHING if any_number else "",
        threshold=threshold,
    )


def _tensors(values: Iterable[onnx.ValueInfoProto], first: int) -> str:
    """Tells names, types and dimensions from the first on; one that may differ between calls is -1.

    The dimension of the batch, which all tensors have first, is not told where max_batch_size is 1 or more.
    """
    return ",\n".join(
        f'  {{ name: "{value.name}" data_type: {TYPES[value.type.tensor_type.elem_type]} dims: [ '
        f"{', '.join(str(each.dim_value or -1) for each in value.type.tensor_type.shape.dim[first:])} ] }}"
        for value in values
    )
