"""Fault injection: plans when to kill a training, waits for the moment, sends the signal, and says where it fell.

Where a run is, is read from its folder; the training does not know that it is watched.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlcycle.training.run import tensor_file

ANYTIME, STARTING, SAVING, EVALUATING = "anytime", "starting", "saving", "evaluating"
# By turns; most fall wherever chance has them. A save takes milliseconds, which chance alone would hardly ever meet.
AIMS = (ANYTIME, SAVING, ANYTIME, EVALUATING, ANYTIME, SAVING, ANYTIME, EVALUATING, ANYTIME, STARTING)
PLACES = ("while starting", "at a step", "while saving", "in evaluation", "at the end")
SAVE_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill to come.

    Attributes:
        signal_number: SIGTERM or SIGKILL.
        aim: where it is to fall.
        after_step: it waits until this step is saved.
        delay: and then for this share, 0 to 1, of the time that its aim allows.
    """

    signal_number: int
    aim: str
    after_step: int
    delay: float


@dataclass(frozen=True, slots=True)
class Watched:
    """A run folder from outside: how many steps it has, how often it evaluates, and about how long its parts take.

    Attributes:
        start_seconds: from the start of a process to its first step.
        stretch_seconds: from one checkpoint to the next.
    """

    run: Path
    steps: int
    evaluate_every: int
    start_seconds: float
    stretch_seconds: float

    def saved(self) -> tuple[int, int]:
        """Returns the newest step that was saved and the last that was evaluated by then; -1 before any."""
        for path in sorted((self.run / "checkpoints").glob("step-*.safetensors"), reverse=True):
            if text := tensor_file.peek(path).get(tensor_file.PROGRESS_KEY):
                progress = json.loads(text)
                return progress["step"], progress["evaluated_step"]
        return -1, -1

    def is_saving(self) -> bool:
        return any((self.run / "checkpoints").glob(".*.part"))

    def is_evaluating(self) -> bool:
        """An evaluation begins after a save and ends with another, which says so."""
        step, evaluated = self.saved()
        return step > 0 and step != evaluated and (step % self.evaluate_every == 0 or step == self.steps)

    def environment_written(self) -> int:
        """Returns when a process last noted that it begins, in nanoseconds."""
        try:
            return (self.run / "environment.json").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def place(self, has_begun: bool) -> str:
        """Returns where the run is, in one of the words of PLACES."""
        if not has_begun:
            return PLACES[0]
        if self.is_saving():
            return PLACES[2]
        if self.is_evaluating():
            return PLACES[3]
        return PLACES[4] if self.saved()[0] == self.steps else PLACES[1]


def plan(kills: int, steps: int, chance: random.Random) -> list[Kill]:
    """Spreads kills over a run, half of them SIGTERM; a single one is SIGTERM at half of the steps."""
    signals = [signal.SIGKILL if index % 2 else signal.SIGTERM for index in range(kills)]
    aims = [AIMS[index % len(AIMS)] for index in range(kills)]
    chance.shuffle(signals)
    chance.shuffle(aims)
    if kills == 1:
        return [Kill(int(signals[0]), aims[0], steps // 2, 0)]
    # Not up to the end: a kill that waits for an evaluation takes steps from those after it.
    last = steps * 9 // 10
    return [
        Kill(int(signals[index]), aims[index], (index + 1) * last // (kills + 1), chance.random())
        for index in range(kills)
    ]


def strike(kill: Kill, process: subprocess.Popen[bytes], watched: Watched, before: int) -> str | None:
    """Waits for a kill's moment, sends its signal, and waits for the end.

    Args:
        before: when the folder's environment had been written before the process was started.

    Returns:
        where it fell; None if the process had ended by itself.
    """
    for _ in _until_its_moment(kill, process, watched, before):
        if process.poll() is not None:
            return None
    has_begun = watched.environment_written() != before
    place = watched.place(has_begun)
    process.send_signal(kill.signal_number)
    code = process.wait()
    if code == 0:
        return None
    # After a SIGKILL the folder is as it was in that moment; after a SIGTERM the run had its last word.
    return watched.place(has_begun) if code == -signal.SIGKILL else place


def _until_its_moment(kill: Kill, process: subprocess.Popen[bytes], watched: Watched, before: int) -> Iterator[None]:
    if kill.aim == STARTING:
        yield from _pause(kill.delay * watched.start_seconds)
        return
    while watched.environment_written() == before or watched.saved()[0] < kill.after_step:
        yield from _pause(0.01)
    if kill.aim == SAVING:
        while not watched.is_saving():
            yield from _pause(0.0005)
        time.sleep(kill.delay * SAVE_SECONDS)
    elif kill.aim == EVALUATING:
        while not watched.is_evaluating():
            yield from _pause(0.002)
        yield from _pause(kill.delay * watched.stretch_seconds / 4)
    else:
        yield from _pause(kill.delay * watched.stretch_seconds)


def _pause(seconds: float) -> Iterator[None]:
    """Sleeps in small parts."""
    end = time.monotonic() + seconds
    yield
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
        yield
