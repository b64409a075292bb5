"""The boxes that a score layer is fitted on: what inference finds in whole images, with targets from the labels.

They are the boxes that non-maximum suppression keeps, because these are what average precision ranks. Fitted on all
cells, of which a face has many more than background that resembles one, the layer ranks cells better and boxes worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.training.data import validation_images
from mlcycle.training.model.assigner import pairwise_iou
from mlcycle.training.model.losses import quality
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.model.predict import padded_input
from mlcycle.training.recipes.recipe import ScoreLayer

# How many of an image's best cells are candidates: many more than it has faces, so that background is included.
CANDIDATES = 3000
# The IoU from which a box matches a face, as in average precision.
MATCH_IOU = 0.5
# The size in input pixels of a face that counts `face_weight`.
USUAL_SIZE = 20.0


@dataclass(frozen=True, slots=True)
class Boxes:
    """N boxes: features_NC, the score layer's inputs; target_N, 0 to 1; and weight_N, how much each counts."""

    features_NC: Tensor
    target_N: Tensor
    weight_N: Tensor


@dataclass(frozen=True, slots=True)
class Faces:
    """The labels of one image in input pixels: boxes_N4 (x1 y1 x2 y2) and weight_N; 0 excludes a face from the fit."""

    boxes_N4: Tensor
    weight_N: Tensor


def boxes_of_all(
    network: FaceNetwork,
    images: Sequence[LabelledImage],
    rule: ScoreLayer,
    iou_threshold: float,
    place: tuple[int, int] = (0, 1),
) -> Iterator[Boxes]:
    """Yields the boxes of each image at each long side of the rule, or of this process's share of them.

    Args:
        iou_threshold: of non-maximum suppression.
        place: the rank of this process, and the number of processes.

    Raises:
        DataError: an image cannot be read.
    """
    rank, processes = place
    for turn, long_side in enumerate(rule.long_sides):
        mine = images[(rank - turn * len(images)) % processes :: processes]
        for image, (image_HW3, frame) in zip(mine, validation_images.images(mine, long_side), strict=True):
            scale_4 = np.tile(np.array(frame.scale, np.float32), 2)
            yield boxes_of(network, image_HW3, _faces(image, scale_4, rule), iou_threshold)


def _faces(image: LabelledImage, scale_4: np.ndarray, rule: ScoreLayer) -> Faces:
    boxes_N4 = torch.from_numpy(image.boxes_N4 / scale_4)
    size_N = (boxes_N4[:, 2:] - boxes_N4[:, :2]).clamp(min=0).prod(1).sqrt()
    counted_N = ~torch.from_numpy(image.ignore_N) & (size_N >= rule.smallest_face)
    # Missing a large face is worse: WIDER FACE's easy faces are large. Weighted by the size itself, small ones lose.
    return Faces(boxes_N4, rule.face_weight * (size_N / USUAL_SIZE).sqrt() * counted_N)


@torch.no_grad()
def boxes_of(network: FaceNetwork, image_HW3: np.ndarray, faces: Faces, iou_threshold: float) -> Boxes:
    """Returns the boxes that are found in one image (uint8 RGB), without padding, as inference sees it.

    Args:
        network: in evaluation mode, so that it normalises by the statistics that inference uses.
    """
    features = list(network.features(padded_input(network, image_HW3) / 255))
    logits_BA, boxes_BA4, _ = network.decode([network.answer(each) for each in features])
    best = logits_BA[0].topk(min(CANDIDATES, logits_BA.shape[1])).indices
    kept = best[nms(boxes_BA4[0, best], logits_BA[0, best], iou_threshold)]
    features_AC = torch.cat([each.flatten(2)[0].T for each in features])
    return Boxes(features_AC[kept].cpu(), *_labels(boxes_BA4[0, kept].cpu(), faces))


def _labels(boxes_K4: Tensor, faces: Faces) -> tuple[Tensor, Tensor]:
    """Returns target_K and weight_K; boxes that match an excluded face get weight 0."""
    if not len(faces.boxes_N4):
        return torch.zeros(len(boxes_K4)), torch.ones(len(boxes_K4))
    iou_K, face_K = pairwise_iou(boxes_K4.unsqueeze(1), faces.boxes_N4).max(1)
    finds_K = iou_K >= MATCH_IOU
    times_N = torch.bincount(face_K[finds_K], minlength=len(faces.boxes_N4)).clamp(min=1)
    weight_K = torch.where(finds_K, (faces.weight_N / times_N)[face_K], 1.0)
    return torch.where(finds_K, quality(iou_K), 0.0), weight_K
