"""The conductor of `mlcycle train`: a recipe and labelled photographs in, a run folder out. Read it top to bottom."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from mlcycle.artifact.bundled import FOLDER as BUNDLED
from mlcycle.errors import DataError, Interrupted, MlcycleError, TrainingDivergedError
from mlcycle.evaluation.coco import average_precision
from mlcycle.training import checkpoint, held_out, losses
from mlcycle.training.assigner import assign
from mlcycle.training.augment import augment
from mlcycle.training.checkpoint import Progress
from mlcycle.training.decoded import Decoded, decode_all
from mlcycle.training.device import choose_device, describe, instructions, keep_memory, share_processors
from mlcycle.training.display import Display
from mlcycle.training.event_files import event_file
from mlcycle.training.grid import grids
from mlcycle.training.material import Material, gather
from mlcycle.training.meter import Meter
from mlcycle.training.network import FaceNetwork
from mlcycle.training.optimisation import follow, learning_rate, make_optimizer
from mlcycle.training.recipe import Model, Recipe
from mlcycle.training.recipe_file import dump
from mlcycle.training.report import Asked, write_report
from mlcycle.training.run_folder import BEST, CHECKPOINTS, RECIPE, Beside, RunFolder, describe_environment
from mlcycle.training.samples import Batch, Samples, Steps, collate
from mlcycle.training.selection import select
from mlcycle.training.stopping import StopRequest, hear_of_readers_when_waiting_for_them, leave_signals_to_the_parent

REPORT_EVERY = 20


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a finished run has to say: its folder, steps, seconds of training, the best held-out AP50 and its step."""

    run_folder: Path
    steps: int
    seconds: float
    average_precision_50: float
    best_step: int


def fit(
    recipe: Recipe,
    run_folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    quiet: bool = False,
    beside: Beside | None = None,
) -> FitResult:
    """Trains a network by a recipe.

    Args:
        run_folder: where the run goes; new, unless `resume`.
        device: auto, cuda, mps or cpu.
        resume: go on from the newest checkpoint that can be read.
        beside: what is wanted beside the run; None takes the usual.

    Raises:
        DeviceError, DataError, InputError: the device, the data or the folder cannot be used.
        TrainingDivergedError: the loss is not finite; the batch is named.
        Interrupted: SIGINT, SIGTERM or SIGHUP came; the run was saved and can be resumed.
    """
    chosen = choose_device(device)
    material = gather(recipe.data)
    _must_have_landmarks(recipe, material)
    folder = RunFolder(run_folder)
    if resume:
        folder.must_exist()
    else:
        folder.create()
    try:
        with folder.held():
            if not resume:
                folder.write(RECIPE, dump(recipe))
            return _Run(recipe, folder, material, chosen, beside or Beside()).train(quiet)
    except DataError:
        if not resume:
            folder.remove_if_nothing_was_learnt()
        raise


def _must_have_landmarks(recipe: Recipe, material: Material) -> None:
    # Else the file would promise five points that nobody ever taught the network.
    if recipe.model.landmarks and not material.has_landmarks():
        raise DataError("the recipe asks for landmarks, and no face of its data has any", "set model.landmarks=false")


class _Run:
    """One training: its network, the moving average of it, its optimizer, and how far it is."""

    def __init__(
        self, recipe: Recipe, folder: RunFolder, material: Material, device: torch.device, beside: Beside
    ) -> None:
        self.beside = beside
        self.recipe, self.folder, self.material, self.device = recipe, folder, material, device
        self.workers, self.readers = share_processors(device, recipe.schedule.workers)
        self.precision = torch.bfloat16 if recipe.schedule.precision == "bfloat16" else torch.float32
        torch.manual_seed(recipe.seed)
        network = FaceNetwork(**recipe.model.model_dump())
        self.model = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).eval()
        self.optimizer = make_optimizer(self.model, recipe.schedule)
        self.started_from: str | None = None
        self.decoded: dict[Path, Decoded] = {}
        self.progress = Progress()
        self.notes: list[str] = []

    def train(self, quiet: bool) -> FitResult:
        self.folder.remove_drafts()
        resumed_from = self._resume()
        schedule = self.recipe.schedule
        if self._is_finished():
            with StopRequest() as stop, Display(schedule.steps, self._title(), quiet) as display:
                self._write_report(stop, display)
            return self._result()
        if resumed_from is None:
            self._start()
        self._write_environment(resumed_from)
        keep_memory()
        with StopRequest() as stop, Display(schedule.steps, self._title(), quiet) as display:
            for note in self.notes:
                display.note(note)
            self._decode(stop, display)
            with event_file(self.folder.path, self.folder.metrics(), self.beside.tensorboard) as events:
                for entry in self._steps(stop, display):
                    self.folder.append_metrics(entry)
                    display.report(entry)
                    if events:
                        events.add(entry)
            if stop:
                self._save_step()
            else:
                self._write_report(stop, display)
        if stop:
            raise Interrupted(
                f"interrupted at step {self.progress.step} of {schedule.steps}; the run is saved",
                f"go on with: mlcycle train --resume {self.folder.path}",
                stop.signal_number,
            )
        return self._result()

    def _decode(self, stop: StopRequest, display: Display) -> None:
        if self.recipe.data.decoded is not None:
            paths = [each.path for each in self.material.train]
            self.decoded = decode_all(Path(self.recipe.data.decoded), paths, display.decoded, lambda: bool(stop))

    def _is_finished(self) -> bool:
        return self.progress.step == self.progress.evaluated_step == self.recipe.schedule.steps

    def _result(self) -> FitResult:
        done = self.progress
        return FitResult(self.folder.path, done.step, done.seconds, done.best_score, done.best_step)

    def _steps(self, stop: StopRequest, display: Display) -> Iterator[dict[str, Any]]:
        """Yields lines for metrics.jsonl while it trains; between two of them the run can be left."""
        schedule = self.recipe.schedule
        meter = self.meter = Meter(self.device, self.progress.seconds, self.progress.unreported)
        yield from self._evaluate_if_due(stop)  # one that a stop cut short
        batches = iter(self._batches())
        if self.workers:
            hear_of_readers_when_waiting_for_them()
        try:
            while self.progress.step < schedule.steps and not stop:
                with meter.waiting():
                    batch = self._next(batches)
                if isinstance(batch, DataError):
                    raise batch
                meter.add(self._step(batch), len(batch.names))
                self.progress = replace(self.progress, step=self.progress.step + 1, seconds=meter.seconds())
                display.step(self.progress.step)
                yield from self._after_step(meter, stop)
        finally:
            # The workers leave signals to us, so it is for us to end them, also when an error keeps this frame alive.
            del batches

    def _next(self, batches: Iterator[Batch | DataError]) -> Batch | DataError:
        try:
            return next(batches)
        except (RuntimeError, OSError, EOFError) as problem:
            if not self.workers or "Caught" in str(problem):  # what a reader raised by itself
                raise
            self._save_step()
            raise MlcycleError(
                f"a process that reads photographs has died; the run is saved at step {self.progress.step}",
                f"set schedule.workers lower if memory ran out; mlcycle train --resume {self.folder.path} goes on",
            ) from problem

    def _after_step(self, meter: Meter, stop: StopRequest) -> Iterator[dict[str, Any]]:
        """Reports, saves and evaluates where it is due; saves first, so that an evaluation that fails loses nothing."""
        schedule, step = self.recipe.schedule, self.progress.step
        if step % REPORT_EVERY == 0 or step == schedule.steps:
            yield {"step": step, **meter.report(), "learning_rate": learning_rate(step - 1, schedule)}
        if step % schedule.checkpoint_every == 0 or self._evaluation_is_due():
            self._save_step()
        yield from self._evaluate_if_due(stop)
        meter.restart_if_idle()

    def _evaluation_is_due(self) -> bool:
        step, schedule = self.progress.step, self.recipe.schedule
        return 0 < step != self.progress.evaluated_step and (
            step % schedule.evaluate_every == 0 or step == schedule.steps
        )

    def _evaluate_if_due(self, stop: StopRequest) -> Iterator[dict[str, Any]]:
        if not self._evaluation_is_due() or stop:
            return
        scores = self._evaluate(stop)
        if scores:
            yield {"step": self.progress.step, **scores}
            self.progress = replace(self.progress, evaluated_step=self.progress.step)
            self._save_step()

    def _step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Makes one optimizer step and returns its losses."""
        recipe, step = self.recipe, self.progress.step
        on_device = batch.to(self.device)
        random = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        pictures = augment(on_device.pixels_BSS3, recipe.augment, random, self.precision)
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            answers = self.model(pictures)
        parts = losses_of(answers, on_device, recipe.model)
        weights = recipe.losses
        loss = weights.score * parts.score + weights.box * parts.box + weights.landmarks * parts.landmarks
        if not math.isfinite(loss.item()):
            self._give_up(batch, parts)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe.schedule)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if not math.isfinite(clip_grad_norm_(self.model.parameters(), recipe.schedule.clip_norm).item()):
            self._give_up(batch, parts)
        self.optimizer.step()
        follow(self.average, self.model, step, recipe.schedule.ema_decay)
        return {"loss": loss.detach(), **{f"{name}_loss": value.detach() for name, value in _named(parts).items()}}

    def _give_up(self, batch: Batch, parts: losses.LossParts) -> None:
        values = ", ".join(f"{name} {value.item():.3g}" for name, value in _named(parts).items())
        first = self.progress.step * self.recipe.schedule.batch
        raise TrainingDivergedError(
            f"the loss or its gradient is not finite at step {self.progress.step + 1} ({values}), in the batch of "
            f"samples {first} to {first + len(batch.names) - 1}: {', '.join(batch.names)}",
            "check these labels (mlcycle train data check), or lower schedule.learning_rate; the run is kept",
        )

    def _evaluate(self, stop: StopRequest) -> dict[str, float]:
        """Scores the average on the held-out photographs and keeps it if it is the best so far."""
        photographs = self.material.held_out
        found = self._find_faces(stop)
        if stop:
            return {}
        truths = [(each.boxes_N4, each.ignore_N) for each in photographs]
        result = average_precision(truths, found, max_detections=self.recipe.inference.max_faces, ranges=())
        if result.ap50 > self.progress.best_score:
            self.progress = replace(self.progress, best_score=result.ap50, best_step=self.progress.step)
            self._save(self.folder.checkpoints / BEST)
        return {"average_precision": result.ap, "average_precision_50": result.ap50}

    @torch.no_grad()
    def _find_faces(self, stop: StopRequest) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns boxes_N4 (photo pixels) and scores_N for each held-out photograph, fewer when stopped."""
        rule = self.recipe.inference
        selection = (rule.score_floor, rule.iou_threshold, rule.max_faces)
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for pictures, frames in held_out.batches(self.material.held_out, rule.long_side):
            if stop:
                break
            answers = self.average(pictures.to(self.device).float().contiguous(memory_format=torch.channels_last))
            for index, frame in enumerate(frames):
                boxes, scores, _ = select(*(each[index] for each in answers), size=frame.size, rule=selection)
                found.append((frame.to_photograph(boxes), scores.cpu().numpy()))
        return found

    def _batches(self) -> DataLoader:
        schedule = self.recipe.schedule
        rule, seed = self.recipe.augment, self.recipe.seed
        samples = Samples(
            self.material.train, self.material.weights, rule, seed, self.decoded, 1 if self.workers else self.readers
        )
        steps = Steps(range(self.progress.step, schedule.steps), schedule.batch, rule, seed)
        return DataLoader(
            samples, batch_sampler=steps, num_workers=self.workers, collate_fn=collate,
            pin_memory=self.device.type == "cuda", worker_init_fn=leave_signals_to_the_parent,
            prefetch_factor=2 if self.workers else None,
        )  # fmt: skip

    def _resume(self) -> Path | None:
        """Goes on from the newest checkpoint that can be read; returns it, or None at the start."""
        for path in self.folder.checkpoint_paths():
            try:
                tensors, self.progress = checkpoint.load(path)
            except DataError as problem:
                self.notes.append(problem.message)
                continue
            self.notes.append(f"resumed from step {self.progress.step} ({path.name})")
            checkpoint.restore(tensors, self.model, self.average, self.optimizer)
            self.progress, lost = checkpoint.believe_best(self.progress, self.folder.checkpoints / BEST)
            self.notes += lost
            self.folder.forget_metrics_after(self.progress.step, self.progress.evaluated_step)
            return path
        if self.notes:
            raise DataError(
                f"no checkpoint of {self.folder.path} can be read; the newest: {self.notes[0]}", "train again"
            )
        if self.folder.metrics():
            self.notes.append("no checkpoint had been saved: it begins anew")
        self.folder.forget_metrics_after(0, 0)
        return None

    def _start(self) -> None:
        """Takes the weights that the recipe says to start from, if it names any."""
        if self.recipe.start_from is None:
            return
        path = checkpoint.find_weights(self.recipe.start_from, CHECKPOINTS / BEST, BUNDLED)
        tensors, _ = checkpoint.load(path)
        for network in (self.model, self.average):
            checkpoint.start(tensors, network, path)
        self.started_from = hashlib.sha256(path.read_bytes()).hexdigest()

    def _write_environment(self, resumed_from: Path | None) -> None:
        now = {
            **describe_environment(describe(self.device), self.material.figures()),
            "instructions": instructions(),
            "recipe_sha256": hashlib.sha256(dump(self.recipe).encode()).hexdigest(),
            "started_from": self.started_from,
        }
        others = self.folder.note_environment(now, self.progress.step if resumed_from else None)
        if others:
            self.notes.append(f"begun with {'; '.join(others)}: the weights will not be those of an unbroken run")

    def _save_step(self) -> None:
        self._save(self.folder.checkpoint_path(self.progress.step))
        self.folder.drop_old_checkpoints(self.recipe.schedule.keep_checkpoints, self.progress.step)

    def _save(self, path: Path) -> None:
        progress = replace(self.progress, unreported=self.meter.unreported())
        checkpoint.save(path, self.model, self.average, self.optimizer, progress)

    def _write_report(self, stop: StopRequest, display: Display) -> None:
        asked = Asked(self.beside.pictures, display.looking, lambda: stop.signal_number)
        written = write_report(self.folder.path, asked)
        if written.why_not:
            display.note(f"the report holds nothing but curves: {written.why_not}")

    def _title(self) -> str:
        figures = self.material.figures()
        parameters = sum(each.numel() for each in self.model.parameters())
        return (
            f"{self.recipe.name}: {parameters / 1e3:.0f} k parameters on {describe(self.device)}; "
            f"{figures['train_photographs']} photographs with {figures['train_faces']} faces to study, "
            f"{figures['held_out_photographs']} held out"
        )


def _named(parts: losses.LossParts) -> dict[str, torch.Tensor]:
    return {"score": parts.score, "box": parts.box, "landmark": parts.landmarks}


def losses_of(answers: tuple[torch.Tensor, ...], batch: Batch, rule: Model) -> losses.LossParts:
    """Decides which cell answers for which face, and compares the answers with the labels."""
    logits, boxes, landmarks = answers
    height, width = batch.pixels_BSS3.shape[1:3]
    cells = grids(height, width, rule.stride)
    pairs = assign(logits.detach(), boxes.detach(), cells, batch.faces_M4, batch.picture_M)
    target = torch.zeros_like(logits, dtype=torch.float32)
    target[pairs.picture_P, pairs.cell_P] = losses.quality(pairs.iou_P)
    weights_P = losses.share_alike(pairs.face_P)
    weights_BA = losses.outside_ignored(batch.ignored_I4, batch.ignored_picture_I, cells, len(logits)).float()
    weights_BA[pairs.picture_P, pairs.cell_P] = weights_P
    faces = batch.faces_M4[pairs.face_P]
    points = logits.new_zeros(())
    if rule.landmarks:
        at = landmarks[pairs.picture_P, pairs.cell_P]
        points = losses.landmark_loss(at, batch.landmarks_M52[pairs.face_P], faces)
    return losses.LossParts(
        score=losses.score_loss(logits, target, weights_BA),
        box=losses.box_loss(boxes[pairs.picture_P, pairs.cell_P], faces, weights_P),
        landmarks=points,
    )
