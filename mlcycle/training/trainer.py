"""The trainer: the network, its EMA and its optimizer, and how one step updates them.

A step processes one batch or, if it does not fit into memory, several parts of it one after another. Each part is
divided among all processes of the group. Losses and normalisation statistics are those of the whole part, so that the
number of processes changes only the order of sums.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.profiler import record_function

from mlcycle.errors import TrainingDivergedError
from mlcycle.training.data.augment import augment, noise_field, noise_window
from mlcycle.training.data.samples import Batch
from mlcycle.training.distributed.process_group import ProcessGroup
from mlcycle.training.model import losses
from mlcycle.training.model.assigner import assign
from mlcycle.training.model.distillation import distillation_loss
from mlcycle.training.model.grid import grids
from mlcycle.training.model.losses import LossSums
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.model.normalisation import synchronise
from mlcycle.training.model.optimisation import make_optimizer, update_ema
from mlcycle.training.model.teacher import Teacher
from mlcycle.training.progress.stopwatch import Marker
from mlcycle.training.recipes.recipe import Model, Recipe

LOSSES = ("loss", "score_loss", "box_loss", "landmark_loss")


class Trainer:
    """The model, its EMA and its optimizer.

    Args:
        recipe: the network's architecture and how it is trained.
        device: where to compute.
        group: the processes that train together.

    Attributes:
        model: the trained network.
        ema: the EMA of the network, in evaluation mode; it is evaluated and frozen.
        optimizer: with its state.
        mark: called with the name of each part of a step, returns a context around it; torch's profiler by default.
        teacher: the teacher network, if the recipe has one.

    Raises:
        DataError: the teacher's weights do not exist, or do not fit a network.
    """

    def __init__(self, recipe: Recipe, device: torch.device, group: ProcessGroup) -> None:
        self.recipe, self.device, self.group = recipe, device, group
        self.mark: Marker = record_function
        self.precision = torch.bfloat16 if recipe.schedule.precision == "bfloat16" else torch.float32
        torch.manual_seed(recipe.seed)
        network = FaceNetwork(**recipe.model.model_dump())
        self.model = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.model).eval()
        self.shared: torch.nn.Module = self.model
        if group.size > 1:
            self.model = synchronise(self.model, device)
            self.shared = _data_parallel(self.model)
        self.optimizer = make_optimizer(self.model, recipe.schedule)
        source = recipe.teacher
        self.teacher = Teacher(source.weights, device, self.precision) if source else None
        self.teacher_weight = source.weight if source else 0.0
        self.losses = (*LOSSES, "teacher_loss") if source else LOSSES
        rule = recipe.augment
        largest = rule.crop * (2 if rule.large else 1)
        self.noise_TT3 = noise_field(largest, recipe.seed).to(device, self.precision)

    def step(self, batches: Sequence[Batch], step: int, rate: float) -> dict[str, Tensor]:
        """Makes one optimizer step.

        Args:
            batches: this process's share of each part of the step.
            step: the step's number, from 0.
            rate: the learning rate.

        Returns:
            the losses of the whole step by name, each a scalar.

        Raises:
            TrainingDivergedError: the losses or their gradients are not finite; the weights are unchanged.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        schedule = self.recipe.schedule
        normalise_by(self.model, is_running=step >= schedule.steps * (1 - schedule.frozen_normalisation))
        self.optimizer.zero_grad(set_to_none=True)
        images = [1.0] if len(batches) == 1 else self._images(batches)
        total = torch.zeros(len(self.losses), device=self.device)
        for index, batch in enumerate(batches):
            with self._exchange(is_last=index == len(batches) - 1):
                total += self._accumulate(batch, step, images[index] / sum(images))
        self.group.all_reduce(total)
        with self.mark("clipping"):
            norm = clip_grad_norm_(self.model.parameters(), self.recipe.schedule.clip_norm)
        # One check for both, because each check synchronises with a GPU.
        if not torch.stack((total[0], norm)).isfinite().all():
            self._raise_diverged(batches, step, total)
        with self.mark("optimizer"):
            self.optimizer.step()
        with self.mark("ema"):
            update_ema(self.ema, self.model, step, self.recipe.schedule.ema_decay)
        return dict(zip(self.losses, total, strict=True))

    @torch.no_grad()
    def see(self, batch: Batch, step: int) -> None:
        """Runs the network in training mode on a batch without learning from it: only running statistics change."""
        normalise_by(self.model, is_running=False)
        images = self._augmented(batch.to(self.device), batch, step)
        with self._half():
            self.shared(images)

    def _augmented(self, here: Batch, batch: Batch, step: int) -> Tensor:
        """Returns images_B3SS of a batch that is on the device; its random numbers are read on the CPU."""
        noise_3SS = noise_window(self.noise_TT3, here.pixels_BSS3.shape[1], self.recipe.seed, step)
        return augment(here.pixels_BSS3, batch.photometric_BL, self.recipe.augment, noise_3SS)

    def _half(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16)

    def _images(self, batches: Sequence[Batch]) -> list[float]:
        """Returns the number of images of each part of the step, over all processes."""
        return self.group.all_reduce(torch.tensor([float(len(each.names)) for each in batches])).tolist()

    def _exchange(self, is_last: bool) -> AbstractContextManager:
        """Returns the context of a part: gradients are exchanged once per step, with its last part."""
        if isinstance(self.shared, DistributedDataParallel) and not is_last:
            return self.shared.no_sync()
        return nullcontext()

    def _accumulate(self, batch: Batch, step: int, weight: float) -> Tensor:
        """Adds the gradients of a part with its `weight` in the step; returns this process's share of its losses."""
        recipe = self.recipe
        with self.mark("copying to the device"):
            here = batch.to(self.device)
        with self.mark("augmentation"):
            images = self._augmented(here, batch, step)
        with self.mark("forward"), self._half():
            outputs = self.shared(images)
        with self.mark("assignment and losses"):
            sums = losses_of(outputs, here, recipe.model, recipe.losses.focus)
            parts = sums.over(self.group.all_reduce(sums.counts_3.clone()))
            each = [parts.score, parts.box, parts.landmarks]
            loss = _weighted(parts.score, parts.box, parts.landmarks, recipe)
        if self.teacher:
            with self.mark("teacher"):
                each.append(self._teacher_loss(self.teacher, images, outputs))
                loss = loss + self.teacher_weight * each[-1]
        with self.mark("backward"):
            # DistributedDataParallel averages gradients over the processes; the losses need their sum.
            (weight * loss * self.group.size).backward()
        return weight * torch.stack((loss, *each)).detach()

    def _teacher_loss(self, teacher: Teacher, images_B3SS: Tensor, outputs: tuple[Tensor, ...]) -> Tensor:
        """Returns the distillation loss, with the recipe's weights of score and box losses."""
        targets = teacher.targets(images_B3SS, self.recipe.model.stride)
        sums = distillation_loss(outputs[0], outputs[1], targets)
        score, box = sums.over(self.group.all_reduce(sums.count.clone()))
        return _weighted(score, box, score.new_zeros(()), self.recipe)

    def _raise_diverged(self, batches: Sequence[Batch], step: int, total: Tensor) -> None:
        losses_by_name = zip((each.removesuffix("_loss") for each in self.losses[1:]), total[1:].tolist(), strict=True)
        values = ", ".join(f"{name} {value:.3g}" for name, value in losses_by_name)
        names = [
            name for share in self.group.all_gather([each.names for each in batches]) for part in share for name in part
        ]
        first = step * self.recipe.schedule.batch
        raise TrainingDivergedError(
            f"the loss or its gradient is not finite at step {step + 1} ({values}), in the batch of "
            f"samples {first} to {first + len(names) - 1}: {', '.join(names)}",
            "check these labels (mlcycle data check), or lower schedule.learning_rate; the last checkpoint is kept",
        )


def _data_parallel(model: torch.nn.Module) -> DistributedDataParallel:
    with warnings.catch_warnings():
        # Newer versions of torch rename an argument. Buffers need no broadcast: all processes have the same statistics.
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)


def _weighted(score: Tensor, box: Tensor, landmarks: Tensor, recipe: Recipe) -> Tensor:
    weights = recipe.losses
    return weights.score * score + weights.box * box + weights.landmarks * landmarks


def normalise_by(model: torch.nn.Module, is_running: bool) -> None:
    """Puts a network into training mode; its normalisations use the batch's statistics or, with `is_running`, keep and
    use their running statistics."""
    model.train()
    for module in model.modules():
        if is_running and isinstance(module, _BatchNorm):
            module.eval()


def losses_of(outputs: tuple[Tensor, ...], batch: Batch, rule: Model, focus: float = losses.FOCUS) -> LossSums:
    """Assigns cells to faces, and compares the network's outputs with the labels.

    Args:
        outputs: logits_BA, boxes_BA4 and landmarks_BAP2, as FaceNetwork returns them.
        focus: the exponent of the score loss.
    """
    logits, boxes, landmarks = outputs
    height, width = batch.pixels_BSS3.shape[1:3]
    cells = grids(height, width, rule.stride)
    pairs = assign(logits.detach(), boxes.detach(), cells, batch.faces_M4, batch.image_M)
    at = pairs.image_P, pairs.cell_P
    share_P = losses.per_face_weights(pairs.face_P, len(batch.faces_M4))
    empty_BA = losses.outside_ignored(batch.ignored_I4, batch.ignored_image_I, cells, len(logits)).float()
    empty_BA[at] = 0
    faces, points = batch.faces_M4[pairs.face_P], batch.landmarks_M52[pairs.face_P]
    labelled = points.isfinite().sum() if rule.landmarks else share_P.new_zeros(())
    return LossSums(
        face_score=losses.score_loss(logits[at], losses.quality(pairs.iou_P), share_P, focus),
        empty_score=losses.score_loss(logits, torch.zeros_like(logits, dtype=torch.float32), empty_BA, focus),
        box=losses.box_loss(boxes[at], faces, share_P),
        landmarks=losses.landmark_loss(landmarks[at], points, faces) if rule.landmarks else logits.new_zeros(()),
        counts_3=torch.stack((share_P.new_full((), len(share_P)), share_P.sum().round(), labelled.float())),
    )
