"""The faces that a model found in one image: arrays, a record, and copies of the image."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlcycle.errors import InputError, MlcycleError, UnreadableError, UsageError
from mlcycle.inference.copies import annotate, crops, redact
from mlcycle.inference.copies.requested import NOT_REDACTED
from mlcycle.inference.detect import upright_image
from mlcycle.inference.record import Record, Source, printable
from mlcycle.library import conversions
from mlcycle.library.inputs import ImageInput, source_of

if TYPE_CHECKING:
    import supervision

# In a notebook an image is shown by at most so many pixels a side.
SHOWN_PIXELS = 1024

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face.

    Attributes:
        box: x1 y1 x2 y2 in pixels of the upright image, shape (4,), float32.
        score: 0 to 1.
        landmarks: x y of left eye, right eye, nose, left and right corner of the mouth (as seen in the image), shape
            (5, 2), in pixels of the upright image; None from a model without landmarks.
    """

    box: Floats
    score: float
    landmarks: Floats | None


class Faces:
    """The faces of one image, best first; what `Model` returns.

    `len(faces)` counts them, `faces[0]` is the best one, `faces[faces.scores > 0.9]` selects some, and a loop gives one
    `Face` after the other. In a notebook it shows itself as the image with the faces drawn on it.

    It does not keep the pixels: `image`, `draw`, `redact` and `crops` decode the image again from where it came from.
    """

    __slots__ = ("_decode", "_doubtful", "_problem", "_record")

    def __init__(self, record: Record, decode: Callable[[], Image.Image], error: MlcycleError | None = None) -> None:
        self._record, self._decode, self._problem = record, decode, error
        self._doubtful: Floats = np.zeros((0, 4), np.float32)

    @property
    def boxes(self) -> Floats:
        """x1 y1 x2 y2 of each face in pixels of the upright image, shape (N, 4), float32."""
        return self._record.boxes_N4

    @property
    def scores(self) -> Floats:
        """Score of each face, 0 to 1, shape (N,), float32, in descending order."""
        return self._record.scores_N

    @property
    def landmarks(self) -> Floats | None:
        """x y of five points of each face in pixels of the upright image, shape (N, 5, 2), float32.

        The points are named by `landmark_names`. None from a model without landmarks.
        """
        return self._record.landmarks_N52

    @property
    def landmark_names(self) -> tuple[str, ...]:
        """left_eye, right_eye, nose, left_mouth_corner, right_mouth_corner (as seen in the image), or ()."""
        return self._record.landmark_names

    @property
    def doubtful(self) -> Floats:
        """Boxes of regions that score less than the threshold but may be faces, shape (M, 4), as `boxes`.

        `redact` covers them too. They reach down to the model's threshold "sensitive"; there are none if a threshold
        or an operating point was chosen, and none in a selection such as `faces[:3]`.
        """
        return self._doubtful

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the upright image in pixels, as Pillow's `size`; (0, 0) if it could not be read."""
        return self._record.width, self._record.height

    @property
    def input(self) -> str:
        """The path as it was given; "bytes", "file", "image" or "array" for what has none."""
        return self._record.input

    @property
    def error(self) -> MlcycleError | None:
        """Why the image could not be read, from `Model.stream`; None where it was read."""
        return self._problem

    @property
    def note(self) -> str:
        """What a reader should know of the image, such as "first of 12 frames"; else ""."""
        return self._record.note

    @property
    def milliseconds(self) -> dict[str, float]:
        """Time of each stage: read, decode, resize, run, select."""
        return dict(self._record.milliseconds)

    def __len__(self) -> int:
        return len(self._record.scores_N)

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice | npt.NDArray[Any] | list[int] | list[bool]) -> Faces: ...
    def __getitem__(self, index: int | slice | npt.NDArray[Any] | list[int] | list[bool]) -> Face | Faces:
        """Returns the face of this number, or those of a slice, a mask or a list of numbers as Faces."""
        record = self._record
        points_N52 = record.landmarks_N52
        if isinstance(index, int | np.integer):
            points_52 = None if points_N52 is None else points_N52[index]
            return Face(record.boxes_N4[index], float(record.scores_N[index]), points_52)
        chosen = replace(
            record,
            boxes_N4=record.boxes_N4[index],
            scores_N=record.scores_N[index],
            landmarks_N52=None if points_N52 is None else points_N52[index],
        )
        return Faces(chosen, self._decode, self._problem)

    def __iter__(self) -> Iterator[Face]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        name, (width, height) = printable(self.input), self.image_size
        if self._record.error:
            return f"<Faces: {name} cannot be read: {self._record.error[1]}>"
        return f"<Faces: {len(self)} in {name}, {width} x {height}>"

    def to_dict(self) -> dict[str, Any]:
        """Returns the record of the image, as `mlcycle infer --format jsonl` writes it; it can be given to json.dumps.

        Boxes are rounded to 0.01 pixel, scores to six digits. docs/library.md describes the keys.
        """
        return self._record.as_dict()

    @classmethod
    def from_dict(cls, record: dict[str, Any], image: ImageInput | None = None) -> Faces:
        """Returns the faces of a record that `to_dict` returned or `mlcycle infer` wrote.

        Args:
            image: where to take the pixels from; None takes the record's path.
        """
        names = tuple(record["faces"][0].get("landmarks", ())) if record["faces"] else ()
        read = Record.from_dict(record, names)
        single = replace(
            read,
            boxes_N4=read.boxes_N4.astype(np.float32),
            scores_N=read.scores_N.astype(np.float32),
            landmarks_N52=None if read.landmarks_N52 is None else read.landmarks_N52.astype(np.float32),
        )
        source = Source(Path(read.input), read.input) if image is None else source_of(image)
        return cls(single, partial(upright_image, source), error_of(read))

    @property
    def image(self) -> Image.Image:
        """The upright image, mode RGB, decoded anew each time.

        Raises:
            UnreadableError: it cannot be read, or not any more.
            InputError: it is another image now, of another size.
        """
        if self._problem:
            raise self._problem
        image = self._decode()
        if image.size != self.image_size:
            what = f"{printable(self.input)} has {image.width} x {image.height} pixels, not {self.image_size} as before"
            raise InputError(what, "find its faces again")
        return image

    def draw(self) -> Image.Image:
        """Returns a copy of the image with boxes, scores and landmarks drawn on it."""
        return annotate.draw(self.image, self.boxes, self.scores, self.landmarks)

    def redact(self, way: redact.RedactionMethod = "blur") -> Image.Image:
        """Returns a copy of the image whose faces cannot be recognised; it carries no metadata.

        Each face and each doubtful region is covered by an ellipse 1.8 times as wide and high as its box. `blur` and
        `pixelate` leave the means of two fields across it, `fill` leaves nothing.

        Raises:
            UsageError: `way` is none of these.
            UnreadableError: faces may be missed: the image is damaged, or the white level of its deep grey is unknown.
        """
        if way not in ("blur", "pixelate", "fill"):
            raise UsageError(f"faces cannot be redacted by {way!r}", "choose blur, pixelate or fill")
        if self._record.flaw:
            raise UnreadableError(self._record.flaw, f"{printable(self.input)}: {NOT_REDACTED}: {self.note}")
        copy = redact.redact(self.image, np.concatenate([self.boxes, self.doubtful]), way)
        copy.info.clear()
        return copy

    def crops(self, align: bool = False) -> list[Image.Image]:
        """Returns a crop of each face, in the order of the faces.

        A crop is the square around the box and 20 % of its longer side at each end, black outside the image. With
        `align` it has 112 x 112 pixels, turned and scaled by the landmarks to where face recognition (ArcFace) expects
        them.

        Raises:
            UsageError: `align`, and the model gives no landmarks.
            ValueError: `align`, and all landmarks of a face lie in one point.
        """
        points_N52 = self.landmarks
        if align and points_N52 is None:
            raise UsageError(
                "aligned crops need the landmarks of each face, and the model gives none", "leave out align"
            )
        image = self.image
        if align and points_N52 is not None:
            return [crops.aligned(image, points_52) for points_52 in points_N52]
        return [crops.square(image, box_4) for box_4 in self.boxes]

    def _repr_png_(self) -> bytes | None:
        """Returns what a notebook shows: the drawn image as PNG, at most 1024 pixels a side; None shows the repr."""
        try:
            shown = self.draw()
        except MlcycleError:
            return None
        shown.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS))
        stream = io.BytesIO()
        shown.save(stream, "PNG")
        return stream.getvalue()

    def to_supervision(self) -> supervision.Detections:
        """Returns the faces as `supervision.Detections` of the class "face" (0), landmarks in data["landmarks"].

        Raises:
            MissingExtraError: the package supervision is not installed.
        """
        return conversions.to_supervision(self._record)

    @classmethod
    def from_supervision(cls, detections: supervision.Detections, image: ImageInput) -> Faces:
        """Returns detections of `supervision` as Faces of this image, best first, so that they can be redacted and cut.

        Landmarks are taken from data["landmarks"], if it has shape (N, 5, 2); detections without confidence score 1.

        Raises:
            UnreadableError: the image cannot be read.
        """
        source = source_of(image)
        size = upright_image(source).size
        return cls(conversions.from_supervision(detections, source.key, size), partial(upright_image, source))


def with_doubtful(found: Faces, threshold: float) -> Faces:
    """Returns those of the found faces that score at least `threshold`, with the others as doubtful regions."""
    faces = found[found.scores >= threshold]
    faces._record = replace(faces._record, threshold=threshold)
    faces._doubtful = found.boxes[found.scores < threshold]
    return faces


def error_of(record: Record) -> UnreadableError | None:
    """Returns the error of a record as an exception that names the image; None where there is none."""
    if record.error is None:
        return None
    code, sentence = record.error
    return UnreadableError(code, f"{printable(record.input)}: {sentence}")
