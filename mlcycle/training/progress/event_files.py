"""TensorBoard event files: the lines of metrics.jsonl, written by tensorboardX."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlcycle.extras import extra

FOLDER = "tensorboard"
FILES = "events.out.tfevents.*"


class EventFile:
    """One event file.

    Args:
        folder: the folder of event files; it is created.
        from_step: for a resumed run, the step from which the entries of earlier files are discarded.
    """

    def __init__(self, folder: Path, from_step: int | None = None) -> None:
        with extra("tensorboard", "a run with TensorBoard event files"):
            from tensorboardX import SummaryWriter

        folder.mkdir(exist_ok=True)
        # SummaryWriter names its file by time in seconds and host. The file is renamed while it is open, so that
        # its name has no host and sorts after all earlier ones, which is the order in which TensorBoard reads them.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{FOLDER}-") as scratch:
            self._writer = SummaryWriter(scratch, purge_step=from_step, flush_secs=1)
            [made] = Path(scratch).iterdir()
            made.rename(folder / f"events.out.tfevents.{time.time_ns():020d}.mlcycle")

    def add(self, entry: dict[str, Any]) -> None:
        """Writes one line of metrics.jsonl."""
        for name, value in entry.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, entry["step"])

    def close(self) -> None:
        self._writer.close()


@contextmanager
def event_file(run: Path | None, metrics: Sequence[dict[str, Any]], is_requested: bool) -> Iterator[EventFile | None]:
    """Opens an event file while its block runs, on request and for a run that has some; yields None otherwise.

    Args:
        run: the run's folder; None in a process that does not write to it.
        metrics: the metrics of the run so far; written first if there is no event file yet.

    Raises:
        MissingExtraError: tensorboardX is not installed.
    """
    is_first = run is None or not any((run / FOLDER).glob(FILES))
    if run is None or (is_first and not is_requested):
        yield None
        return
    folder = run / FOLDER
    last = max((entry["step"] for entry in metrics), default=0)
    file = EventFile(folder, None if is_first else last + 1)
    try:
        for entry in metrics if is_first else ():
            file.add(entry)
        yield file
    finally:
        file.close()
