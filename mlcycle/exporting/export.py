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
from mlcycle.artifact.seal import SealedBytes, must_be_free, must_be_writable, read_sealed, write_sealed
from mlcycle.artifact.self_test import SELF_TEST_KEY, Distance, SelfTest, Tolerance
from mlcycle.errors import DeviceError, GateError, InputError, ModelFileError, UsageError
from mlcycle.exporting.fixed_shape import to_fixed_shape
from mlcycle.exporting.formats.triton import model_name
from mlcycle.exporting.gates.agreement import agree
from mlcycle.exporting.gates.precision_drop import Labelled, keeps_precision
from mlcycle.exporting.gates.side_by_side import latencies
from mlcycle.exporting.opset import to_opset
from mlcycle.exporting.precision.calibration import ranges_of
from mlcycle.exporting.precision.half import to_half
from mlcycle.exporting.precision.int8 import to_int8
from mlcycle.exporting.precision.int8_plan import plan_of
from mlcycle.exporting.precision.stem import group_pixels
from mlcycle.inference import letterbox
from mlcycle.inference.decoding import images
from mlcycle.inference.session import Session, open_session, padded
from mlcycle.results import Exported

Precision = Literal["float16", "bfloat16", "int8"]
# How far the answer to the self-test may be from that in 32 bits, at most; how far it is then becomes the tolerance.
MOST_APART = {
    "float32": self_test.LOOSE,
    "float16": Tolerance(1.0, 0.02),
    "bfloat16": Tolerance(2.0, 0.05),
    "int8": Tolerance(4.0, 0.1),
}
# Bytes are rounded otherwise on other processors and by other optimisations: so far they may be apart in any case.
LEAST_APART = {"int8": Tolerance(1.0, 0.02)}
# What the first convolution in bfloat16 came with.
BFLOAT16_OPSET = 22


@dataclass(frozen=True, slots=True)
class Change:
    """What a variant is to be; None leaves it as the parent has it.

    Attributes:
        precision: float16, bfloat16 or int8.
        input_size: width and height, in pixels, of the one input that it takes.
        opset: version of ONNX's operators.
    """

    precision: Precision | None = None
    input_size: tuple[int, int] | None = None
    opset: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What parent and variant are compared on.

    Attributes:
        images: image files; for int8 every other one gives the limits, and the rest is compared on.
        labelled: where to measure average precision instead of comparing what they find.
    """

    images: Sequence[Path] = ()
    labelled: Labelled | None = None


@dataclass(frozen=True, slots=True)
class _Parent:
    sealed: SealedBytes
    model: onnx.ModelProto
    contract: Contract
    known: SelfTest | None


def export(source: Path, change: Change, target: Path | None, evidence: Evidence) -> Exported:
    """Makes a variant, which must answer the self-test, and find the same faces as its parent or lose little.

    Args:
        target: the file to write; None puts it beside its parent, under a name with the change and the digest.

    Raises:
        UsageError: nothing is to be changed, or it cannot become that.
        ModelFileError: the parent is missing, damaged, or a variant that cannot become that.
        DeviceError: this machine's onnxruntime cannot run what is asked for, so that nothing could be compared.
        GateError: parent and variant part; then nothing was written.
        InputError: there are too few images, none can be read, or the target is taken or cannot be written.
        DataError: the labelled set cannot be read.
    """
    if change == Change():
        raise UsageError("nothing would be changed", "name a --precision, an --input-size, an --opset or a --format")
    parent = _open(source)
    must_be_writable(target.parent if target else beside(parent.sealed.path))
    _must_be_enough(evidence, change)
    model, contract = _changed(parent, change, evidence.images)
    gate = _gate(evidence, change)
    with tempfile.TemporaryDirectory(prefix="mlcycle-export-") as scratch:
        candidate = Path(scratch) / "candidate.onnx"
        try:
            known, distance = _known(parent, model, contract)
        except GateError:
            if evidence.labelled:  # by how much it is worse, people want to see all the same
                write_sealed(pack(model, contract), candidate)
                gate(parent.sealed.path, candidate)
            raise
        data = pack(model, contract, known)
        digest = write_sealed(data, candidate)
        path = target or beside(parent.sealed.path) / f"{model_name(contract)}-{_words(change)}-{digest[:12]}.onnx"
        must_be_free(data, path)
        verdict = gate(parent.sealed.path, candidate)
        both = latencies(parent.sealed.path, candidate)
    write_sealed(data, path)
    measured = (distance, known.tolerance) if known and distance else None
    return Exported(path, verdict, both, digest, len(data), len(parent.sealed.data), measured)


def _must_be_enough(evidence: Evidence, change: Change) -> None:
    """Raises InputError if there are too few images for what is to be done with them."""
    limits, compared = change.precision == "int8", evidence.labelled is None
    if (limits or compared) and not evidence.images:
        what = "compare parent and variant on" if compared else "find the limits of bytes on"
        raise InputError(f"there is no image to {what}", "name a folder with --images")
    if limits and compared and len(evidence.images) == 1:
        raise InputError(
            "one image is too few: what gives the limits of bytes is no witness for them",
            "name at least one more with --images, better some dozens",
        )


def _changed(parent: _Parent, change: Change, paths: Sequence[Path]) -> tuple[onnx.ModelProto, Contract]:
    """Changes the precision first, on what `freeze` made; then the operators' version; then the shapes."""
    _must_be_new(parent, change)
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


def _must_be_new(parent: _Parent, change: Change) -> None:
    """Raises an error if the parent is that already, or as a variant can become it no more."""
    contract, path = parent.contract, parent.sealed.path
    is_variant = contract.precision != "float32" or contract.input_size is not None
    if (change.precision and is_variant) or (change.input_size and contract.input_size):
        what = "a variant" if change.precision else "of one input size"
        raise ModelFileError(f"{path} is {what} itself", f"export from its parent, {str(contract.parent)[:12]}")
    own = next(each.version for each in parent.model.opset_import if not each.domain)
    if change == Change(opset=own):
        raise UsageError(f"{path} has opset {own} already", "ask for a newer one")
    if change.precision == "bfloat16" and change.opset is not None and change.opset < BFLOAT16_OPSET:
        raise UsageError(f"no convolution computes in bfloat16 before opset {BFLOAT16_OPSET}", "leave out --opset")


def _known(
    parent: _Parent, model: onnx.ModelProto, contract: Contract
) -> tuple[SelfTest, Distance] | tuple[None, None]:
    """Returns the known answer that the variant will carry, with its own tolerance, and how far it is from it.

    Padding shifts scores a little, so a variant of one size is held to what its parent says of the padded image.
    """
    if parent.known is None:
        return None, None
    known, size = parent.known, contract.input_size
    if size is not None and not parent.contract.input_size:
        whole = padded(known.image(), size.width, size.height)
        boxes_1N4, scores_1N, landmarks_1N52 = open_session(parent.sealed, provider="cpu").run(whole[None])
        points = None if landmarks_1N52 is None else landmarks_1N52[0]
        answer = self_test.make_self_test(boxes_1N4[0], scores_1N[0], points)
        known = replace(answer, tolerance=known.tolerance, loose_tolerance=known.loose_tolerance)
    distance = _farthest(known, model, contract)
    if distance.within(known.tolerance):
        return known, distance
    least = LEAST_APART.get(contract.precision, self_test.LOOSE)
    tolerance = self_test.tolerance_of(distance, MOST_APART[contract.precision], least)
    return replace(known, tolerance=tolerance, loose_tolerance=tolerance), distance


def _farthest(known: SelfTest, model: onnx.ModelProto, contract: Contract) -> Distance:
    """Returns how far the variant's answer is from the known one, with the runtime's optimisations or without them."""
    sessions = (_opened(model, contract, optimised=optimised) for optimised in (True, False))
    distances = [distance for session in sessions if (distance := replace(session, self_test=known).distance())]
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
            f"onnxruntime on this machine does not compute in {contract.precision}: {problem.message}",
            "nothing was written, since nothing could be compared; try --precision float16",
        ) from None


def _gate(evidence: Evidence, change: Change) -> Callable[[Path, Path], str]:
    """Returns what is given parent and variant, and says what to say of them or raises GateError."""
    labelled = evidence.labelled
    if labelled is not None:
        return lambda parent, variant: keeps_precision(parent, variant, labelled)
    # What gave the limits is no witness for them.
    images = evidence.images[1::2] if change.precision == "int8" else evidence.images
    return lambda parent, variant: str(agree(parent, variant, images))


def beside(path: Path) -> Path:
    """Returns the folder for a variant: its parent's, but ./models for that of a model that comes with mlcycle."""
    return Path("models") if path.parent == bundled.FOLDER else path.parent


def _words(change: Change) -> str:
    size = change.input_size
    words = [change.precision, size and f"{size[0]}x{size[1]}", change.opset and f"opset{change.opset}"]
    return "-".join(word for word in words if word)


def _images(paths: Sequence[Path], long_side: int) -> list[np.ndarray]:
    """Reads images as inference does, at the model's own size and at half of it; skips what cannot be read."""
    inputs = []
    for path in paths:
        try:
            upright = images.decode(images.read(path)).upright()
        except images.UnreadableError:
            continue
        inputs += [letterbox.shrink(upright, side)[0] for side in (long_side, (long_side + 1) // 2)]
    if not inputs:
        raise InputError("none of the images can be read", "name others with --images")
    return inputs


def _fingerprint(images: Sequence[np.ndarray]) -> dict[str, object]:
    """Says for people which images gave the limits: how many, and a digest of their pixels."""
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
    except Exception as problem:  # protobuf's own errors have no common base that can be named here
        raise ModelFileError(f"{sealed.path} is not an ONNX model: {problem}") from None
    known = self_test.from_json(entries[SELF_TEST_KEY]) if SELF_TEST_KEY in entries else None
    return _Parent(sealed, model, from_json(entries.get(CONTRACT_KEY, "")), known)
