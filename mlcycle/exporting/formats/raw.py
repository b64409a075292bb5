"""A graph of fixed size without the selection of faces, for runtimes that cannot run that, and its source code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from mlcycle.artifact.contract import CONTRACT_KEY, INPUT, Contract, InputSize
from mlcycle.artifact.seal import SealedBytes
from mlcycle.artifact.self_test import SELF_TEST_KEY
from mlcycle.errors import ModelFileError
from mlcycle.exporting.fixed_shape import self_test_at
from mlcycle.exporting.formats.nms_samples.nms import nms
from mlcycle.exporting.sidecar_files import CONTRACT, write_sidecar_files
from mlcycle.exporting.without_selection import without_selection
from mlcycle.inference.session import Session

GRAPH = "model.onnx"
SAMPLES = ("nms.py", "nms.hpp", "nms.js")
# The contract's `selection.method`: the program that runs the graph selects the faces.
METHOD = "none"
# Images uint8 [1, H, W, 3] → boxes_1N4 (x1 y1 x2 y2, input pixels), scores_1N and landmarks_1N52 or None.
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray | None]]


def contract_of(sealed: SealedBytes, contract: Contract, width: int, height: int) -> Contract:
    """Returns the contract of the folder for an input of this size in pixels.

    Raises:
        ModelFileError: the given file has a fixed input size already.
    """
    if contract.input_size is not None:
        raise ModelFileError(
            f"{sealed.path} already has a fixed input size", f"export from its parent, {str(contract.parent)[:12]}"
        )
    return replace(
        contract,
        parent=sealed.sha256,
        resize=replace(contract.resize, rule="fit-inside", long_side=max(width, height)),
        input_size=InputSize(width, height),
        selection=replace(contract.selection, method=METHOD),
    )


def write(folder: Path, sealed: SealedBytes, session: Session, size: tuple[int, int]) -> None:
    """Writes model.onnx, contract.json, nms.py, nms.hpp, nms.js and, if the model has one, self_test.json.

    Args:
        folder: exists, and is empty.
        session: of the sealed file, on the CPU; it gives the expected output for the padded test image.
        size: width and height of the input in pixels.

    Raises:
        UsageError: the size is not possible.
        ModelFileError: the model selects faces in an unsupported way, or has a fixed input size already.
    """
    child = contract_of(sealed, session.contract, *size)
    model = without_selection(onnx.load_model_from_string(sealed.data), *size)
    model.producer_name, model.producer_version = "mlcycle", ""
    del model.metadata_props[:]
    model.metadata_props.add(key=CONTRACT_KEY, value=child.to_json())
    if session.self_test is not None:
        model.metadata_props.add(key=SELF_TEST_KEY, value=self_test_at(session, session.self_test, *size).to_json())
    (folder / GRAPH).write_bytes(model.SerializeToString(deterministic=True))
    write_sidecar_files(folder, model, child)
    for name in SAMPLES:
        (folder / name).write_bytes((resources.files("mlcycle.exporting.formats.nms_samples") / name).read_bytes())


def runner(folder: Path) -> Run:
    """Returns a function that runs the graph with onnxruntime and then selects the faces as nms.py does."""
    contract = json.loads((folder / CONTRACT).read_text("ascii"))
    rule, size = contract["selection"], contract["input_size"]
    limits_4 = np.array([size["width"], size["height"]] * 2, np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # as the model that it is compared with
    session = onnxruntime.InferenceSession(folder / GRAPH, options, providers=["CPUExecutionProvider"])

    def run(images_1HW3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        boxes_1N4, scores_1N, *points = session.run(None, {INPUT: images_1HW3})
        kept = nms(boxes_1N4[0], scores_1N[0], rule["score_floor"], rule["iou_threshold"], rule["max_faces"])
        boxes_1K4 = np.clip(boxes_1N4[:, kept], 0, limits_4)
        return boxes_1K4, scores_1N[:, kept], points[0][:, kept] if points else None

    return run
