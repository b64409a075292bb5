"""The conductor of `mlcycle export`: a sealed file → a variant with a contract of its own. Read it top to bottom."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from mlcycle.artifact.contract import CONTRACT_KEY, Contract, from_json
from mlcycle.artifact.packing import pack
from mlcycle.artifact.seal import SealedBytes, read_sealed, write_sealed
from mlcycle.errors import InputError, ModelFileError
from mlcycle.parity import INFERENCE_TRACE, Difference, Tolerance, Ways, check

# How far a variant may be from its parent: pixels of the photograph, and score.
VARIANT_TOLERANCE = Tolerance(pixels=2.0, score=0.02)


@dataclass(frozen=True, slots=True)
class Exported:
    """A variant that was written: where, its sha256, its and its parent's size in bytes, how far apart they answer."""

    path: Path
    sha256: str
    size: int
    parent_size: int
    difference: Difference


def export(
    source: Path,
    target: Path | None,
    photos: Sequence[Path],
    precision: str,
    convert: Callable[[onnx.ModelProto], onnx.ModelProto],
) -> Exported:
    """Makes a variant of a model file.

    Args:
        target: the file to write; None puts it beside its parent, as PARENT-PRECISION-DIGEST.onnx.
        photos: real photographs on which parent and variant must agree.
        convert: makes the variant's graph of the parent's.

    Raises:
        ModelFileError: the parent is missing, damaged, or itself a variant.
        GateError: parent and variant part; then nothing was written.
        InputError: there is no photograph, or the target is taken.
    """
    if not photos:
        raise InputError("there is no photograph to compare parent and variant on", "name a folder with --photos")
    sealed = read_sealed(source)
    model, contract = _open(sealed)
    child = replace(contract, precision=precision, parent=sealed.sha256)
    data = pack(convert(model), child)
    with tempfile.TemporaryDirectory(prefix="mlcycle-export-") as scratch:
        candidate = Path(scratch) / "candidate.onnx"
        digest = write_sealed(data, candidate)
        difference = check(_parent_and_variant(source, candidate, contract), photos, VARIANT_TOLERANCE)
    path = target or source.with_name(f"{contract.name}-{precision}-{digest[:12]}.onnx")
    write_sealed(data, path)
    return Exported(path, digest, len(data), len(sealed.data), difference)


def _parent_and_variant(source: Path, candidate: Path, contract: Contract) -> Ways:
    """Boxes from half the balanced threshold on: below, which of two overlapping guesses stays is a matter of luck."""
    return Ways(
        subjects=(source, candidate),
        programs=(INFERENCE_TRACE, INFERENCE_TRACE),
        names=("the parent", "the variant"),
        stages=("graph",),
        least_score=contract.thresholds["balanced"] / 2,
    )


def _open(sealed: SealedBytes) -> tuple[onnx.ModelProto, Contract]:
    try:
        model = onnx.load_model_from_string(sealed.data)
    except Exception as problem:  # protobuf's own errors have no common base that can be named here
        raise ModelFileError(f"{sealed.path} is not an ONNX model: {problem}") from None
    entries = {entry.key: entry.value for entry in model.metadata_props}
    contract = from_json(entries.get(CONTRACT_KEY, ""))
    if contract.parent:
        raise ModelFileError(f"{sealed.path} is a variant itself", f"export from its parent, {contract.parent[:12]}")
    return model, contract
