"""A model repository for NVIDIA Triton Inference Server: the sealed file unchanged, and its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import onnx

from mlcycle.artifact.contract import Contract
from mlcycle.artifact.seal import SealedBytes
from mlcycle.exporting.sidecar_files import write_sidecar_files

TYPES: dict[int, str] = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32"}
# Largest batch: enough to use a GPU well, and small enough for its memory.
MOST_IMAGES = 8

# Triton batches only requests whose images have the same size, as the model file requires. (Its allow_ragged_batch is
# for models that take rows of different lengths as one long row.)
_BATCHING = """
# Waiting requests are batched if their images have the same size. A batch has as many rows as its image with the most
# faces; the extra rows of the other images have score 0.
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
# Threads of each instance; 0 is one per core.
# parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}

parameters {{ key: "mlcycle.sha256" value: {{ string_value: "{sha256}" }} }}
parameters {{ key: "mlcycle.threshold.balanced" value: {{ string_value: "{threshold}" }} }}
"""


def write(folder: Path, sealed: SealedBytes, contract: Contract, *, most_images: int = MOST_IMAGES) -> str:
    """Writes a repository with one model into an empty folder, and returns the model's name there.

    NAME/1/model.onnx is the sealed file unchanged. NAME/ also has config.pbtxt, labels.txt, contract.json and, if the
    model has one, self_test.json.
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
    """Returns the contract's name in a form that is valid in a URL and as a folder name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", contract.name).strip(".-") or "model"


def _config(name: str, sealed: SealedBytes, graph: onnx.GraphProto, threshold: float, most_images: int) -> str:
    is_dynamic = not any(value.type.tensor_type.shape.dim[0].dim_value for value in (*graph.input, *graph.output))
    return _CONFIG.format(
        name=name,
        sha256=sealed.sha256,
        most=most_images if is_dynamic else 0,
        inputs=_tensors(graph.input, 1 if is_dynamic else 0),
        outputs=_tensors(graph.output, 1 if is_dynamic else 0),
        batching=_BATCHING if is_dynamic else "",
        threshold=threshold,
    )


def _tensors(values: Iterable[onnx.ValueInfoProto], first: int) -> str:
    """Returns names, types and dimensions from index `first` on; dynamic dimensions are -1.

    The batch dimension, which is the first of all tensors, is omitted if max_batch_size is 1 or more.
    """
    return ",\n".join(
        f'  {{ name: "{value.name}" data_type: {TYPES[value.type.tensor_type.elem_type]} dims: [ '
        f"{', '.join(str(each.dim_value or -1) for each in value.type.tensor_type.shape.dim[first:])} ] }}"
        for value in values
    )
