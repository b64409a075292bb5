"""TensorBoard's event files: the lines of metrics.jsonl once more, written by tensorboardX."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
FILES = "events.out.tfevents.*"


class EventFile:
    """One event file.

    Args:
        folder: where event files lie; it is made.
        from_step: earlier files no longer hold for this step and later ones, because the run was resumed.
    """

    def __init__(self, folder: Path, from_step: int | None = None) -> None:
        from tensorboardX import SummaryWriter

        folder.mkdir(exist_ok=True)
        # SummaryWriter names its file after the second and the machine. The file is moved while it is open: its name
        # then says no machine, and sorts behind all earlier ones, which is the order in which TensorBoard reads them.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{FOLDER}-") as scratch:
            self._writer = SummaryWriter(scratch, purge_step=from_step, flush_secs=1)
            [made] = Path(scratch).iterdir()
            made.rename(folder / f"events.out.tfevents.{time.time_ns():020d}.mlcycle")

    def add(self, entry: dict[str, Any]) -> None:
        """Takes one line of metrics.jsonl."""
        for name, value in entry.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, entry["step"])

    def close(self) -> None:
        self._writer.close()


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
    is_main = not any(folder.glob(FILES))
    last = max((entry["step"] for entry in metrics), default=0)
    file = EventFile(folder, None if is_main else last + 1)
    try:
        for entry in metrics if is_main else ():
            file.add(entry)
        yield file
    finally:
        file.close()
