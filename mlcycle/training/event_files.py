"""TensorBoard's event files: the lines of metrics.jsonl once more, in the form that it reads.

They are written as they come, with tensorboardX's records alone: its own writer would put the machine's name into the
name of the file, and a thread beside the training.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
VERSION = "brain.Event:2"


class EventFile:
    """One event file.

    Args:
        folder: where event files lie; it is made.
        from_step: what files of before say of this step and later ones is no longer true: the run was resumed.
    """

    def __init__(self, folder: Path, from_step: int | None = None) -> None:
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(exist_ok=True)
        self._event = Event
        # TensorBoard reads them in the order of their names.
        self._records = RecordWriter(str(folder / f"events.out.tfevents.{time.time_ns():020d}.mlcycle"))
        self._write(Event(wall_time=time.time(), file_version=VERSION))
        if from_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=from_step, session_log=start))

    def add(self, entry: dict[str, Any]) -> None:
        """Takes one line of metrics.jsonl."""
        event = self._event(wall_time=time.time(), step=entry["step"])
        for name, value in entry.items():
            if name != "step" and isinstance(value, int | float):
                event.summary.value.add(tag=name, simple_value=value)
        self._write(event)

    def close(self) -> None:
        self._records.close()

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()


@contextmanager
def event_file(run: Path, metrics: Sequence[dict[str, Any]], wanted: bool) -> Iterator[EventFile | None]:
    """Keeps an event file while its block runs; None unless `wanted`.

    Args:
        metrics: of the run so far; what no event file holds yet is written first.
    """
    if not wanted:
        yield None
        return
    folder = run / FOLDER
    is_first = not any(folder.glob("events.out.tfevents.*"))
    last = max((entry["step"] for entry in metrics), default=0)
    file = EventFile(folder, None if is_first else last + 1)
    try:
        for entry in metrics if is_first else ():
            file.add(entry)
        yield file
    finally:
        file.close()
