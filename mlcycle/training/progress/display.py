"""Shows the progress of a training: a live panel on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from mlcycle.training.progress import flops

SPARKS = "▁▂▃▄▅▆▇█"
# Without a terminal (a log file, CI), seconds between two lines.
LINE_EVERY = 10.0
TRAINING, DECODING, EVALUATING, FITTING = "training", "decoding", "evaluating", "fitting the score layer"


@dataclass(slots=True)
class _History:
    losses: list[float]
    scores: list[float]


class _SafeStream:
    """A stream that ignores write errors: a closed terminal, or a `tee` that ends at the same Ctrl-C, must not end a
    training before it has saved."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self.stream.flush()


class Display:
    """Shows a run on stderr.

    Args:
        steps: the run's total number of steps.
        title: a line about the run, the device and the data.
        quiet: show nothing.
    """

    def __init__(self, steps: int, title: str, quiet: bool) -> None:
        self.console = Console(file=_SafeStream(sys.stderr), quiet=quiet, highlight=False)  # type: ignore[arg-type]
        self.title, self.steps = title, steps
        self.history, self.best = _History([], []), -1.0
        self.latest: dict[str, Any] = {}
        self.last_line = 0.0
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=self.console, expand=True,
        )  # fmt: skip
        self.task = self.bar.add_task(TRAINING, total=steps)
        is_live = sys.stderr.isatty() and not quiet
        self.live = Live(self, console=self.console, refresh_per_second=4, transient=False) if is_live else None

    def __enter__(self) -> Display:
        self.console.print(self.title, soft_wrap=True)
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *problem: object) -> None:
        if self.live:
            self.live.stop()

    def step(self, step: int) -> None:
        self.bar.update(self.task, completed=step, description=TRAINING)

    def show_phase(self, what: str) -> None:
        """Shows what happens between two steps."""
        self.bar.update(self.task, description=what)

    def remember(self, entries: Sequence[dict[str, Any]]) -> None:
        """Adds the earlier reports of a resumed run, without printing them."""
        for entry in entries:
            self.latest |= entry
            if "loss" in entry:
                self.history.losses.append(entry["loss"])
            if "average_precision_50" in entry:
                self.history.scores.append(entry["average_precision_50"])
                if entry["step"] or not self.steps:  # not that of the weights that the run starts from
                    self.best = max(self.best, entry["average_precision_50"])

    def report(self, entry: dict[str, Any]) -> None:
        """Shows one line of metrics.jsonl."""
        self.remember([entry])
        due = time.monotonic() - self.last_line >= LINE_EVERY
        if self.live is None and ("average_precision" in entry or due or entry["step"] == self.steps):
            self.last_line = time.monotonic()
            self.console.print(_line(entry, self.steps), soft_wrap=True)

    def start_steps(self, step: int) -> None:
        """Makes the bar count steps, and the time that they take, from `step` on."""
        self.bar.reset(self.task, total=self.steps, completed=step, description=TRAINING)

    def decoded(self, done: int, images: int) -> None:
        """Shows how many images are decoded: in the bar, or without a terminal as a line every few seconds."""
        if self.bar.tasks[0].description != DECODING:
            self.last_line = time.monotonic()
        self.bar.update(self.task, description=DECODING, completed=done, total=images)
        due = time.monotonic() - self.last_line >= LINE_EVERY
        if self.live is None and (due or done == images):
            self.last_line = time.monotonic()
            self.note(f"decoded {done} of {images} images")

    def predicting(self, images: int) -> Callable[[int], None]:
        """Prints the progress of predicting on the validation images for the report, every few seconds."""
        done, self.last_line = 0, time.monotonic()

        def advance(number: int) -> None:
            nonlocal done
            done += number
            if time.monotonic() - self.last_line >= LINE_EVERY:
                self.last_line = time.monotonic()
                self.note(f"predicted on {done} of {images} validation images for the report")

        return advance

    def note(self, text: str) -> None:
        """Prints a message above the panel."""
        self.console.print(text, soft_wrap=True)

    def __rich__(self) -> Table:
        panel = Table.grid(expand=True)
        panel.add_row(self.bar)
        panel.add_row(self._curves())
        latest = self.latest
        if "loss" in latest:
            panel.add_row(f"{'parts':<10}{_parts(latest)}")
            panel.add_row(f"{'rate':<10}{latest['images_per_second']:.0f} images/s  {_machine(latest)}")
        return panel

    def _curves(self) -> Table:
        table = Table.grid(padding=(0, 2))
        latest = self.latest
        if "loss" in latest:
            table.add_row("loss    ", f"{latest['loss']:.3f}", sparkline(self.history.losses))
        if "average_precision" in latest:
            both = f"AP50 {latest['average_precision_50']:.3f}  AP {latest['average_precision']:.3f}"
            best = f"best {self.best:.3f}" if self.best >= 0 else ""
            table.add_row("val     ", both, sparkline(self.history.scores), best)
        return table


def sparkline(values: list[float], width: int = 30) -> str:
    """Draws a list of numbers as one line of blocks, averaged into `width` columns."""
    if len(values) < 2:
        return ""
    groups = [
        values[len(values) * i // width : max(len(values) * (i + 1) // width, len(values) * i // width + 1)]
        for i in range(width)
    ]
    means = [sum(group) / len(group) for group in groups if group]
    low, high = min(means), max(means)
    return "".join(SPARKS[min(7, int((mean - low) / ((high - low) or 1) * 8))] for mean in means)


def _parts(entry: dict[str, Any]) -> str:
    names = {"score_loss": "score", "box_loss": "box", "landmark_loss": "landmarks", "teacher_loss": "teacher"}
    return "  ".join(f"{name} {entry[key]:.3f}" for key, name in names.items() if entry.get(key))


def _machine(entry: dict[str, Any]) -> str:
    memory = f"memory {entry['memory_bytes'] / 2**20:.0f} MiB"
    return f"{flops.format_rate(entry['flops_per_second'])}  waiting for data {entry['data_wait_share']:.0%}  {memory}"


def _line(entry: dict[str, Any], steps: int) -> str:
    text = f"step {entry['step']}/{steps}"
    if "average_precision" in entry:
        return f"{text}  validation: AP {entry['average_precision']:.3f}  AP50 {entry['average_precision_50']:.3f}"
    left = (steps - entry["step"]) * entry["seconds_per_step"]
    return (
        f"{text}  loss {entry['loss']:.3f} ({_parts(entry)})  {entry['images_per_second']:.0f} images/s"
        f"  {_machine(entry)}  {left / 60:.0f} min left"
    )
