"""An image to detect faces in (a source) and the result for it (a record), as data and as a sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

    from mlcycle.inference.decoding.images import Decoded

SCHEMA_VERSION = 1
JPEG_QUALITY = 92  # of copies; a PNG loses nothing
VP9_CRF = 24  # of 0 to 63
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
VIDEO_COPY_SUFFIXES = frozenset({".mp4", ".m4v", ".webm"})  # browsers play these; copies of others become MP4
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"})
# Of an image within a folder: the bytes of its key, and the number of its part, or 0.
Identity = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class Part:
    """One of several images in a file: a page of a TIFF or a frame of a video.

    Attributes:
        kind: "page" or "frame".
        number: counted from 1.
        count: number of pages or frames in the file, if known.
        seconds: time of a frame since the start of the video.
    """

    kind: str
    number: int
    count: int | None = None
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the known values for JSON."""
        values = {"kind": self.kind, "number": self.number, "count": self.count, "seconds": self.seconds}
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Source:
    """An image to detect faces in.

    Attributes:
        path: of the file.
        data: the file's bytes, if they do not come from a file.
        key: name of its record: the name as given, or the path below the folder, with "/" on every system.
        copies: paths of the requested copies by kind: annotated, redacted, cropped (a folder).
        part: the page or frame, for a file of several images.
        offset: of the page's directory in a TIFF; 0 for a plain image.
        image: returns the decoded image, which is upright if it is Pillow's, or raises UnreadableError; for frames and
            images in memory.
    """

    path: Path
    key: str
    copies: Mapping[str, Path] = field(default_factory=dict)
    data: bytes | None = None
    part: Part | None = None
    offset: int = 0
    image: Callable[[], Image.Image | Decoded] | None = None

    @property
    def identity(self) -> Identity:
        """Returns the key's bytes and the number of the part, or 0: unique within a folder."""
        return os.fsencode(self.key), self.part.number if self.part else 0


@dataclass(frozen=True, slots=True)
class Record:
    """The result for one image.

    Attributes:
        input: the image's key: its path as given, or below the given folder.
        boxes_N4: x1 y1 x2 y2 in pixels of the upright image, best first.
        scores_N: 0 to 1.
        landmarks_N52: x y in pixels of the upright image, or None for a model without landmarks.
        landmark_names: the five points in order, or ().
        part: the page or frame; None for a plain image.
        width, height: of the upright image in pixels; 0 if it could not be read.
        note: for the reader, e.g. "first of 12 frames", or "".
        flaw: why faces may be missed although it was decoded: "damaged", "unsupported" (its note says what), or "".
        error: a stable code and a sentence, or None. With both faces and an error, a copy was not written.
        model: name and sha256 of the model file.
        threshold: the least score that counted as a face; None if it is not known.
        provider: the execution provider in use, e.g. "cpu".
        milliseconds: time of each stage that was reached.
        copies: paths of the written copies by kind: annotated, redacted, cropped (a folder).
    """

    input: str
    boxes_N4: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    scores_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    landmarks_N52: np.ndarray | None = None
    landmark_names: tuple[str, ...] = ()
    width: int = 0
    height: int = 0
    part: Part | None = None
    note: str = ""
    flaw: str = ""
    error: tuple[str, str] | None = None
    model: tuple[str, str] = ("", "")
    threshold: float | None = None
    provider: str = ""
    milliseconds: dict[str, float] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Identity:
        """Returns the identity of its source."""
        return os.fsencode(self.input), self.part.number if self.part else 0

    @property
    def redacted_quality(self) -> int | str | None:
        """Returns the redacted copy's JPEG quality, video codec setting, or "lossless"; None without such a copy."""
        if "redacted" not in self.copies:
            return None
        suffix = Path(self.copies["redacted"]).suffix.lower()
        if suffix in VIDEO_COPY_SUFFIXES:
            return f"VP9, crf {VP9_CRF}"
        return JPEG_QUALITY if suffix in JPEG_SUFFIXES else "lossless"

    @property
    def status(self) -> str:
        """Returns "error", "empty" (no face found) or "ok"."""
        return "error" if self.error else "ok" if len(self.scores_N) else "empty"

    def as_dict(self) -> dict[str, Any]:
        """Returns the record for JSON: boxes to 0.01 pixel, scores to six digits."""
        return {
            "schema_version": SCHEMA_VERSION,
            "input": self.input,
            "part": self.part.as_dict() if self.part else None,
            "status": self.status,
            "error": {"code": self.error[0], "message": self.error[1]} if self.error else None,
            "image": {"width": self.width, "height": self.height} if self.width else None,
            "note": self.note,
            "flaw": self.flaw or None,
            "faces": self.faces(),
            "model": {"name": self.model[0], "sha256": self.model[1]},
            "threshold": None if self.threshold is None else round(self.threshold, 6),
            "provider": self.provider,
            "annotated": self.copies.get("annotated"),
            "redacted": self.copies.get("redacted"),
            "redacted_quality": self.redacted_quality,
            "crops": self.crops(),
            "milliseconds": {stage: round(value, 3) for stage, value in self.milliseconds.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], landmark_names: tuple[str, ...]) -> Record:
        """Returns the record of a dictionary from `as_dict`, with its rounded numbers."""
        faces = values["faces"]
        points = [[face["landmarks"][name] for name in landmark_names] for face in faces]
        part, image, error = values["part"], values["image"] or {"width": 0, "height": 0}, values["error"]
        copies = {kind: values[kind] for kind in ("annotated", "redacted") if values[kind]}
        if crops := values.get("crops"):
            copies["cropped"] = crops[0].rpartition("/")[0]
        return cls(
            input=values["input"],
            part=Part(**part) if part else None,
            boxes_N4=np.array([face["box"] for face in faces], np.float64).reshape(-1, 4),
            scores_N=np.array([face["score"] for face in faces], np.float64),
            landmarks_N52=np.array(points, np.float64).reshape(-1, len(landmark_names), 2) if landmark_names else None,
            landmark_names=landmark_names,
            width=image["width"],
            height=image["height"],
            note=values["note"],
            flaw=values.get("flaw") or "",
            error=(error["code"], error["message"]) if error else None,
            model=(values["model"]["name"], values["model"]["sha256"]),
            threshold=values.get("threshold"),
            provider=values["provider"],
            milliseconds=values.get("milliseconds", {}),
            copies=copies,
        )

    def crops(self) -> list[str] | None:
        """Returns the path of each face's crop, in the order of the faces; None if no crops were written."""
        if "cropped" not in self.copies:
            return None
        return [f"{self.copies['cropped']}/{crop_name(row + 1)}" for row in range(len(self.scores_N))]

    def faces(self) -> list[dict[str, Any]]:
        """Returns each face's box, score and, if the model has landmarks, landmarks by name, for JSON."""
        points_N52 = None if self.landmarks_N52 is None else self.landmarks_N52.tolist()
        faces: list[dict[str, Any]] = []
        for row, (box_4, score) in enumerate(zip(self.boxes_N4.tolist(), self.scores_N.tolist(), strict=True)):
            face: dict[str, Any] = {"box": _rounded(box_4), "score": round(score, 6)}
            if points_N52 is not None:
                face["landmarks"] = dict(zip(self.landmark_names, map(_rounded, points_N52[row]), strict=True))
            faces.append(face)
        return faces


class FinishedRecords(Protocol):
    """The records of images that need no detection any more, such as those in a run's ledger."""

    def has(self, source: Source) -> bool:
        """Returns whether an image is finished."""

    def find(self, source: Source) -> Record:
        """Returns the record of a finished image."""


def is_first_of_file(part: Part | None) -> bool:
    """Returns whether an image is the first or only one of its file."""
    return part is None or part.number == 1


def unreadable(source: Source, problem: Exception) -> Source:
    """Returns a source whose record will have this error."""
    return replace(source, image=partial(_fail, problem), copies={})


def _fail(problem: Exception) -> NoReturn:
    raise problem


def json_line(record: Record) -> str:
    """Returns a record as one line of JSON, in ASCII, so that names in any encoding survive any terminal or pipe."""
    return json.dumps(record.as_dict(), ensure_ascii=True, allow_nan=False)


def crop_name(number: int) -> str:
    """Returns the file name of a face's crop; the best face of an image is number 1."""
    return f"{number}.png"


def verdict(record: Record) -> str:
    """Returns the result as a sentence."""
    count = len(record.scores_N)
    sentence = "No face." if not count else "That's a face." if count == 1 else f"Those are {count} faces."
    if record.error:
        why = printable(record.error[1])
        sentence = f"{sentence} But {why}." if record.width else f"Unreadable: {why}."
    return f"{sentence} ({record.note})" if record.note else sentence


def title(key: str, part: Part | None) -> str:
    """Returns an image's printable name: "a.tif page 2" or "a.mp4 frame 40, 1.56 s"."""
    if part is None:
        return printable(key)
    seconds = "" if part.seconds is None else f", {part.seconds:.2f} s"
    return f"{printable(key)} {part.kind} {part.number}{seconds}"


def readable(text: str) -> str:
    """Returns a name as valid UTF-8; other bytes become escapes such as \\xff."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Returns a name that is safe for a terminal; other characters become escapes such as \\n or \\xff."""
    text = readable(text)
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 2) for value in values]
