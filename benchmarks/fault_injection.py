"""Fault injection: plans when to kill a training, waits for the moment, sends the signal, and reports the run's phase.

The phase of a run is read from its folder; the training is not modified.
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
# In rotation; most are at random moments. A save takes milliseconds, which a random moment would hardly ever hit.
AIMS = (ANYTIME, SAVING, ANYTIME, EVALUATING, ANYTIME, SAVING, ANYTIME, EVALUATING, ANYTIME, STARTING)
PHASES = ("while starting", "at a step", "while saving", "in evaluation", "at the end")
SAVE_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Kill:
    """One planned kill.

    Attributes:
        signal_number: SIGTERM or SIGKILL.
        aim: the phase to hit.
        after_step: wait until this step is saved.
        delay: then wait for this share, 0 to 1, of the duration of the phase.
    """

    signal_number: int
    aim: str
    after_step: int
    delay: float


@dataclass(frozen=True, slots=True)
class Watched:
    """A run folder seen from outside: its number of steps, how often it evaluates, and how long its phases take.

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
        """Returns the newest saved step, and the last step evaluated before it; -1 if there is none."""
        for path in sorted((self.run / "checkpoints").glob("step-*.safetensors"), reverse=True):
            if text := tensor_file.peek(path).get(tensor_file.PROGRESS_KEY):
                progress = json.loads(text)
                return progress["step"], progress["evaluated_step"]
        return -1, -1

    def is_saving(self) -> bool:
        return any((self.run / "checkpoints").glob(".*.part"))

    def is_evaluating(self) -> bool:
        """Returns whether an evaluation is running: it begins after a save, and ends with a save that records it."""
        step, evaluated = self.saved()
        return step > 0 and step != evaluated and (step % self.evaluate_every == 0 or step == self.steps)

    def environment_written(self) -> int:
        """Returns when a process last wrote that it starts, in nanoseconds."""
        try:
            return (self.run / "environment.json").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def phase(self, has_started: bool) -> str:
        """Returns the phase of the run, one of PHASES."""
        if not has_started:
            return PHASES[0]
        if self.is_saving():
            return PHASES[2]
        if self.is_evaluating():
            return PHASES[3]
        return PHASES[4] if self.saved()[0] == self.steps else PHASES[1]


def plan(kills: int, steps: int, generator: random.Random) -> list[Kill]:
    """Spreads kills over a run, half of them SIGTERM; a single kill is SIGTERM after half of the steps."""
    signals = [signal.SIGKILL if index % 2 else signal.SIGTERM for index in range(kills)]
    aims = [AIMS[index % len(AIMS)] for index in range(kills)]
    generator.shuffle(signals)
    generator.shuffle(aims)
    if kills == 1:
        return [Kill(int(signals[0]), aims[0], steps // 2, 0)]
    # Not up to the end: a kill that waits for an evaluation delays those after it.
    last = steps * 9 // 10
    return [
        Kill(int(signals[index]), aims[index], (index + 1) * last // (kills + 1), generator.random())
        for index in range(kills)
    ]


def strike(kill: Kill, process: subprocess.Popen[bytes], watched: Watched, before: int) -> str | None:
    """Waits for the moment of a kill, sends its signal, and waits until the process ends.

    Args:
        before: when the run's environment was last written before the process started, in nanoseconds.

    Returns:
        the phase of the run; None if the process ended by itself.
    """
    for _ in _until_its_moment(kill, process, watched, before):
        if process.poll() is not None:
            return None
    has_started = watched.environment_written() != before
    phase = watched.phase(has_started)
    process.send_signal(kill.signal_number)
    code = process.wait()
    if code == 0:
        return None
    # After SIGKILL the folder is unchanged since the signal; after SIGTERM the run has saved once more.
    return watched.phase(has_started) if code == -signal.SIGKILL else phase


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
    """Sleeps in short intervals."""
    end = time.monotonic() + seconds
    yield
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
        yield
