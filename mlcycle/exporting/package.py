"""The conductor of `mlcycle export --format`: a sealed file → a folder for another runtime or a server.

If the folder contains the model file unchanged, its bytes are compared. If the graph is converted, the result must pass
the self-test and find the same faces as its parent. Read it top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlcycle.artifact import self_test
from mlcycle.artifact.contract import INPUT, Contract, from_json
from mlcycle.artifact.seal import SealedBytes, read_sealed
from mlcycle.artifact.self_test import SelfTest, Tolerance
from mlcycle.errors import GateError, InputError, UsageError
from mlcycle.exporting.export import Evidence, folder_of_variants
from mlcycle.exporting.formats import kserve, openvino, raw, tensorrt, triton, web
from mlcycle.exporting.formats.folder import published
from mlcycle.exporting.gates.agreement import agree_both
from mlcycle.exporting.gates.precision_drop import keeps_precision
from mlcycle.exporting.gates.side_by_side import Latency, latencies
from mlcycle.exporting.sidecar_files import CONTRACT, SELF_TEST
from mlcycle.inference.detect import Detector, load_sealed
from mlcycle.inference.session import Session, padded
from mlcycle.results import Exported

# "raw" is requested as --selection none.
Format = Literal["openvino", "web", "triton", "kserve", "tensorrt", "raw"]
# These formats contain the bytes of the parent; only those are compared.
UNCHANGED = ("web", "triton", "kserve")
# Other runtimes can compute in lower precision: OpenVINO in bfloat16 if the processor supports it. The tolerance of an
# int8 parent can be larger.
LEAST_TOLERANCE = Tolerance(2.0, 0.1)
# Images uint8 [B, H, W, 3] → boxes_BN4, scores_BN, and landmarks_BN52 or None.
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray | None]]


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of formats.

    Attributes:
        onnxruntime_web: for web, the folder of the npm package onnxruntime-web.
        storage_uri: for kserve.
        input_size: for raw, width and height in pixels.
    """

    onnxruntime_web: Path | None = None
    storage_uri: str = ""
    input_size: tuple[int, int] | None = None


def package(source: Path, form: Format, target: Path | None, evidence: Evidence, settings: Settings) -> Exported:
    """Writes a model file in another format.

    Args:
        target: the folder to write; None writes next to the parent, as NAME-FORMAT-DIGEST.

    Raises:
        UsageError: a setting that the format needs is missing.
        MissingExtraError: packages that the format needs are missing.
        ModelFileError: the parent is missing or damaged, or cannot be converted.
        DeviceError: this machine lacks the device of the format.
        GateError: parent and result disagree; nothing was written.
        InputError: there is no image, or the target exists.
    """
    sealed = read_sealed(source)
    parent = load_sealed(sealed, provider="cpu", threads=1)
    if form not in UNCHANGED and not evidence.images and not evidence.labelled:
        raise InputError("comparing parent and variant needs images", "pass a folder: --images DIR")
    kind = form if settings.input_size is None else f"{form}-{settings.input_size[0]}x{settings.input_size[1]}"
    name = f"{triton.model_name(parent.contract)}-{kind}-{sealed.sha256[:12]}"
    with published(target or folder_of_variants(sealed.path) / name) as folder:
        _WRITERS[form](folder, sealed, parent.session, settings)
        verdict, both = _gate(form, folder, parent, sealed, evidence)
    return Exported(target or folder_of_variants(sealed.path) / name, verdict, both)


def _web(folder: Path, sealed: SealedBytes, session: Session, settings: Settings) -> None:
    if settings.onnxruntime_web is None:
        raise UsageError(
            "the page needs the npm package onnxruntime-web",
            f"{web.INSTALL}, then pass --onnxruntime-web node_modules/onnxruntime-web",
        )
    web.write(folder, sealed, session.contract, settings.onnxruntime_web)


def _kserve(folder: Path, sealed: SealedBytes, session: Session, settings: Settings) -> None:
    if not settings.storage_uri:
        raise UsageError("the format kserve needs the URI of the folder", "pass --storage-uri s3://models/face")
    kserve.write(folder, sealed, session.contract, settings.storage_uri)


def _raw(folder: Path, sealed: SealedBytes, session: Session, settings: Settings) -> None:
    if settings.input_size is None:
        raise UsageError("a graph without selection has one input size", "pass it, for example --input-size 640x480")
    raw.write(folder, sealed, session, settings.input_size)


# How each format fills an empty folder, from a sealed file and its session.
_WRITERS: dict[str, Callable[[Path, SealedBytes, Session, Settings], object]] = {
    "openvino": lambda folder, sealed, session, settings: openvino.write(folder, sealed, session.contract),
    "web": _web,
    "triton": lambda folder, sealed, session, settings: triton.write(folder, sealed, session.contract),
    "kserve": _kserve,
    "tensorrt": lambda folder, sealed, session, settings: tensorrt.write(folder, sealed, session.contract),
    "raw": _raw,
}


def _gate(
    form: Format, folder: Path, parent: Detector, sealed: SealedBytes, evidence: Evidence
) -> tuple[str, list[Latency]]:
    """Compares parent and folder. Returns a sentence, and the latencies of both."""
    if form in UNCHANGED:
        _check_bytes(folder, sealed)
        return "the folder contains the model file unchanged", []
    runner = {"openvino": openvino.runner, "tensorrt": tensorrt.runner, "raw": raw.runner}[form]
    contract, test = _sidecar_files(folder) if form == "raw" else (parent.contract, parent.session.self_test)
    session = Session(contract, form, _OtherRuntime(runner(folder)), test)
    variant = Detector(session, sealed.sha256, folder)
    _check_outputs(parent, variant, LEAST_TOLERANCE)
    return _compared(parent, variant, evidence)


def _sidecar_files(folder: Path) -> tuple[Contract, SelfTest | None]:
    """Returns the contract and self-test of a folder whose input is not that of its parent."""
    path = folder / SELF_TEST
    test = self_test.from_json(path.read_text("ascii")) if path.exists() else None
    return from_json((folder / CONTRACT).read_text("ascii")), test


def _compared(parent: Detector, variant: Detector, evidence: Evidence) -> tuple[str, list[Latency]]:
    if evidence.labelled is not None:
        verdict = keeps_precision(parent, variant, evidence.labelled)
    else:
        verdict = str(agree_both(parent, variant, evidence.images))
    return verdict, latencies(parent, variant)


def _check_outputs(parent: Detector, variant: Detector, least: Tolerance) -> None:
    """Raises GateError unless the variant passes the self-test, and then finds no face in a black image.

    The tolerance is that of the parent, and at least `least`. A runtime that does not clear its outputs would return
    the faces of the previous image.
    """
    distance, test = variant.session.distance(), variant.session.self_test
    if distance is not None and test is not None and not distance.within(_larger(test.tolerance, least)):
        raise GateError(f"the self-test fails: it differs by {distance}", "nothing was written; try another version")
    if _finds_faces_in_black(variant) and not _finds_faces_in_black(parent):
        raise GateError("faces are found on a black image", "nothing was written; try another version")


def _finds_faces_in_black(detector: Detector) -> bool:
    size = detector.contract.input_size
    black = padded(np.zeros((64, 64, 3), np.uint8), *((size.width, size.height) if size else (64, 64)))
    _, scores_1N, _ = detector.session.run(black[None])
    return bool((scores_1N >= detector.contract.thresholds["balanced"]).any())


def _larger(one: Tolerance, other: Tolerance) -> Tolerance:
    return Tolerance(max(one.pixels, other.pixels), max(one.score, other.score))


def _check_bytes(folder: Path, sealed: SealedBytes) -> None:
    models: Sequence[Path] = list(folder.rglob("*.onnx"))
    if [path.read_bytes() for path in models] != [sealed.data]:
        raise GateError("the folder does not contain the model file unchanged", "nothing was written")


class _OtherRuntime:
    """Another runtime with the interface of an onnxruntime session."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def run(self, names: list[str], feeds: dict[str, Any]) -> list[np.ndarray]:
        return [each for each in self._run(feeds[INPUT]) if each is not None]
