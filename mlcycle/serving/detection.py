"""The bytes of an image → its record, or its redacted copy: what a worker thread does for a request."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.inference.copies import image_copies, redact
from mlcycle.inference.copies.requested import NOT_REDACTED
from mlcycle.inference.detect import DetectOptions, Detector, upright_image
from mlcycle.inference.record import Record, Source, json_line
from mlcycle.inference.stopwatch import Stopwatch
from mlcycle.serving.problems import unreadable

if TYPE_CHECKING:
    from mlcycle.inference.copies.redact import RedactionMethod

_JPEG = b"\xff\xd8"


@dataclass(frozen=True, slots=True)
class Answer:
    """The result for one image.

    Attributes:
        body: to send.
        media_type: of the body.
        milliseconds: of each stage.
        faces: how many were found.
    """

    body: bytes
    media_type: str
    milliseconds: dict[str, float] = field(default_factory=dict)
    faces: int = 0


def detect(detector: Detector, name: str, data: bytes, options: DetectOptions) -> Record:
    """Returns the record of an image, as `mlcycle infer --format json` would write it; the error is in it."""
    return detector.detect_batch([_source(name, data)], options)[0]


def record_answer(record: Record) -> Answer:
    """Returns a record as the JSON of a response.

    Raises:
        RequestError: 4xx, the image could not be processed.
    """
    if record.error:
        raise unreadable(*record.error)
    return Answer(json_line(record).encode(), "application/json", record.milliseconds, len(record.scores_N))


def redacted_answer(
    detector: Detector, name: str, data: bytes, options: DetectOptions, method: RedactionMethod
) -> Answer:
    """Returns the image with unrecognisable faces and without metadata: a JPEG of a JPEG, a PNG of anything else.

    Raises:
        RequestError: 4xx, the image could not be processed, or faces may be missed in it because it is damaged.
    """
    record = detect(detector, name, data, options)
    if record.error:
        raise unreadable(*record.error)
    if record.flaw:
        raise unreadable(record.flaw, NOT_REDACTED)
    stopwatch = Stopwatch()
    stopwatch.start()
    covered = redact.redact(upright_image(_source(name, data), options.max_pixels), record.boxes_N4, method)
    suffix, media_type = (".jpg", "image/jpeg") if data[:2] == _JPEG else (".png", "image/png")
    body = image_copies.encode(covered, suffix)
    stopwatch.lap("redact")
    return Answer(body, media_type, record.milliseconds | stopwatch.milliseconds, len(record.scores_N))


def redaction_options(detector: Detector, options: DetectOptions) -> DetectOptions:
    """Returns the options for redaction: without a threshold, regions from "sensitive" on are covered."""
    if options.threshold is not None:
        return options
    return replace(options, threshold=detector.contract.redaction_threshold)


def _source(name: str, data: bytes) -> Source:
    return Source(Path(name), name, data=data)
