"""OpenVINO's format (IR), for Intel GPUs, NPUs and CPUs, and inference with OpenVINO.

`import openvino` sends telemetry over the network, unless the user has opted out. It uses the package
openvino_telemetry and works without it; this module always hides that package.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mlcycle.artifact.contract import CONTRACT_KEY, INPUT, Contract
from mlcycle.artifact.seal import SealedBytes
from mlcycle.errors import InputError, MissingExtraError, ModelFileError
from mlcycle.exporting.never_empty import never_empty
from mlcycle.exporting.sidecar_files import CONTRACT, write_sidecar_files

GRAPH = "model.xml"
# Images uint8 [B, H, W, 3] → boxes_BN4 (x1 y1 x2 y2, input pixels), scores_BN and landmarks_BN52 or None.
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray | None]]


def write(folder: Path, sealed: SealedBytes, contract: Contract) -> None:
    """Writes model.xml, model.bin, contract.json and, if the model has one, self_test.json into an empty folder.

    Weights and activations keep their precision; OpenVINO runs QuantizeLinear and DequantizeLinear of an int8 model in
    int8. The contract is the given one with the given file as its parent. One version of OpenVINO always writes the
    same bytes.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ModelFileError: OpenVINO cannot read the model, or the graph cannot be made safe for images without faces.
        InputError: OpenVINO cannot write into the folder.
    """
    openvino = _openvino()
    model = onnx.load_model_from_string(sealed.data)
    child = replace(contract, parent=sealed.sha256)
    write_sidecar_files(folder, model, child)
    model = never_empty(model)
    del model.metadata_props[:]
    model.metadata_props.add(key=CONTRACT_KEY, value=child.to_json())
    try:
        graph = openvino.Core().read_model(model.SerializeToString())
        _renumber(graph)
    except RuntimeError as problem:
        raise ModelFileError(
            f"OpenVINO {openvino.__version__} cannot read {sealed.path}: {' '.join(str(problem).split())[:300]}",
            "install another version of openvino",
        ) from None
    try:
        openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)
    except RuntimeError as problem:
        why = " ".join(str(problem).split())[:300]
        raise InputError(f"OpenVINO cannot write {folder}: {why}", "choose another folder with -o") from None


def runner(folder: Path) -> Run:
    """Returns a function that runs the model in a folder with OpenVINO on one CPU thread, with default settings.

    If the processor supports bfloat16, OpenVINO uses it for everything that is not int8.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    import json

    core = _openvino().Core()
    settings = {"INFERENCE_NUM_THREADS": 1}  # as the model that it is compared with
    request = core.compile_model(core.read_model(folder / GRAPH), "CPU", settings).create_infer_request()
    has_landmarks = bool(json.loads((folder / CONTRACT).read_text("ascii"))["landmarks"])

    def output(name: str) -> np.ndarray:
        return request.get_tensor(name).data.copy()  # the request reuses its memory

    def run(images_BHW3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        request.infer({INPUT: np.ascontiguousarray(images_BHW3)})
        return output("boxes"), output("scores"), output("landmarks") if has_landmarks else None

    return run


def _renumber(graph: Any) -> None:
    """Renumbers generated names such as Constant_1203 within this graph; OpenVINO numbers them within the process."""
    for number, operator in enumerate(graph.get_ordered_ops()):
        kind = operator.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", operator.get_friendly_name()):
            operator.set_friendly_name(f"{kind}_{number}")


def _openvino() -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes Python treat it as not installed
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("the format openvino", "openvino") from None
    return openvino
