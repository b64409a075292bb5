"""The conductor of `mlcycle train profile`: measures the parts of a training step. Read it top to bottom."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, record_function

from mlcycle.datasets.member import ImagePath
from mlcycle.errors import InputError
from mlcycle.training import memory
from mlcycle.training.data.batches import loader, samples_of
from mlcycle.training.data.decoded_cache import Decoded, decode_all
from mlcycle.training.data.samples import Share, Steps, end_readers, readable
from mlcycle.training.data.training_data import TrainingData, load_training_data
from mlcycle.training.distributed.device import choose_device, describe, keep_memory, share_processors
from mlcycle.training.distributed.process_group import ProcessGroup
from mlcycle.training.model.optimisation import learning_rate
from mlcycle.training.progress import flops
from mlcycle.training.progress.stopwatch import Marker, Stopwatch, finish
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.records import load_start_weights
from mlcycle.training.studies.bare_step import BareStep
from mlcycle.training.studies.loader_profile import reading_costs
from mlcycle.training.trainer import Trainer

WAITING, REST = "waiting for data", "rest"
# Rounds of whole and bare steps in turn, so that other load on the machine affects both alike.
ROUNDS = 5
# Steps in the trace, which holds thousands of events of each step.
TRACED = 3
OPERATORS = 12
BARE_WARM_UP = 3
# At least so many samples are read for the profile of reading, if the steps have them.
READ = 128

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Operator:
    """One of torch's operators: its own seconds per step, without the operators that it calls, and its calls."""

    name: str
    seconds: float
    calls: float


@dataclass(frozen=True, slots=True)
class Round:
    """Whole steps and as many bare steps: their seconds, those spent waiting for data, images and FLOPs."""

    seconds: float
    waiting: float
    bare_seconds: float
    images: int
    flops: int
    bare_flops: int

    @property
    def share(self) -> float:
        """FLOP/s as a share of the bare step's, because a step of larger crops has fewer images."""
        return (self.flops / self.seconds) / (self.bare_flops / self.bare_seconds)


@dataclass(slots=True)
class Profile:
    """The result of a profile.

    Attributes:
        device: its description.
        readers: loader processes; 0 if the training process reads.
        accumulation: gradient accumulation, the number of parts of a step.
        rounds: of steps as in a training.
        parts: seconds of each part of a step, with synchronization after each; their sum is `step`.
        operators: the slowest.
        reading: seconds of each part of reading a sample, on one thread.
    """

    device: str
    readers: int
    accumulation: int
    rounds: list[Round] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)
    step: float = 0.0
    operators: list[Operator] = field(default_factory=list)
    reading: dict[str, float] = field(default_factory=dict)

    def rate(self, name: str) -> float:
        """Returns a round's `images` or `flops` per second, over all rounds."""
        return sum(getattr(each, name) for each in self.rounds) / sum(each.seconds for each in self.rounds)

    @property
    def waiting(self) -> float:
        """The share of the time spent waiting for data."""
        return sum(each.waiting for each in self.rounds) / sum(each.seconds for each in self.rounds)

    @property
    def share(self) -> float:
        """FLOP/s as a share of the bare step's: the median of the rounds."""
        return statistics.median(each.share for each in self.rounds)


def profile(recipe: Recipe, trace: Path, *, steps: int, warmup: int, device: str, say: Say) -> Profile:
    """Runs real training steps without a run folder, and measures their parts.

    Args:
        trace: the Chrome trace of the last steps, .json or .json.gz; an existing file is replaced.
        steps: the number timed as in a training, and again part by part.
        warmup: steps before the first measurement.
        say: called with a line of text about each stage.

    Raises:
        DeviceError, DataError: the device or the data cannot be used.
        TrainingDivergedError: the loss is not finite.
    """
    chosen = choose_device(device)
    training_data = load_training_data(recipe.data)
    trial = TrialTraining(recipe, training_data, chosen, warmup + 2 * steps + TRACED + ROUNDS, say)
    say(f"{warmup} warm-up steps, {2 * steps} timed steps and {TRACED} traced steps, on {describe(chosen)}")
    found = trial.found
    try:
        trial.warmup(warmup)
        rounds = 1 if found.readers else min(ROUNDS, steps)
        found.rounds = [trial.round(steps // rounds) for _ in range(rounds)]
        found.parts, found.step = trial.by_part(steps)
        found.reading = trial.reading()
        found.operators = trial.traced(trace)  # last: the trace of a profile that failed would be in the way of another
    finally:
        end_readers(trial.batches)
    return found


class TrialTraining:
    """A training without a run folder: all of `fit` except its records."""

    def __init__(self, recipe: Recipe, training_data: TrainingData, device: torch.device, steps: int, say: Say) -> None:
        self.recipe, self.device = recipe, device
        schedule = recipe.schedule
        readers = share_processors(device, schedule.workers)
        keep_memory()
        accumulation = memory.accumulation_for(recipe, device, ProcessGroup())
        self.found = Profile(describe(device), readers.processes, accumulation)
        decoded = _decode(recipe, training_data, say)
        self.trainer = Trainer(recipe, device, ProcessGroup())
        load_start_weights(recipe, self.trainer)
        self.flops_of = cache(partial(flops.per_image, self.trainer.ema))
        self.bare = BareStep(recipe, device, max(2, schedule.batch // accumulation))
        self.steps = Steps(range(steps), schedule.batch, recipe.augment, recipe.seed, Share(accumulation=accumulation))
        self.samples = samples_of(recipe, training_data, readers, decoded)
        self.batches: Iterator[Any] = iter(loader(self.samples, self.steps, readers, device))
        self.step = 0

    def warmup(self, steps: int) -> None:
        """Runs steps and some bare ones, so that memory is allocated and caches are filled."""
        self.run_steps(steps)
        for _ in range(BARE_WARM_UP):
            self.bare.step()

    def run_steps(self, steps: int, mark: Marker = record_function) -> tuple[int, int]:
        """Runs training steps; returns their number of images and of floating-point operations."""
        self.trainer.mark = mark
        images = operations = 0
        for _ in range(steps):
            with mark(WAITING):
                parts = [readable(next(self.batches)) for _ in range(self.found.accumulation)]
            self.trainer.step(parts, self.step, learning_rate(self.step, self.recipe.schedule))
            count, side = self.steps.size(self.step)
            images, operations = images + count, operations + count * self.flops_of(side)
            self.step += 1
        return images, operations

    def round(self, steps: int) -> Round:
        """Runs steps as a training does, waiting only for data, and as many bare steps."""
        waiting = Stopwatch(torch.device("cpu"))

        def mark(name: str) -> Any:
            return waiting.measure(name) if name == WAITING else record_function(name)

        seconds = -self._now()
        images, operations = self.run_steps(steps, mark)
        seconds += self._now()
        bare_seconds = -self._now()
        for _ in range(steps * self.found.accumulation):
            self.bare.step()
        bare_seconds += self._now()
        bare_images = steps * self.found.accumulation * len(self.bare.batch.names)
        bare_flops = bare_images * self.flops_of(self.recipe.augment.crop)
        return Round(seconds, waiting.seconds[WAITING], bare_seconds, images, operations, bare_flops)

    def _now(self) -> float:
        finish(self.device)
        return time.perf_counter()

    def by_part(self, steps: int) -> tuple[dict[str, float], float]:
        """Runs steps with a timer for each part; returns the seconds of each part of a step, and of a step."""
        watch, before = Stopwatch(self.device), self._now()
        self.run_steps(steps, watch.measure)
        step = (self._now() - before) / steps
        parts = {name: seconds / steps for name, seconds in watch.seconds.items()}
        return parts | {REST: step - sum(parts.values())}, step

    def traced(self, path: Path) -> list[Operator]:
        """Runs steps under torch's profiler, writes its trace, and returns the slowest operators."""
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else it writes its progress to stderr
        activities = [ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        marks: set[str] = {"step"}

        def mark(name: str) -> Any:
            marks.add(name)
            return record_function(name)

        with torch.profiler.profile(activities=activities) as profiler:
            for _ in range(TRACED):
                with record_function("step"):
                    self.run_steps(1, mark)
            finish(self.device)
        _write_trace(profiler, path)
        return _longest(profiler, self.device, marks)

    def reading(self) -> dict[str, float]:
        """Returns the seconds of each part of reading a sample, for the batches of the first steps."""
        sizes = accumulate(len(part) for part in self.steps)
        batches = [part for part, before in zip(self.steps, chain([0], sizes), strict=False) if before < READ]
        return reading_costs(self.samples, batches)


def _decode(recipe: Recipe, training_data: TrainingData, say: Say) -> dict[ImagePath, Decoded]:
    if recipe.data.decoded is None:
        return {}
    paths, last = [each.path for each in training_data.train], time.monotonic()

    def advance(done: int, images: int) -> None:
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            say(f"decoded {done:,} of {images:,} images")

    return decode_all(Path(recipe.data.decoded), paths, advance, say=say)


def _write_trace(profiler: torch.profiler.profile, path: Path) -> None:
    # torch compresses a file by its suffix .gz, so the draft keeps the suffix.
    draft = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        profiler.export_chrome_trace(str(draft))
        draft.replace(path)  # raises if torch could not write, which torch does not report
    except OSError:
        raise InputError(f"{path} cannot be written", "choose another place with --trace") from None
    finally:
        for each in (draft, draft.with_name(f"{draft.name}.tmp")):
            each.unlink(missing_ok=True)


def _longest(profiler: torch.profiler.profile, device: torch.device, marks: set[str]) -> list[Operator]:
    own = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    events = [each for each in profiler.key_averages() if each.key not in marks]
    events.sort(key=lambda each: -getattr(each, own))
    return [Operator(each.key, getattr(each, own) / 1e6 / TRACED, each.count / TRACED) for each in events[:OPERATORS]]
