"""A training loop as in tutorials, as a baseline for mlcycle's: DataLoader, AdamW, torchvision's transforms.

The network, losses, images and batch size are those of a recipe; everything else is plain: a worker decodes each image
with Pillow every time and augments it, and the step uses contiguous float32 tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.training.data.samples import Batch
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.trainer import losses_of


class Images(Dataset):
    def __init__(self, images: Sequence[LabelledImage], crop: int) -> None:
        self.images = images
        self.transforms = v2.Compose(
            [
                v2.ToImage(),
                v2.ScaleJitter((crop, crop), (0.8, 3.0)),
                v2.RandomCrop((crop, crop), pad_if_needed=True),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.3, 0.3, 0.3),
                v2.RandomGrayscale(0.1),
                v2.ToDtype(torch.float32, scale=False),
                v2.SanitizeBoundingBoxes(labels_getter=None),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        labelled = self.images[index]
        image = Image.open(labelled.path).convert("RGB")
        faces = torch.from_numpy(labelled.boxes_N4[~labelled.ignore_N]).float().view(-1, 4)
        boxes = tv_tensors.BoundingBoxes(faces, format="XYXY", canvas_size=(image.height, image.width))
        return self.transforms(image, boxes)


def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, list[Tensor]]:
    return torch.stack([image for image, _ in samples]), [boxes for _, boxes in samples]


class PlainLoop:
    """The model, optimizer and data loader, advanced by `step`."""

    def __init__(self, recipe: Recipe, images: Sequence[LabelledImage], workers: int) -> None:
        self.recipe = recipe
        self.loader = DataLoader(
            Images(images, recipe.augment.crop), recipe.schedule.batch, shuffle=True, num_workers=workers,
            collate_fn=collate, drop_last=True, persistent_workers=workers > 0,
        )  # fmt: skip
        self.model = FaceNetwork(**recipe.model.model_dump()).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=recipe.schedule.learning_rate)
        self.batches = self._endless()
        self.running_loss = 0.0

    def _endless(self) -> Iterator[tuple[Tensor, list[Tensor]]]:
        while True:
            yield from self.loader

    def step(self) -> None:
        images, boxes = next(self.batches)
        self.optimizer.zero_grad()
        outputs = self.model(images)
        sums = losses_of(outputs, labels(images, boxes), self.recipe.model)
        parts, weights = sums.over(sums.counts_3), self.recipe.losses
        loss = weights.score * parts.score + weights.box * parts.box + weights.landmarks * parts.landmarks
        loss.backward()
        self.optimizer.step()
        self.running_loss += loss.item()


def labels(images: Tensor, boxes: list[Tensor]) -> Batch:
    """Returns the labels in the form that the losses read; of the pixels they use only the size."""
    faces = torch.cat([each.as_subclass(Tensor) for each in boxes])
    return Batch(
        pixels_BSS3=images.permute(0, 2, 3, 1), photometric_BL=torch.zeros((len(images), 0)), faces_M4=faces,
        landmarks_M52=faces.new_full((len(faces), 5, 2), torch.nan),
        image_M=torch.arange(len(boxes)).repeat_interleave(torch.tensor([len(each) for each in boxes])),
        ignored_I4=torch.zeros((0, 4)), ignored_image_I=torch.zeros(0, dtype=torch.long), names=(),
    )  # fmt: skip
