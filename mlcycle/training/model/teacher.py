"""A teacher: a trained network whose predictions on the student's images are the student's soft targets."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from mlcycle.errors import DataError
from mlcycle.training.model.distillation import TeacherTargets, teacher_targets
from mlcycle.training.model.grid import grids
from mlcycle.training.model.network import FaceNetwork, architecture_of
from mlcycle.training.run import checkpoint


class Teacher:
    """A frozen network, fused, on the student's device and in the precision that the student computes with.

    Args:
        weights: a run folder, a checkpoint, or a bundled model's name; the architecture is read from the weights.

    Attributes:
        sha256: of the file that holds its weights.

    Raises:
        DataError: the weights do not exist, or do not fit a network of this mlcycle.
    """

    def __init__(self, weights: str, device: torch.device, precision: torch.dtype) -> None:
        network, path = read_network(weights, "a teacher")
        network.requires_grad_(False).fuse()
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.precision = precision
        self.network = network.to(device, precision).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def targets(self, images_B3HW: Tensor, finest: int) -> TeacherTargets:
        """Returns the targets on images (RGB, 0 to 255) for a student whose finest grid has this stride."""
        maps = self.network.raw_maps(images_B3HW.to(self.precision))  # a fused network divides by 255 itself
        logits_BA, boxes_BA4, _ = self.network.decode(maps)
        height, width = images_B3HW.shape[2:]
        return teacher_targets(logits_BA, boxes_BA4, grids(height, width, self.network.strides[0]), finest)


def read_network(weights: str, use: str) -> tuple[FaceNetwork, Path]:
    """Returns the network of trained weights, in evaluation mode, and the file that holds them.

    Args:
        weights: a run folder, a checkpoint, or a bundled model's name.
        use: what it shall be, for the error.

    Raises:
        DataError: the weights do not exist, or do not fit a network of this mlcycle.
    """
    path = checkpoint.find_weights(weights)
    tensors, _ = checkpoint.load(path)
    try:
        return network_of(tensors), path
    except (KeyError, RuntimeError):
        raise DataError(
            f"the weights {path} do not fit a network of this mlcycle, so they cannot be {use}",
            "pass a run folder, a checkpoint or a bundled model; those of an earlier mlcycle may not fit",
        ) from None


def network_of(tensors: dict[str, Tensor]) -> FaceNetwork:
    """Returns the network of a checkpoint's EMA weights, in evaluation mode; its architecture is read from them.

    Raises:
        KeyError, RuntimeError: they do not fit a network of this mlcycle.
    """
    state = {name.removeprefix("average."): each for name, each in tensors.items() if name.startswith("average.")}
    network = FaceNetwork(**architecture_of(state))
    network.load_state_dict(state)
    return network.eval()
