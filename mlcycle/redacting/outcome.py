"""What was covered in one image or video, as sentences for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from mlcycle.counted import counted
from mlcycle.inference.record import Record, printable, title, verdict

_PLACES_NAMED = 3


@dataclass(slots=True)
class Outcome:
    """What was covered in an image, or in all frames of a video.

    Attributes:
        name: of the input, printable.
        copy: path of the redacted copy, printable, or "" without one.
        frames: number of frames; 0 for an image.
        regions, doubtful: number of covered regions, and of those that score less than a face must.
        places: where the first doubtful regions of an image are, such as "top left".
        problem: why there is no copy, or "".
    """

    name: str
    copy: str = ""
    frames: int = 0
    regions: int = 0
    doubtful: int = 0
    places: list[str] = field(default_factory=list)
    problem: str = ""

    def add(self, record: Record, below: float) -> None:
        """Counts the regions of a record; those that score less than `below` are doubtful."""
        is_doubtful_N = record.scores_N < below
        self.regions += len(is_doubtful_N)
        self.doubtful += int(is_doubtful_N.sum())
        self.copy = printable(record.copies.get("redacted", self.copy))
        if record.part and record.part.kind == "frame":
            self.frames += 1
        else:
            boxes = record.boxes_N4[is_doubtful_N][:_PLACES_NAMED]
            self.places = list(dict.fromkeys(_place(box_4, record.width, record.height) for box_4 in boxes.tolist()))
        if record.error:
            self.problem = verdict(record)

    def line(self) -> str:
        """Returns the copy and what is covered in it, or the image and why it has no copy."""
        if self.problem or not self.copy:
            return f"{self.name}  {self.problem}"
        frames = f"{counted(self.frames, 'frame')}, " if self.frames else ""
        if not self.regions:
            return f"{self.copy}  {frames}no face found: nothing is covered"
        doubtful = f", {self.doubtful:,} of them doubtful" if self.doubtful else ""
        return f"{self.copy}  {frames}{counted(self.regions, 'region')} covered{doubtful}"

    def advice(self, below: float) -> str:
        """Returns why somebody should look at the copy before the others, or ""."""
        if self.problem or not self.copy:
            return ""
        if not self.regions:
            return f"look at {self.copy}: no face was found"
        if not self.doubtful:
            return ""
        where = f" ({', '.join(self.places)})" if self.places else ""
        what = f"{counted(self.doubtful, 'doubtful region')}{where}, with scores below {below:g}"
        return f"look at {self.copy}: {what}; others may have been missed"


def outcomes(records: Iterable[Record], below: float) -> Iterator[Outcome]:
    """Yields one outcome for each image, page or video, whose frames follow each other."""
    for _, group in groupby(records, _file):
        outcome: Outcome | None = None
        for record in group:
            if outcome is None:
                is_frame = record.part is not None and record.part.kind == "frame"
                outcome = Outcome(printable(record.input) if is_frame else title(record.input, record.part))
            outcome.add(record, below)
        assert outcome is not None
        yield outcome


def _file(record: Record) -> tuple[str, int]:
    return record.input, 0 if record.part is None or record.part.kind == "frame" else record.part.number


def _place(box_4: list[float], width: int, height: int) -> str:
    """Returns where the middle of a box is: "top left", "right", or "in the middle"."""
    x, y = (box_4[0] + box_4[2]) / 2 / width, (box_4[1] + box_4[3]) / 2 / height
    column = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    row = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""
    return f"{row} {column}".strip() or "in the middle"
