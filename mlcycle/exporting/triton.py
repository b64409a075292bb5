"""A model repository for NVIDIA's Triton Inference Server: the sealed file as it is, and how to serve it."""

from __future__ import annotations

import re
from pathlib import Path

import onnx

from mlcycle.artifact.contract import INPUT, Contract
from mlcycle.artifact.seal import SealedBytes
from mlcycle.exporting.papers import write_papers

DIMS = {INPUT: "-1, -1, 3", "boxes": "-1, 4", "scores": "-1", "landmarks": "-1, 5, 2"}
# Pictures that Triton puts into one batch: enough to keep a GPU busy, few enough for any memory.
MOST_PICTURES = 8

# The dimension of the batch, which all tensors have first, is not told where max_batch_size is 1 or more. Triton joins
# only requests whose pictures have the same size, which is the model file's rule too (allow_ragged_batch is for models
# that take rows of different lengths as one long one). N, the faces, may differ between calls: -1.
_CONFIG = """\
# {name}, sha256 {sha256}
name: "{name}"
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: {most}

input [
  {{ name: "{input}" data_type: TYPE_UINT8 dims: [ {dims} ] }}
]
output [
{outputs}
]

# Requests that wait are answered together, if their pictures have the same size. A picture's rows beyond its own
# faces have score 0, and there are as many rows as the picture with the most faces needs.
dynamic_batching {{ }}

version_policy {{ latest {{ num_versions: 1 }} }}

# Without this, Triton runs one instance on each GPU, or one on the CPU.
# instance_group [ {{ count: 2 kind: KIND_CPU }} ]
# Threads of each instance; 0 is one for each core.
# parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}

parameters {{ key: "mlcycle.sha256" value: {{ string_value: "{sha256}" }} }}
parameters {{ key: "mlcycle.threshold.balanced" value: {{ string_value: "{threshold}" }} }}
"""


def write(folder: Path, sealed: SealedBytes, contract: Contract, *, most_pictures: int = MOST_PICTURES) -> str:
    """Writes a repository with one model into an empty folder, and returns the model's name there.

    NAME/1/model.onnx holds the sealed bytes unchanged; beside 1/ lie config.pbtxt, labels.txt, contract.json and, if
    the model has one, self_test.json.
    """
    name = model_name(contract)
    (folder / name / "1").mkdir(parents=True)
    (folder / name / "1" / "model.onnx").write_bytes(sealed.data)
    (folder / name / "config.pbtxt").write_text(_config(name, sealed, contract, most_pictures), encoding="ascii")
    (folder / name / "labels.txt").write_text("".join(f"{label}\n" for label in contract.labels), encoding="utf-8")
    write_papers(folder / name, onnx.load_model_from_string(sealed.data), contract)
    return name


def model_name(contract: Contract) -> str:
    """Returns the contract's name as one that can stand in a URL and for a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", contract.name).strip(".-") or "model"


def _config(name: str, sealed: SealedBytes, contract: Contract, most_pictures: int) -> str:
    outputs = ",\n".join(
        f'  {{ name: "{output}" data_type: TYPE_FP32 dims: [ {DIMS[output]} ] }}' for output in contract.outputs
    )
    return _CONFIG.format(
        name=name,
        sha256=sealed.sha256,
        most=most_pictures,
        input=INPUT,
        dims=DIMS[INPUT],
        outputs=outputs,
        threshold=contract.thresholds["balanced"],
    )
