"""Writes the copies of an image that were requested, and names them in its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from mlcycle import files
from mlcycle.inference.copies import image_copies
from mlcycle.inference.record import Record

if TYPE_CHECKING:
    from mlcycle.inference.copies.redact import RedactionMethod

NOT_REDACTED = "no redacted copy of it is written, because faces may be missed in it"


class CopyOptions(Protocol):
    """How copies are made; the attributes are those of DetectOptions."""

    @property
    def overwrite(self) -> bool: ...
    @property
    def redaction(self) -> RedactionMethod: ...
    @property
    def align(self) -> bool: ...
    @property
    def token(self) -> str: ...


def write_copies(record: Record, paths: Mapping[str, Path], upright: Image.Image, options: CopyOptions) -> Record:
    """Writes the requested copies of an image; returns the record, which names them or has the error next to the faces.

    Args:
        paths: kind (annotated, redacted, cropped) → the file, or the folder of crops.
        upright: the image at full size.
    """
    written: dict[str, str] = {}
    for kind, path in paths.items():
        if kind == "redacted" and record.flaw:
            return replace(record, copies=written, error=(record.flaw, NOT_REDACTED))
        try:
            if kind == "cropped":
                written |= _crops(record, upright, path, options)
                continue
            image_copies.save(
                _copy(kind, record, upright, options), path, overwrite=options.overwrite, token=options.token
            )
        except FileExistsError:
            return replace(record, copies=written, error=("exists", f"its {kind} copy {path} already exists"))
        except (OSError, MemoryError, ValueError) as problem:
            if getattr(problem, "errno", None) in files.FULL:
                raise  # every image would fail the same way
            why = getattr(problem, "strerror", None) or problem or "not enough memory"
            error = ("not-written", f"its {kind} copy {path} cannot be written: {why}")
            return replace(record, copies=written, error=error)
        written[kind] = path.as_posix()
    return replace(record, copies=written)


def _copy(kind: str, record: Record, upright: Image.Image, options: CopyOptions) -> Image.Image:
    if kind == "redacted":
        from mlcycle.inference.copies import redact

        return redact.redact(upright, record.boxes_N4, options.redaction)
    from mlcycle.inference.copies import annotate  # imports fonts, which nothing else needs

    return annotate.draw(upright, record.boxes_N4, record.scores_N, record.landmarks_N52)


def _crops(record: Record, upright: Image.Image, folder: Path, options: CopyOptions) -> dict[str, str]:
    from mlcycle.inference.copies import crops

    points_N52 = record.landmarks_N52 if options.align else None
    overwrite, token = options.overwrite, options.token
    boxes_N4 = record.boxes_N4
    written = crops.write(upright, boxes_N4, folder, landmarks_N52=points_N52, overwrite=overwrite, token=token)
    return {"cropped": folder.as_posix()} if written else {}
