"""Held-out photographs: how well the network does on faces it does not study, during training.

This steers the run (which checkpoint is best); the figures that count are those of `mlcycle evaluate`, on the frozen file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from mlcycle.datasets.photograph import LabelledPhotograph
from mlcycle.training.photos import fit_long_side, open_photo, upright_rgb
from mlcycle.training.recipe import Inference
from mlcycle.training.selection import select

Predictions = list[tuple[np.ndarray, np.ndarray]]


@torch.no_grad()
def predict(
    network: nn.Module,
    photographs: Sequence[LabelledPhotograph],
    rule: Inference,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
) -> Predictions:
    """Runs a network over photographs as inference would.

    Args:
        stop: asked before each batch; when it says yes, what is done so far is returned.

    Returns:
        For each photograph boxes_M4 in its own upright pixels and scores_M, all above the score floor.
    """
    network.eval()
    found: Predictions = []
    for inputs, sizes in _batches(photographs, rule.long_side):
        if stop():
            break
        pixels = inputs.to(device).to(memory_format=torch.channels_last).float()
        logits, boxes, landmarks = network(pixels)
        for index, (width, height, across, down) in enumerate(sizes):
            chosen, scores, _ = select(
                logits[index], boxes[index], landmarks[index],
                size=(width, height), rule=(rule.score_floor, rule.iou_threshold, rule.max_faces),
            )  # fmt: skip
            scale = torch.tensor((across, down, across, down), device=chosen.device)
            found.append(((chosen * scale).cpu().numpy(), scores.cpu().numpy()))
    return found


def _batches(
    photographs: Sequence[LabelledPhotograph], long_side: int, batch: int = 8
) -> Iterator[tuple[Tensor, list[tuple[int, int, float, float]]]]:
    """Yields inputs_B3SS uint8, padded to one square, and each picture's width, height and scales back to the photo."""
    side = -(-long_side // 32) * 32

    def read(photograph: LabelledPhotograph) -> tuple[np.ndarray, tuple[int, int]]:
        picture = upright_rgb(open_photo(photograph.path))
        return fit_long_side(picture, long_side), picture.size

    with ThreadPoolExecutor(2) as readers:
        for start in range(0, len(photographs), batch):
            inputs = np.zeros((min(batch, len(photographs) - start), side, side, 3), np.uint8)
            sizes = []
            for index, (picture, photo) in enumerate(readers.map(read, photographs[start : start + batch])):
                height, width = picture.shape[:2]
                inputs[index, :height, :width] = picture
                sizes.append((width, height, photo[0] / width, photo[1] / height))
            yield torch.from_numpy(inputs).permute(0, 3, 1, 2), sizes
