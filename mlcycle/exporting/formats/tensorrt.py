"""A TensorRT engine, built ahead of time, for NVIDIA GPUs.

onnxruntime builds the engine and writes it into an ONNX file, in place of the nodes that TensorRT runs (an EPContext
node); the other nodes stay unchanged. onnxruntime-gpu loads the file in seconds, while building takes minutes. An
engine runs only on the kind of GPU and the version of TensorRT that built it. It contains GPU code: mlcycle itself
loads no engine, as it loads no operators of other domains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from mlcycle.artifact.contract import INPUT, Contract
from mlcycle.artifact.seal import SealedBytes
from mlcycle.errors import DeviceError
from mlcycle.exporting.sidecar_files import write_sidecar_files

PROVIDER = "TensorrtExecutionProvider"
ENGINE = "engine.onnx"
# Largest batch of the engine.
MOST_IMAGES = 8
# For nodes that TensorRT cannot run.
_OTHERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
# Images uint8 [B, H, W, 3] → boxes_BN4 (x1 y1 x2 y2, input pixels), scores_BN and landmarks_BN52 or None.
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray | None]]
_HINT = "install the GPU driver and the TensorRT libraries in the versions that this onnxruntime needs"


def write(folder: Path, sealed: SealedBytes, contract: Contract) -> None:
    """Builds an engine for the GPU of this machine, with contract.json and, if the model has one, self_test.json.

    It accepts images from 32 x 32 pixels up to squares of the contract's long side, or of the fixed input size. The
    contract is the given one with the given file as its parent.

    Raises:
        DeviceError: TensorRT or the GPU is missing, or cannot be used.
    """
    if PROVIDER not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"TensorRT is not available: onnxruntime {onnxruntime.__version__} was built without it",
            "install onnxruntime-gpu and tensorrt on a machine with an NVIDIA GPU, and export there",
        )
    child = replace(contract, parent=sealed.sha256)
    _build(sealed, child, folder / ENGINE)
    write_sidecar_files(folder, onnx.load_model_from_string(sealed.data), child)


def runner(folder: Path) -> Run:
    """Returns a function that runs the engine in a folder with TensorRT.

    Raises:
        DeviceError: TensorRT or the GPU cannot be used.
    """
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        folder / ENGINE, quiet, providers=[PROVIDER, *_OTHERS], enable_fallback=False
    )
    if session.get_providers()[0] != PROVIDER:
        raise DeviceError("TensorRT is installed, but onnxruntime could not start it and used another provider", _HINT)
    names = [each.name for each in session.get_outputs()]

    def run(images_BHW3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        found = dict(zip(names, session.run(names, {INPUT: images_BHW3}), strict=True))
        return found["boxes"], found["scores"], found.get("landmarks")

    return run


def _build(sealed: SealedBytes, contract: Contract, path: Path) -> None:
    side = contract.resize.long_side
    options = {
        "trt_dump_ep_context_model": "1",
        "trt_ep_context_embed_mode": "1",
        "trt_ep_context_file_path": str(path),
        "trt_fp16_enable": str(int(contract.precision == "float16")),
        "trt_int8_enable": str(int(contract.precision == "int8")),
    }
    if contract.input_size is None:
        options["trt_profile_min_shapes"] = f"{INPUT}:1x32x32x3"
        options["trt_profile_opt_shapes"] = f"{INPUT}:1x{side}x{side}x3"
        options["trt_profile_max_shapes"] = f"{INPUT}:{MOST_IMAGES}x{side}x{side}x3"
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            sealed.data, quiet, providers=[(PROVIDER, options), *_OTHERS], enable_fallback=False
        )
    except Exception as problem:  # onnxruntime has a dozen classes
        raise DeviceError(f"TensorRT cannot build an engine: {' '.join(str(problem).split())[:300]}", _HINT) from None
    if session.get_providers()[0] != PROVIDER or not path.exists():
        raise DeviceError("TensorRT is installed, but onnxruntime could not start it and used another provider", _HINT)
