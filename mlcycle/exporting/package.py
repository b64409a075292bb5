"""The conductor of `mlcycle export --format`: a sealed file → what another runtime or a server loads.

Where the very file is served, its bytes are compared; where the graph becomes something else, that is run, must answer
the self-test, and find the same faces as its parent. Read it top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlcycle.artifact.contract import INPUT, Contract
from mlcycle.artifact.seal import (
    SealedBytes,
    read_sealed,
)
from mlcycle.artifact.self_test import Tolerance
from mlcycle.errors import GateError, InputError, UsageError
from mlcycle.exporting.export import Evidence, beside
from mlcycle.exporting.formats import kserve, openvino, tensorrt, triton, web
from mlcycle.exporting.formats.folder import published
from mlcycle.exporting.gates.agreement import agree_both
from mlcycle.exporting.gates.precision_drop import keeps_precision
from mlcycle.exporting.gates.side_by_side import Latency, latencies
from mlcycle.inference.detect import Detector, load_sealed
from mlcycle.inference.session import Session, padded
from mlcycle.results import Exported

Format = Literal["openvino", "web", "triton", "kserve", "tensorrt"]
# These hold the parent's own bytes, so that there is nothing to compare but them.
UNCHANGED = ("web", "triton", "kserve")
# Others compute in what their runtime takes to be enough: OpenVINO in bfloat16 where the processor has it. A parent in
# bytes may itself be farther away from its known answer.
MOST_APART = Tolerance(2.0, 0.1)
# Images uint8 [B, H, W, 3] → boxes_BN4, scores_BN, and landmarks_BN52 or None.
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray | None]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What some formats ask for: where the npm package onnxruntime-web lies, and where KServe will find the folder."""

    onnxruntime_web: Path | None = None
    storage_uri: str = ""


def package(source: Path, form: Format, target: Path | None, evidence: Evidence, settings: Settings) -> Exported:
    """Writes a model file in another format.

    Args:
        target: the folder to write; None puts it beside its parent, as NAME-FORMAT-DIGEST.

    Raises:
        UsageError: something is missing that the format asks for.
        MissingExtraError: packages are missing that the format asks for.
        ModelFileError: the parent is missing or damaged, or cannot become that.
        DeviceError: what the format is for is not on this machine.
        GateError: parent and what was made of it part; then nothing was written.
        InputError: there is no image, or the target is taken.
    """
    sealed = read_sealed(source)
    parent = load_sealed(sealed, provider="cpu", threads=1)
    if form not in UNCHANGED and not evidence.images and not evidence.labelled:
        raise InputError("there is no image to compare parent and variant on", "name a folder with --images")
    name = f"{triton.model_name(parent.contract)}-{form}-{sealed.sha256[:12]}"
    with published(target or beside(sealed.path) / name) as folder:
        _WRITERS[form](folder, sealed, parent.contract, settings)
        verdict, both = _gate(form, folder, parent, sealed, evidence)
    return Exported(target or beside(sealed.path) / name, verdict, both)


def _web(folder: Path, sealed: SealedBytes, contract: Contract, settings: Settings) -> None:
    if settings.onnxruntime_web is None:
        raise UsageError(
            "the page needs onnxruntime-web, which npm brings",
            f"{web.INSTALL}, then name it: --onnxruntime-web node_modules/onnxruntime-web",
        )
    web.write(folder, sealed, contract, settings.onnxruntime_web)


def _kserve(folder: Path, sealed: SealedBytes, contract: Contract, settings: Settings) -> None:
    if not settings.storage_uri:
        raise UsageError("KServe must be told where it will find the folder", "name it: --storage-uri s3://models/face")
    kserve.write(folder, sealed, contract, settings.storage_uri)


# How each format fills an empty folder.
_WRITERS: dict[str, Callable[[Path, SealedBytes, Contract, Settings], object]] = {
    "openvino": lambda folder, sealed, contract, settings: openvino.write(folder, sealed, contract),
    "web": _web,
    "triton": lambda folder, sealed, contract, settings: triton.write(folder, sealed, contract),
    "kserve": _kserve,
    "tensorrt": lambda folder, sealed, contract, settings: tensorrt.write(folder, sealed, contract),
}


def _gate(
    form: Format, folder: Path, parent: Detector, sealed: SealedBytes, evidence: Evidence
) -> tuple[str, list[Latency]]:
    """Returns what to say of parent and folder, and how long both take."""
    if form in UNCHANGED:
        _must_hold(folder, sealed)
        return "it holds the model file itself, byte for byte", []
    runner = openvino.runner if form == "openvino" else tensorrt.runner
    session = Session(parent.contract, form, _Elsewhere(runner(folder)), parent.session.self_test)
    variant = Detector(session, sealed.sha256, folder)
    _must_answer(parent, variant, MOST_APART)
    return _compared(parent, variant, evidence)


def _compared(parent: Detector, variant: Detector, evidence: Evidence) -> tuple[str, list[Latency]]:
    if evidence.labelled is not None:
        verdict = keeps_precision(parent, variant, evidence.labelled)
    else:
        verdict = str(agree_both(parent, variant, evidence.images))
    return verdict, latencies(parent, variant)


def _must_answer(parent: Detector, variant: Detector, least: Tolerance) -> None:
    """Raises GateError unless the self-test is answered, and then, of an image without any face, that there is none.

    The answer may be as far away as the parent's, and as `least` in any case. A runtime that leaves its outputs as they
    were would say that the faces are those of the image before.
    """
    distance, known = variant.session.distance(), variant.session.self_test
    if distance is not None and known is not None and not distance.within(_larger(known.tolerance, least)):
        raise GateError(f"the answer to the self-test is {distance} apart", "nothing was written; try another version")
    if _sees_faces_in_the_dark(variant) and not _sees_faces_in_the_dark(parent):
        raise GateError("faces are found on a black image", "nothing was written; try another version")


def _sees_faces_in_the_dark(detector: Detector) -> bool:
    size = detector.contract.input_size
    black = padded(np.zeros((64, 64, 3), np.uint8), *((size.width, size.height) if size else (64, 64)))
    _, scores_1N, _ = detector.session.run(black[None])
    return bool((scores_1N >= detector.contract.thresholds["balanced"]).any())


def _larger(one: Tolerance, other: Tolerance) -> Tolerance:
    return Tolerance(max(one.pixels, other.pixels), max(one.score, other.score))


def _must_hold(folder: Path, sealed: SealedBytes) -> None:
    models: Sequence[Path] = list(folder.rglob("*.onnx"))
    if [path.read_bytes() for path in models] != [sealed.data]:
        raise GateError("the folder does not hold the model file as it is", "nothing was written")


class _Elsewhere:
    """Another runtime in the place of onnxruntime's."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def run(self, names: list[str], feeds: dict[str, Any]) -> list[np.ndarray]:
        return [each for each in self._run(feeds[INPUT]) if each is not None]
