"""The conductor of `mlcycle export`: a sealed file → a variant with a contract of its own. Read it top to bottom."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from mlcycle.artifact import bundled, self_test
from mlcycle.artifact.admission import admit
from mlcycle.artifact.contract import CONTRACT_KEY, Contract, InputSize, from_json
from mlcycle.artifact.packing import pack
from mlcycle.artifact.seal import (
    STALE,
    SealedBytes,
    must_be_free,
    must_be_writable,
    must_hold,
    read_sealed,
    write_once,
    write_sealed,
)
from mlcycle.artifact.self_test import SELF_TEST_KEY, Distance, SelfTest, Tolerance
from mlcycle.errors import DeviceError, GateError, InputError, ModelFileError, UsageError
from mlcycle.exporting.fixed_shape import self_test_at, to_fixed_shape
from mlcycle.exporting.formats.triton import model_name
from mlcycle.exporting.gates.agreement import agree
from mlcycle.exporting.gates.precision_drop import Labelled, keeps_precision
from mlcycle.exporting.gates.side_by_side import latencies
from mlcycle.exporting.opset import opset_of, to_opset, warning
from mlcycle.exporting.precision.calibration import ranges_of
from mlcycle.exporting.precision.half import to_half
from mlcycle.exporting.precision.int8 import to_int8
from mlcycle.exporting.precision.int8_plan import plan_of
from mlcycle.exporting.precision.stem import group_pixels
from mlcycle.exporting.sidecar_files import contract_path, contract_text
from mlcycle.inference import letterbox
from mlcycle.inference.decoding import images
from mlcycle.inference.session import Session, open_session
from mlcycle.results import Exported

Precision = Literal["float16", "bfloat16", "int8"]
# Largest difference from the float32 output in the self-test. The measured difference determines the tolerance.
MOST_DIFFERENCE = {
    "float32": self_test.LOOSE,
    "float16": Tolerance(1.0, 0.02),
    "bfloat16": Tolerance(2.0, 0.05),
    "int8": Tolerance(4.0, 0.1),
}
# int8 rounding depends on the processor and on optimisations: the tolerance is at least this.
LEAST_TOLERANCE = {"int8": Tolerance(1.0, 0.02)}
# The first opset with bfloat16 convolutions.
BFLOAT16_OPSET = 22


@dataclass(frozen=True, slots=True)
class Change:
    """The requested changes; None keeps the value of the parent.

    Attributes:
        precision: float16, bfloat16 or int8.
        input_size: fixed input size, width and height in pixels.
        opset: ONNX opset version.
    """

    precision: Precision | None = None
    input_size: tuple[int, int] | None = None
    opset: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The images on which parent and variant are compared.

    Attributes:
        images: image files; for int8, every second one is for calibration and the rest for the comparison.
        labelled: labelled set on which average precision is measured, instead of comparing detections.
    """

    images: Sequence[Path] = ()
    labelled: Labelled | None = None


@dataclass(frozen=True, slots=True)
class _Parent:
    sealed: SealedBytes
    model: onnx.ModelProto
    contract: Contract
    self_test: SelfTest | None


def export(source: Path, change: Change, target: Path | None, evidence: Evidence) -> Exported:
    """Writes a variant, which must pass the self-test, and find the same faces as its parent or lose little precision.

    Args:
        target: the file to write; None writes next to the parent, under a name with the change and the digest.

    Raises:
        UsageError: no change is requested, or it is not possible.
        ModelFileError: the parent is missing or damaged, or is a variant that cannot be changed in this way.
        DeviceError: onnxruntime on this machine cannot run the variant, so it cannot be compared.
        GateError: parent and variant disagree; nothing was written.
        InputError: there are too few images, none can be read, or the target exists or cannot be written.
        DataError: the labelled set cannot be read.
    """
    if change == Change():
        raise UsageError("no change requested", "pass --precision, --input-size, --opset or --format")
    parent = _open(source)
    must_be_writable(target.parent if target else folder_of_variants(parent.sealed.path))
    _check_images(evidence, change)
    model, contract = _apply(parent, change, evidence.images)
    gate = _gate(evidence, change)
    with tempfile.TemporaryDirectory(prefix="mlcycle-export-") as scratch:
        candidate = Path(scratch) / "candidate.onnx"
        try:
            test, distance = _self_test(parent, model, contract)
        except GateError:
            if evidence.labelled:  # the table is shown even if the self-test fails
                write_sealed(pack(model, contract), candidate)
                gate(parent.sealed.path, candidate)
            raise
        data = pack(model, contract, test)
        digest = write_sealed(data, candidate)
        path = (
            target
            or folder_of_variants(parent.sealed.path) / f"{model_name(contract)}-{_suffix(change)}-{digest[:12]}.onnx"
        )
        must_be_free(data, path)
        beside, text = contract_path(path), contract_text(contract).encode("ascii")
        must_hold(text, beside, STALE)
        verdict = gate(parent.sealed.path, candidate)
        both = latencies(parent.sealed.path, candidate)
    write_sealed(data, path)
    write_once(beside, text)
    measured = (distance, test.tolerance) if test and distance else None
    note = warning(opset_of(model))
    return Exported(path, verdict, both, digest, len(data), len(parent.sealed.data), measured, note)


def _check_images(evidence: Evidence, change: Change) -> None:
    """Raises InputError if there are too few images for calibration and comparison."""
    calibrated, compared = change.precision == "int8", evidence.labelled is None
    if (calibrated or compared) and not evidence.images:
        what = "comparing parent and variant" if compared else "int8 calibration"
        raise InputError(f"{what} needs images", "pass a folder: --images DIR")
    if calibrated and compared and len(evidence.images) == 1:
        raise InputError(
            "one image is too few: int8 calibration and comparison need different images",
            "pass at least two with --images, better some dozens",
        )


def _apply(parent: _Parent, change: Change, paths: Sequence[Path]) -> tuple[onnx.ModelProto, Contract]:
    """Applies the changes: first the precision, on the graph that `freeze` wrote; then the opset; then the shapes."""
    _check_change(parent, change)
    model = parent.model
    contract = replace(parent.contract, parent=parent.sealed.sha256)
    if change.precision:
        contract = replace(contract, precision=change.precision)
    if change.precision == "int8":
        images = _images(paths[::2], contract.resize.long_side)
        model = group_pixels(model)
        plan = plan_of(model)
        model = to_int8(model, plan, ranges_of(model, plan.measured, images))
        contract = replace(contract, training=contract.training | {"calibration": _fingerprint(images)})
    if change.opset is not None or change.precision == "bfloat16":
        model = to_opset(model, BFLOAT16_OPSET if change.opset is None else change.opset)
    if change.precision is not None and change.precision != "int8":
        model = to_half(model, change.precision)
    if change.input_size:
        width, height = change.input_size
        model = to_fixed_shape(model, width, height)
        resize = replace(contract.resize, rule="fit-inside", long_side=max(width, height))
        contract = replace(contract, resize=resize, input_size=InputSize(width, height))
    return model, contract


def _check_change(parent: _Parent, change: Change) -> None:
    """Raises an error if the parent already has the change, or is a variant to which it cannot be applied."""
    contract, path = parent.contract, parent.sealed.path
    is_variant = contract.precision != "float32" or contract.input_size is not None
    if (change.precision and is_variant) or (change.input_size and contract.input_size):
        what = "is a variant" if change.precision else "has a fixed input size"
        raise ModelFileError(f"{path} already {what}", parent_hint(path, contract))
    own = opset_of(parent.model)
    if change == Change(opset=own):
        raise UsageError(f"{path} already has opset {own}", "choose a newer one")
    if change.precision == "bfloat16" and change.opset is not None and change.opset < BFLOAT16_OPSET:
        raise UsageError(f"bfloat16 convolutions need opset {BFLOAT16_OPSET}", "leave out --opset")


def _self_test(
    parent: _Parent, model: onnx.ModelProto, contract: Contract
) -> tuple[SelfTest, Distance] | tuple[None, None]:
    """Returns the self-test of the variant, with its own tolerance, and the variant's difference from it.

    Padding shifts scores slightly, so the expected output of a fixed input size is that of the parent on the padded
    image.
    """
    if parent.self_test is None:
        return None, None
    test, size = parent.self_test, contract.input_size
    if size is not None and not parent.contract.input_size:
        test = self_test_at(open_session(parent.sealed, provider="cpu"), test, size.width, size.height)
    distance = _largest_difference(test, model, contract)
    if distance.within(test.tolerance):
        return test, distance
    least = LEAST_TOLERANCE.get(contract.precision, self_test.LOOSE)
    tolerance = self_test.tolerance_of(distance, MOST_DIFFERENCE[contract.precision], least)
    return replace(test, tolerance=tolerance, loose_tolerance=tolerance), distance


def _largest_difference(test: SelfTest, model: onnx.ModelProto, contract: Contract) -> Distance:
    """Returns the largest difference of the variant from its self-test, with and without graph optimisations."""
    sessions = (_opened(model, contract, optimised=optimised) for optimised in (True, False))
    distances = [distance for session in sessions if (distance := replace(session, self_test=test).distance())]
    return Distance(max(each.pixels for each in distances), max(each.score for each in distances))


def _opened(model: onnx.ModelProto, contract: Contract, *, optimised: bool) -> Session:
    data = pack(model, contract)
    sealed = SealedBytes(data, hashlib.sha256(data).hexdigest(), Path("the variant"))
    try:
        return open_session(sealed, provider="cpu", optimised=optimised)
    except ModelFileError as problem:
        if contract.precision != "bfloat16":
            raise
        raise DeviceError(
            f"onnxruntime on this machine does not support {contract.precision}: {problem.message}",
            "nothing was written, because the variant could not be compared; try --precision float16",
        ) from None


def _gate(evidence: Evidence, change: Change) -> Callable[[Path, Path], str]:
    """Returns a function that compares parent and variant, and returns a sentence or raises GateError."""
    labelled = evidence.labelled
    if labelled is not None:
        return lambda parent, variant: keeps_precision(parent, variant, labelled)
    # Images used for calibration are not used for the comparison.
    images = evidence.images[1::2] if change.precision == "int8" else evidence.images
    return lambda parent, variant: str(agree(parent, variant, images))


def folder_of_variants(path: Path) -> Path:
    """Returns the folder for variants of a model file: its own folder, or ./models for a bundled model."""
    return Path("models") if path.parent == bundled.FOLDER else path.parent


def parent_hint(path: Path, contract: Contract) -> str:
    """Returns how to get the file that a variant was exported from."""
    if path.parent == bundled.FOLDER:
        return (
            f"write a float32 file of its weights, which needs torch, and export from that: mlcycle freeze {path.stem}"
        )
    return f"export from its parent, {str(contract.parent)[:12]}"


def _suffix(change: Change) -> str:
    size = change.input_size
    parts = [change.precision, size and f"{size[0]}x{size[1]}", change.opset and f"opset{change.opset}"]
    return "-".join(part for part in parts if part)


def _images(paths: Sequence[Path], long_side: int) -> list[np.ndarray]:
    """Reads images as inference does, at the model's long side and at half of it; skips unreadable ones."""
    inputs = []
    for path in paths:
        try:
            upright = images.decode(images.read(path)).upright()
        except images.UnreadableError:
            continue
        inputs += [letterbox.shrink(upright, side)[0] for side in (long_side, (long_side + 1) // 2)]
    if not inputs:
        raise InputError("none of the images can be read", "pass other images with --images")
    return inputs


def _fingerprint(images: Sequence[np.ndarray]) -> dict[str, object]:
    """Returns the record of the calibration images: their number, and a digest of their pixels."""
    digest = hashlib.sha256()
    for image_HW3 in images:
        digest.update(repr(image_HW3.shape).encode())
        digest.update(image_HW3.tobytes())
    return {"pictures": len(images), "sha256": digest.hexdigest()}


def _open(source: Path) -> _Parent:
    sealed = read_sealed(source)
    entries = admit(sealed).metadata
    try:
        model = onnx.load_model_from_string(sealed.data)
    except Exception as problem:  # the errors of protobuf have no common base class
        raise ModelFileError(f"{sealed.path} is not an ONNX model: {problem}") from None
    test = self_test.from_json(entries[SELF_TEST_KEY]) if SELF_TEST_KEY in entries else None
    return _Parent(sealed, model, from_json(entries.get(CONTRACT_KEY, "")), test)
