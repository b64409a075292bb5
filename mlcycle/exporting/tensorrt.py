"""An engine of TensorRT, built ahead of time, for NVIDIA's graphics processors.

onnxruntime builds it and puts it into an ONNX file, in place of what TensorRT computes (an EPContext node): such a file
is loaded like any other, with --provider tensorrt, and starts in seconds where building takes minutes. What TensorRT
cannot compute stays as it is, in the same file. An engine runs on the kind of GPU and the version of TensorRT that
built it, and on no other.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime

from mlcycle.artifact.contract import INPUT, Contract
from mlcycle.artifact.packing import pack
from mlcycle.artifact.seal import SealedBytes
from mlcycle.errors import DeviceError
from mlcycle.exporting.papers import write_papers

PROVIDER = "TensorrtExecutionProvider"
ENGINE = "model.onnx"
# Pictures of one batch that the engine is built for, at most.
MOST_PICTURES = 8


def write(folder: Path, sealed: SealedBytes, contract: Contract) -> None:
    """Builds an engine for this machine's GPU, in a sealed file, with contract.json and self_test.json beside it.

    It takes pictures of 32 x 32 pixels up to squares of the contract's long side. The contract is the given one with
    the given file as its parent.

    Raises:
        DeviceError: TensorRT or the GPU is not there, or cannot be started.
    """
    if PROVIDER not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"TensorRT is not there: onnxruntime {onnxruntime.__version__} of this machine was built without it",
            "install onnxruntime-gpu and tensorrt on a machine with an NVIDIA GPU, and export there",
        )
    child = replace(contract, parent=sealed.sha256)
    with tempfile.TemporaryDirectory(prefix="mlcycle-export-") as scratch:
        engine = _built(sealed, child, Path(scratch) / ENGINE)
    (folder / ENGINE).write_bytes(pack(engine, child))
    write_papers(folder, onnx.load_model_from_string(sealed.data), child)


def _built(sealed: SealedBytes, contract: Contract, path: Path) -> onnx.ModelProto:
    side = contract.resize.long_side
    options = {
        "trt_dump_ep_context_model": "1",
        "trt_ep_context_embed_mode": "1",
        "trt_ep_context_file_path": str(path),
        "trt_fp16_enable": str(int(contract.precision == "float16")),
        "trt_int8_enable": str(int(contract.precision == "int8")),
        "trt_profile_min_shapes": f"{INPUT}:1x32x32x3",
        "trt_profile_opt_shapes": f"{INPUT}:1x{side}x{side}x3",
        "trt_profile_max_shapes": f"{INPUT}:{MOST_PICTURES}x{side}x{side}x3",
    }
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    others = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(sealed.data, quiet, providers=[(PROVIDER, options), *others])
    except Exception as problem:  # onnxruntime has a dozen classes
        raise DeviceError(f"TensorRT cannot build an engine: {' '.join(str(problem).split())[:300]}", _HINT) from None
    if session.get_providers()[0] != PROVIDER or not path.exists():
        raise DeviceError("TensorRT is installed, but onnxruntime could not start it and took another", _HINT)
    return onnx.load(path)


_HINT = "see that the GPU's driver and TensorRT's libraries are there, in the versions that this onnxruntime asks for"
