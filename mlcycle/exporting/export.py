"""The conductors of `mlcycle export`: a sealed file → a variant with a contract of its own. Read them top to bottom."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from mlcycle.artifact import bundled
from mlcycle.artifact.contract import CONTRACT_KEY, Contract, from_json
from mlcycle.artifact.packing import pack
from mlcycle.artifact.seal import SealedBytes, must_be_free, read_sealed, write_sealed
from mlcycle.errors import InputError, ModelFileError
from mlcycle.exporting.agreement import agree
from mlcycle.exporting.calibration import ranges_of
from mlcycle.exporting.float16 import to_float16
from mlcycle.exporting.int8 import to_int8
from mlcycle.exporting.plan import plan_of
from mlcycle.exporting.precision_drop import Labelled, keeps_precision
from mlcycle.exporting.stem import group_pixels
from mlcycle.inference import images, letterbox

# Is given the parent's path and the unpublished variant's; returns what to say of them, or raises GateError.
Gate = Callable[[Path, Path], object]


@dataclass(frozen=True, slots=True)
class Exported:
    """A variant that was written: where, its sha256, its and its parent's size in bytes, and what the gate said."""

    path: Path
    sha256: str
    size: int
    parent_size: int
    verdict: str


@dataclass(frozen=True, slots=True)
class _Parent:
    sealed: SealedBytes
    model: onnx.ModelProto
    contract: Contract


def export_float16(source: Path, target: Path | None, photos: Sequence[Path]) -> Exported:
    """Makes a variant in half precision, which must find the same faces as its parent on real photographs.

    Args:
        target: the file to write; None puts it beside its parent, as NAME-float16-DIGEST.onnx.
        photos: photo files to compare on.

    Raises:
        ModelFileError: the parent is missing, damaged, or itself a variant.
        GateError: parent and variant part; then nothing was written.
        InputError: there is no photograph, or the target is taken.
    """
    _must_not_be_empty(photos)
    parent = _open(source)
    child = replace(parent.contract, precision="float16", parent=parent.sealed.sha256)
    return _publish(parent, to_float16(parent.model), child, target, _same_faces(photos))


def export_int8(source: Path, target: Path | None, photos: Sequence[Path], labelled: Labelled | None) -> Exported:
    """Makes a variant that computes on bytes, between limits that real photographs give.

    Args:
        target: the file to write; None puts it beside its parent, as NAME-int8-DIGEST.onnx.
        photos: photo files; every other one gives the limits, the rest compares parent and variant.
        labelled: where to measure average precision instead of comparing.

    Raises:
        ModelFileError: the parent is missing, damaged, or itself a variant.
        GateError: the variant loses too much, or finds other faces; then nothing was written.
        InputError: there is no photograph, none can be read, or the target is taken.
        DataError: the labelled set cannot be read.
    """
    _must_not_be_empty(photos)
    parent = _open(source)
    pictures = _pictures(photos[::2], parent.contract.resize.long_side)
    model = group_pixels(parent.model)
    plan = plan_of(model)
    model = to_int8(model, plan, ranges_of(model, plan.measured, pictures))
    child = replace(
        parent.contract,
        precision="int8",
        parent=parent.sealed.sha256,
        training=parent.contract.training | {"calibration": _fingerprint(pictures)},
    )
    return _publish(
        parent,
        model,
        child,
        target,
        _same_faces(photos[1::2] or photos) if labelled is None else _little_lost(labelled),
    )


def _publish(parent: _Parent, model: onnx.ModelProto, child: Contract, target: Path | None, gate: Gate) -> Exported:
    data = pack(model, child)
    with tempfile.TemporaryDirectory(prefix="mlcycle-export-") as scratch:
        candidate = Path(scratch) / "candidate.onnx"
        digest = write_sealed(data, candidate)
        path = target or _beside(parent.sealed.path) / f"{child.name}-{child.precision}-{digest[:12]}.onnx"
        must_be_free(data, path)
        verdict = gate(parent.sealed.path, candidate)
    write_sealed(data, path)
    return Exported(path, digest, len(data), len(parent.sealed.data), str(verdict))


def _beside(path: Path) -> Path:
    """Returns the folder for a variant: its parent's, but ./models for that of a model that comes with mlcycle."""
    return Path("models") if path.parent == bundled.FOLDER else path.parent


def _same_faces(photos: Sequence[Path]) -> Gate:
    return lambda parent, variant: agree(parent, variant, photos)


def _little_lost(labelled: Labelled) -> Gate:
    return lambda parent, variant: keeps_precision(parent, variant, labelled)


def _must_not_be_empty(photos: Sequence[Path]) -> None:
    if not photos:
        raise InputError("there is no photograph to compare parent and variant on", "name a folder with --photos")


def _pictures(photos: Sequence[Path], long_side: int) -> list[np.ndarray]:
    """Reads photographs as inference does, at the model's own size and at half of it; skips what cannot be read."""
    pictures = []
    for photo in photos:
        try:
            upright = images.decode(images.read(photo)).upright()
        except images.UnreadableError:
            continue
        pictures += [letterbox.shrink(upright, side)[0] for side in (long_side, (long_side + 1) // 2)]
    if not pictures:
        raise InputError("none of the photographs can be read", "name others with --photos")
    return pictures


def _fingerprint(pictures: Sequence[np.ndarray]) -> dict[str, object]:
    """Says for people which pictures gave the limits: how many, and a digest of their pixels."""
    digest = hashlib.sha256()
    for picture_HW3 in pictures:
        digest.update(repr(picture_HW3.shape).encode())
        digest.update(picture_HW3.tobytes())
    return {"pictures": len(pictures), "sha256": digest.hexdigest()}


def _open(source: Path) -> _Parent:
    sealed = read_sealed(source)
    try:
        model = onnx.load_model_from_string(sealed.data)
    except Exception as problem:  # protobuf's own errors have no common base that can be named here
        raise ModelFileError(f"{sealed.path} is not an ONNX model: {problem}") from None
    entries = {entry.key: entry.value for entry in model.metadata_props}
    contract = from_json(entries.get(CONTRACT_KEY, ""))
    if contract.parent:
        raise ModelFileError(f"{sealed.path} is a variant itself", f"export from its parent, {contract.parent[:12]}")
    return _Parent(sealed, model, contract)
