"""The conductor of `mlcycle train`: a recipe and labelled images in, a run folder out. Read it top to bottom.

Each process of a group runs all of this; only the first one writes files and prints messages.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from mlcycle.counted import counted
from mlcycle.datasets.member import ImagePath
from mlcycle.errors import DataError, Interrupted, MlcycleError, UsageError
from mlcycle.evaluation.coco import average_precision
from mlcycle.evaluation.sizes import BY_HEIGHT
from mlcycle.results import Run
from mlcycle.training import memory
from mlcycle.training.data.batches import loader, samples_of
from mlcycle.training.data.decoded_cache import Decoded, decode_all
from mlcycle.training.data.samples import Batch, Share, Steps, end_readers, readable
from mlcycle.training.data.training_data import TrainingData, load_training_data
from mlcycle.training.distributed import process_group
from mlcycle.training.distributed.device import choose_device, describe, instructions, keep_memory, share_processors
from mlcycle.training.distributed.process_group import ProcessGroup
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.model.optimisation import learning_rate
from mlcycle.training.model.predict import predict_all
from mlcycle.training.model.score_boxes import boxes_of_all
from mlcycle.training.model.score_layer import fit_in_rounds
from mlcycle.training.progress import flops
from mlcycle.training.progress.display import EVALUATING, FITTING, TRAINING, Display
from mlcycle.training.progress.event_files import event_file
from mlcycle.training.progress.meter import Meter
from mlcycle.training.recipes.recipe import Recipe, ScoreLayer
from mlcycle.training.recipes.recipe_file import dump
from mlcycle.training.records import Records
from mlcycle.training.reports.report import ReportOptions, write_report
from mlcycle.training.run.checkpoint import Progress
from mlcycle.training.run.run_folder import RunFolder, RunOptions
from mlcycle.training.stopping import SIGNALS, StopRequest, child_handler, set_child_handler
from mlcycle.training.trainer import Trainer

REPORT_EVERY = 20
# Names in metrics.jsonl of the heights of BY_HEIGHT, in pixels of the image.
HEIGHTS = ("below_16", "16_to_32", "32_to_96", "from_96")

Value = TypeVar("Value")


def fit(
    recipe: Recipe,
    run_folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    quiet: bool = False,
    options: RunOptions | None = None,
) -> Run:
    """Trains a network by a recipe.

    Args:
        run_folder: the run's folder; new, unless `resume`.
        device: auto, cuda, mps or cpu.
        resume: resume from the newest readable checkpoint.
        options: options that do not affect the weights; None means the default ones.

    Raises:
        DeviceError, DataError, InputError: the device, the data or the folder cannot be used.
        TrainingDivergedError: the loss is not finite; the error names the batch.
        Interrupted: a SIGINT, SIGTERM or SIGHUP arrived; the run is saved and can be resumed.
    """
    chosen = choose_device(device, process_group.from_environment().local_rank)
    with process_group.joined(chosen) as group:
        training_data = load_training_data(recipe.data)
        _must_be_alike(recipe, training_data, group)
        _must_have_landmarks(recipe, training_data)
        _must_have_images_to_fit(recipe, training_data)
        memory.must_be_enough(recipe, group, recipe.schedule.accumulation or 1)
        folder = RunFolder(run_folder)
        resume = group.broadcast(resume or (process_group.may_resume() and folder.was_started_with(dump(recipe))))
        records = Records(recipe, folder, group)
        try:
            with records.opened(resume):
                if not resume:
                    records.start()
                return _Run(recipe, records, training_data, chosen, options or RunOptions()).train(quiet)
        except DataError:
            if not resume:
                records.discard()
            raise


def _must_be_alike(recipe: Recipe, training_data: TrainingData, group: ProcessGroup) -> None:
    # Otherwise one process would wait for data that another never sends.
    data = training_data.fingerprint, training_data.packing
    of_all = group.all_gather((recipe.model_dump(exclude={"data"}), recipe.data.order, data))
    for rank, other in enumerate(of_all):
        if other != of_all[0]:
            what = "has other images, labels or shards" if other[:2] == of_all[0][:2] else "has another recipe"
            raise UsageError(
                f"process {rank} of the training {what} than process 0", "start the same command on each machine"
            )


def _must_have_landmarks(recipe: Recipe, training_data: TrainingData) -> None:
    # Otherwise the model file would have a landmark output that was never trained.
    if recipe.model.landmarks and not training_data.has_landmarks():
        raise DataError("model.landmarks is true, but no face of the data has landmarks", "set model.landmarks=false")


def _must_have_images_to_fit(recipe: Recipe, training_data: TrainingData) -> None:
    # Otherwise the run would train to its end, and then could not finish.
    rule = recipe.finish.score_layer
    if rule and not training_data.sample_images(rule.sets, 1):
        raise DataError("the sets of finish.score_layer have no training image", "name others, or leave the key out")


class _Run:
    """The state of one training: the trainer, its records and its progress."""

    def __init__(
        self, recipe: Recipe, records: Records, training_data: TrainingData, device: torch.device, options: RunOptions
    ) -> None:
        self.recipe, self.records, self.training_data = recipe, records, training_data
        self.device, self.options = device, options
        self.group = records.group
        self.readers = share_processors(device, recipe.schedule.workers, self.group.local_size)
        if options.own_process:
            keep_memory()
        self.trainer = Trainer(recipe, device, self.group)
        self.accumulation = recipe.schedule.accumulation or 1
        self.decoded: dict[ImagePath, Decoded] = {}
        self.progress = Progress()

    def train(self, quiet: bool) -> Run:
        self.progress = self.records.restore(self.trainer)
        with StopRequest(SIGNALS if self.options.own_process else ()) as stop, self._display(quiet) as display:
            if not self._is_finished():
                reported = self.records.folder.metrics() if self.group.is_main else []
                display.remember(reported)
                self._prepare(stop, display)
                folder = self.records.folder.path if self.group.is_main else None
                with event_file(folder, reported, self.options.tensorboard) as events:
                    for entry in self._steps(stop, display):
                        self.records.add(entry)
                        display.report(entry)
                        if events:
                            events.add(entry)
                if self.group.any(bool(stop)):
                    self._save_step()
                    self.group.barrier()  # torchrun kills a process that still saves when another has ended
                    self._raise_interrupted(stop)
            try:
                if self.group.is_main:
                    self._write_report(stop, display)
            finally:
                self.group.barrier()  # all end at once: torchrun waits only five minutes for another machine
        done = self.progress
        return Run(self.records.folder.path, done.step, done.seconds, done.best_score, done.best_step)

    def _is_finished(self) -> bool:
        return self.progress.step == self.recipe.schedule.steps and self._is_evaluated()

    def _is_evaluated(self) -> bool:
        # A run with start_from may have no steps; then step 0 counts as evaluated once there is a score.
        return self.progress.step == self.progress.evaluated_step and self.progress.best_score >= 0

    def _display(self, quiet: bool) -> Display:
        faces = sum(int((~each.ignore_N).sum()) for each in self.training_data.train)
        parameters = sum(each.numel() for each in self.trainer.model.parameters())
        title = (
            f"{self.recipe.name}: {parameters / 1e3:.0f} k parameters, one head for all grids, on "
            f"{describe(self.device, self.group.size)}; "
            f"{counted(len(self.training_data.train), 'training image')} with {counted(faces, 'face')}, "
            f"{counted(len(self.training_data.val), 'validation image')}"
        )
        return Display(self.recipe.schedule.steps, title, quiet or not self.group.is_main)

    def _prepare(self, stop: StopRequest, display: Display) -> None:
        """Probes the memory, records the environment, and decodes images that are not decoded yet."""
        if self.recipe.schedule.accumulation is None:
            self.accumulation = self.records.accumulation() or 1
            self.accumulation = memory.accumulation_for(self.recipe, self.device, self.group, self.accumulation)
            if self.accumulation > 1:
                display.note(f"each step's batch is processed in {self.accumulation} parts to fit into memory")
        machine = {
            "device": describe(self.device, self.group.size),
            "instructions": instructions(),
            "accumulation": self.accumulation,
            "teacher": self.trainer.teacher.sha256 if self.trainer.teacher else None,
        }
        self.records.note_environment(self.progress, self.training_data.summary(), machine)
        for note in self.records.notes:
            display.note(note)
        self._decode(stop, display)

    def _decode(self, stop: StopRequest, display: Display) -> None:
        """One process per machine decodes the images, with several threads; then all processes use the result."""
        if self.recipe.data.decoded is None:
            return
        folder, paths = Path(self.recipe.data.decoded), [each.path for each in self.training_data.train]
        if self.group.local_rank == 0:
            self.decoded = decode_all(folder, paths, display.decoded, lambda: bool(stop), display.note)
            display.start_steps(self.progress.step)
        is_stopped = self.group.any(bool(stop))
        if self.group.local_rank != 0 and not is_stopped:
            self.decoded = decode_all(folder, paths, lambda done, whole: None)

    def _steps(self, stop: StopRequest, display: Display) -> Iterator[dict[str, Any]]:
        """Trains, and yields the lines of metrics.jsonl; ends early on a stop request."""
        schedule = self.recipe.schedule
        meter = self.meter = Meter(self.device, self.progress.seconds, self.progress.unreported)
        yield from self._evaluate_start(stop, display)
        yield from self._evaluate_if_due(stop, display)  # an evaluation that was interrupted
        steps = Steps(
            range(self.progress.step, schedule.steps), schedule.batch, self.recipe.augment, self.recipe.seed,
            Share(self.group.rank, self.group.size, self.accumulation),
        )  # fmt: skip
        flops_of = cache(partial(flops.per_image, self.trainer.ema))
        samples = samples_of(self.recipe, self.training_data, self.readers, self.decoded)
        before = child_handler()
        batches = iter(loader(samples, steps, self.readers, self.device))
        set_child_handler(before)
        try:
            while self.progress.step < schedule.steps and not self.group.any(bool(stop)):
                step = self.progress.step
                with meter.waiting():
                    parts = [self._next(batches) for _ in range(self.accumulation)]
                count, side = steps.size(step)
                meter.add(self._learn(parts), count, count * flops_of(side))
                self.progress = replace(self.progress, step=step + 1, seconds=meter.seconds())
                display.step(self.progress.step)
                yield from self._after_step(meter, stop, display)
        finally:
            end_readers(batches)

    def _learn(self, parts: Sequence[Batch]) -> dict[str, torch.Tensor]:
        step, schedule = self.progress.step, self.recipe.schedule
        try:
            return self.trainer.step(parts, step, learning_rate(step, schedule))
        except (RuntimeError, MemoryError) as problem:
            if not memory.is_out_of_memory(problem):
                raise
            raise MlcycleError(
                f"{describe(self.device)} ran out of memory at step {step + 1}; the last checkpoint is kept",
                f"end other programs that use it, or set schedule.accumulation={2 * self.accumulation} in the run's"
                f" recipe.yaml; then resume with {self._resume_command()}",
            ) from problem

    def _next(self, batches: Iterator[Batch | DataError]) -> Batch:
        try:
            return readable(next(batches))
        except (RuntimeError, OSError, EOFError) as problem:
            if not self.readers.processes or "Caught" in str(problem):  # raised by the worker's own code
                raise
            self._save_step()
            kept = (
                f"the run is saved at step {self.progress.step}"
                if self.group.is_main
                else "the last checkpoint is kept"
            )
            raise MlcycleError(
                f"a worker process that reads images has died; {kept}",
                f"lower schedule.workers if memory ran out; then resume with {self._resume_command()}",
            ) from problem

    def _after_step(self, meter: Meter, stop: StopRequest, display: Display) -> Iterator[dict[str, Any]]:
        """Reports, saves and evaluates when due; saves first, so that a failing evaluation loses nothing."""
        schedule, step = self.recipe.schedule, self.progress.step
        if step % REPORT_EVERY == 0 or step == schedule.steps:
            yield {"step": step, **meter.report(), "learning_rate": learning_rate(step - 1, schedule)}
        if step % schedule.checkpoint_every == 0 or self._evaluation_is_due():
            self._save_step()
        yield from self._evaluate_if_due(stop, display)
        meter.restart_if_idle()

    def _evaluate_start(self, stop: StopRequest, display: Display) -> Iterator[dict[str, Any]]:
        """Yields the scores of the weights that the recipe starts from, with which to compare those of the training.

        They are not a candidate for the best checkpoint: a part of the network may be new.
        """
        if self.recipe.start_from and self.recipe.schedule.steps and self.progress.step == 0:
            display.show_phase(EVALUATING)
            if scores := self._evaluate(self.trainer.ema, stop):
                yield {"step": 0, **scores}
            self.meter.restart_if_idle()
            display.show_phase(TRAINING)

    def _evaluation_is_due(self) -> bool:
        step, schedule = self.progress.step, self.recipe.schedule
        is_time = step == schedule.steps or (step > 0 and step % schedule.evaluate_every == 0)
        return is_time and not self._is_evaluated()

    def _evaluate_if_due(self, stop: StopRequest, display: Display) -> Iterator[dict[str, Any]]:
        if not self._evaluation_is_due() or self.group.any(bool(stop)):
            return
        display.show_phase(EVALUATING)
        scores = self._evaluate(self.trainer.ema, stop)
        if scores:
            yield {"step": self.progress.step, **scores}
            self._keep_if_best(scores["average_precision_50"])
            rule = self.recipe.finish.score_layer
            if rule and self.progress.step == self.recipe.schedule.steps:
                display.show_phase(FITTING)
                yield from self._fit_score_layer(rule, stop)
            else:
                self._end_evaluation()
        display.show_phase(TRAINING)

    def _keep_if_best(self, score: float) -> None:
        if score > self.progress.best_score:
            self.progress = replace(self.progress, best_score=score, best_step=self.progress.step)
            self.records.save_best(self.trainer, self._with_unreported())

    def _end_evaluation(self) -> None:
        self.progress = replace(self.progress, evaluated_step=self.progress.step)
        self._save_step()

    def _fit_score_layer(self, rule: ScoreLayer, stop: StopRequest) -> Iterator[dict[str, Any]]:
        """Refits the score layer of the best weights; the result replaces them, whatever it scores.

        An interrupted fit is repeated from its start, with the evaluation before it.
        """
        network = self.records.best(self.trainer)
        images = self.training_data.sample_images(rule.sets, rule.images)
        count = len(images) * len(rule.long_sides)
        iou_threshold, place = self.recipe.inference.iou_threshold, (self.group.rank, self.group.size)
        mine = partial(boxes_of_all, network, images, rule, iou_threshold, place)
        losses = fit_in_rounds(network, lambda: self._of_all_processes(mine(), count, stop))
        if not losses:
            return
        before, after = losses
        scores = self._evaluate(network, stop)
        if scores:
            yield {"step": self.progress.step, "score_layer_loss_before": before, "score_layer_loss": after, **scores}
            done = replace(self.progress, evaluated_step=self.progress.step, best_score=scores["average_precision_50"])
            self.progress = done
            self.records.improve_best(network, self._with_unreported())
            self._end_evaluation()

    def _evaluate(self, network: FaceNetwork, stop: StopRequest) -> dict[str, float]:
        """Returns a network's scores on the validation set; {} if stopped."""
        images, rule = self.training_data.val, self.recipe.inference
        mine = predict_all(network, rule, images[self.group.rank :: self.group.size])
        found = self._of_all_processes(mine, len(images), stop)
        if not found:
            return {}
        truths = [(each.boxes_N4, each.ignore_N) for each in images]
        result = average_precision(truths, found, max_detections=rule.max_faces, ranges=BY_HEIGHT)
        parts = zip(HEIGHTS, result.by_size.values(), strict=True)
        by_height = {f"average_precision_50_{name}": part.ap50 for name, part in parts if part.faces}
        return {"average_precision": result.ap, "average_precision_50": result.ap50, **by_height}

    def _of_all_processes(self, mine: Iterator[Value], count: int, stop: StopRequest) -> list[Value]:
        """Returns, in all processes, the `count` results of all of them; [] if stopped.

        Results are per image, and image i is processed by process i % size, so that the number of processes makes no
        difference.
        """
        found = []
        for each in mine:
            if stop:
                break
            found.append(each)
        of_all = self.group.all_gather(found)
        if sum(map(len, of_all)) < count:
            return []  # the processes were stopped at different images
        return [of_all[index % self.group.size][index // self.group.size] for index in range(count)]

    def _save_step(self) -> None:
        self.records.save_step(self.trainer, self._with_unreported())

    def _with_unreported(self) -> Progress:
        return replace(self.progress, unreported=self.meter.unreported())

    def _raise_interrupted(self, stop: StopRequest) -> None:
        raise Interrupted(
            f"interrupted at step {self.progress.step} of {self.recipe.schedule.steps}; the run is saved",
            f"resume with: {self._resume_command()}",
            stop.signal_number or signal.SIGTERM,
        )

    def _resume_command(self) -> str:
        devices = f" --devices {self.group.size}" if self.group.size > 1 else ""
        return f"mlcycle train --resume {self.records.folder.path}{devices}"

    def _write_report(self, stop: StopRequest, display: Display) -> None:
        options = ReportOptions(self.options.images, display.predicting, lambda: stop.signal_number)
        written = write_report(self.records.folder.path, options)
        if written.missing_reason:
            display.note(f"the report has only curves: {written.missing_reason}")
