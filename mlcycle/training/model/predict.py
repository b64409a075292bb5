"""Predicts on single images without letterboxing, as inference does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.training.data import validation_images
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.model.selection import select
from mlcycle.training.recipes.recipe import Inference


def padded_input(network: FaceNetwork, image_HW3: np.ndarray) -> Tensor:
    """Returns images_B3HW of one image (uint8 RGB), 0 to 255, on the network's device, padded to multiples of 32."""
    height, width = image_HW3.shape[:2]
    device = next(network.parameters()).device
    pixels = torch.from_numpy(image_HW3.copy()).to(device).permute(2, 0, 1).unsqueeze(0).float()
    return functional.pad(pixels, (0, -width % 32, 0, -height % 32))


@torch.no_grad()
def predict_cells(network: FaceNetwork, image_HW3: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the network's output of each cell for an image (uint8 RGB): logits_A, boxes_A4, landmarks_AP2.

    The boxes are x1 y1 x2 y2, and the landmarks x y, in pixels of the image; P is 5, or 0 without landmarks. All are on
    the network's device.
    """
    logits, boxes, landmarks = network(padded_input(network, image_HW3))
    return logits[0], boxes[0], landmarks[0]


def predict(network: FaceNetwork, rule: Inference, image_HW3: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the network's predictions on an image (uint8 RGB), down to the score floor, best first.

    boxes_N4 (x1 y1 x2 y2, in pixels of the image), scores_N, landmarks_NP2 (x y; P is 5, or 0 without landmarks), all
    on the network's device.
    """
    height, width = image_HW3.shape[:2]
    cells = predict_cells(network, image_HW3)
    return select(*cells, size=(width, height), rule=(rule.score_floor, rule.iou_threshold, rule.max_faces))


def predict_all(
    network: FaceNetwork, rule: Inference, images: Sequence[LabelledImage]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the network's predictions on each image: boxes_N4 (x1 y1 x2 y2, in image pixels) and scores_N, best first.

    Raises:
        DataError: an image cannot be read.
    """
    for image_HW3, frame in validation_images.images(images, rule.long_side):
        boxes_N4, scores_N, _ = predict(network, rule, image_HW3)
        yield frame.to_image(boxes_N4), scores_N.cpu().numpy()
