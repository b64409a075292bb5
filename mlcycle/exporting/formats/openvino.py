"""OpenVINO's own format (IR), for Intel's graphics, NPUs and CPUs, and the model run by OpenVINO.

`import openvino` alone reports to its makers over the network, unless somebody told it not to. It does so by a package
of its own, openvino_telemetry, and does without where that cannot be found; here it never is.
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

    Weights and values keep their precision; QuantizeLinear and DequantizeLinear of an int8 model become what OpenVINO
    computes on bytes. The contract is the given one with the given file as its parent. The same file gives the same
    bytes for one version of OpenVINO.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ModelFileError: OpenVINO cannot read the model, or would answer wrong where it has no face.
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
        _number_anew(graph)
    except RuntimeError as problem:
        raise ModelFileError(
            f"OpenVINO {openvino.__version__} cannot read {sealed.path}: {' '.join(str(problem).split())[:300]}",
            "install another version of openvino",
        ) from None
    try:
        openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)
    except RuntimeError as problem:
        why = " ".join(str(problem).split())[:300]
        raise InputError(
            f"OpenVINO cannot write {folder}: {why}", "make room, or choose another place with -o"
        ) from None


def runner(folder: Path) -> Run:
    """Returns the model in a folder, run by OpenVINO on one thread of the CPU, else as it is when nobody says how.

    Where the processor has bfloat16, OpenVINO computes what is not int8 in it.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    import json

    core = _openvino().Core()
    settings = {"INFERENCE_NUM_THREADS": 1}  # as what it is compared with
    request = core.compile_model(core.read_model(folder / GRAPH), "CPU", settings).create_infer_request()
    has_landmarks = bool(json.loads((folder / CONTRACT).read_text("ascii"))["landmarks"])

    def output(name: str) -> np.ndarray:
        return request.get_tensor(name).data.copy()  # the request writes into the same memory again

    def run(images_BHW3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        request.infer({INPUT: np.ascontiguousarray(images_BHW3)})
        return output("boxes"), output("scores"), output("landmarks") if has_landmarks else None

    return run


def _number_anew(graph: Any) -> None:
    """OpenVINO counts what it makes itself through all graphs of a process: Constant_1203. Here it is by this graph."""
    for number, operator in enumerate(graph.get_ordered_ops()):
        kind = operator.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", operator.get_friendly_name()):
            operator.set_friendly_name(f"{kind}_{number}")


def _openvino() -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # how Python says: not to be found
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("the format openvino", "openvino") from None
    return openvino
