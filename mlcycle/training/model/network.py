"""The network: a plain convolutional detector without anchors, on grids of strides 8 to 128, or 4 to 128.

Each cell of a grid predicts a face near the cell's centre: its score, its box and its five landmarks. Plain 3x3
convolutions are used instead of depthwise ones because a CPU executes several times their arithmetic in the same time.

The names of the modules are those of the tensors in checkpoints and bundled weights, and of the initialisers in frozen
graphs, so they must not change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mlcycle.training.model.grid import strides

POINTS = 5
# The initial score of all cells: low, so that the many background cells do not dominate the first steps (Lin et al.
# 2017, "Focal Loss for Dense Object Detection").
PRIOR = 0.01
# exp() of this is a side of 400 strides: larger than any image, and far from overflow.
LARGEST_LOGARITHM = 6.0
# The two stages up to the finest grid halve the image once each; the stem has the rest of that grid's stride.
STRIDE_BEHIND_STEM = 4
# How many blocks follow the first of each of the four stages, per unit of depth.
MORE_BLOCKS = (1, 2, 1, 1)
HEAD_BLOCKS = 2
# The strides that a finest grid may have.
FINEST = (4, 8)


class ConvolutionBlock(nn.Module):
    """3x3 convolution, batch normalisation, ReLU; `fuse` folds the normalisation into the convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.normalisation: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return rectify(normalised(self.convolution, self.normalisation, x))

    def fuse(self) -> None:
        if isinstance(self.normalisation, nn.BatchNorm2d):
            self.convolution = fuse_conv_bn_eval(self.convolution, self.normalisation)
            self.normalisation = nn.Identity()


class SharedBlock(nn.Module):
    """A block with one convolution for all grids and a batch normalisation for each grid.

    Faces look alike on every grid, but the distributions of features differ. With one normalisation, training would use
    the statistics of each grid and evaluation those of all grids, and boxes would come out too large or too small.
    """

    def __init__(self, channels: int, grids: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.normalisations = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(grids))
        self.fused = nn.ModuleList()

    def forward(self, x: Tensor, grid: int) -> Tensor:
        if self.fused:
            return rectify(self.fused[grid](x))
        return rectify(normalised(self.convolution, self.normalisations[grid], x))

    def fuse(self) -> None:
        """Gives each grid its own convolution, with its normalisation folded in."""
        for each in self.normalisations:
            assert isinstance(each, nn.BatchNorm2d)
            self.fused.append(fuse_conv_bn_eval(self.convolution, each))
        self.normalisations = nn.ModuleList()


class FaceNetwork(nn.Module):
    """Backbone, top-down neck, coarser grids for faces that fill an image, and one head for all grids.

    Args:
        width: channels of the first layer; those of all others are multiples of it.
        depth: blocks after the first of each of the four stages; twice as many in the stage of the finest grid.
        landmarks: whether to predict the five landmarks.
        stride: of the finest grid in pixels: 8, or 4, where the first layer does not halve the image.
    """

    def __init__(self, width: int, depth: int, landmarks: bool, stride: int = 8) -> None:
        super().__init__()
        self.landmarks, self.strides = landmarks, strides(stride)
        stages = (2 * width, 4 * width, 6 * width, 8 * width)
        self.stem = ConvolutionBlock(3, width, stride=stride // STRIDE_BEHIND_STEM)
        self.stages = nn.ModuleList()
        inputs = width
        for index, outputs in enumerate(stages):
            blocks = [ConvolutionBlock(inputs, outputs, stride=2)]
            blocks += [ConvolutionBlock(outputs, outputs) for _ in range(depth * MORE_BLOCKS[index])]
            self.stages.append(nn.Sequential(*blocks))
            inputs = outputs
        neck = 3 * width
        self.lateral = nn.ModuleList(nn.Conv2d(channels, neck, 1) for channels in stages[1:])
        self.smooth = nn.ModuleList(ConvolutionBlock(neck, neck) for _ in self.lateral)
        self.coarser = nn.ModuleList(ConvolutionBlock(neck, neck, stride=2) for _ in self.strides[len(self.smooth) :])
        self.head = nn.ModuleList(SharedBlock(neck, len(self.strides)) for _ in range(HEAD_BLOCKS))
        self.answer = nn.Conv2d(neck, 1 + 4 + (2 * POINTS if landmarks else 0), 1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.answer.weight, std=0.01)
        assert self.answer.bias is not None
        with torch.no_grad():
            self.answer.bias[0] = -math.log((1 - PRIOR) / PRIOR)

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predicts faces.

        Args:
            images_B3HW: pixels from 0 to 255, RGB, float; height and width multiples of 32.

        Returns:
            logits_BA: the scores before the sigmoid, for all A cells of the grids.
            boxes_BA4: x1 y1 x2 y2 in input pixels, float32.
            landmarks_BAP2: x y in input pixels, float32; P is 5, or 0 without landmarks.
        """
        return self.decode(self.raw_maps(images_B3HW / 255))

    def raw_maps(self, scaled_B3HW: Tensor) -> list[Tensor]:
        """Returns the head's raw maps for the grids, finest first, for pixels from 0 to 1."""
        return [self.answer(each) for each in self.features(scaled_B3HW)]

    def features(self, scaled_B3HW: Tensor) -> Iterator[Tensor]:
        """Yields the inputs of the output layer, one map per grid, finest first, for pixels from 0 to 1.

        Each map is computed when it is requested: this decides the order of the frozen graph's nodes, and so its bytes.
        """
        features, x = [], self.stages[0](self.stem(scaled_B3HW))
        for stage in list(self.stages)[1:]:
            x = stage(x)
            features.append(x)
        merged, above = [], None
        for lateral, smooth, feature in reversed(list(zip(self.lateral, self.smooth, features, strict=True))):
            here = lateral(feature)
            if above is not None:
                here = here + functional.interpolate(above, scale_factor=2.0, mode="nearest")
            above = here
            merged.append(smooth(here))
        maps = merged[::-1]
        for coarser in self.coarser:
            maps.append(coarser(maps[-1]))
        for grid, each in enumerate(maps):
            yield self._through_head(each, grid)

    def _through_head(self, x: Tensor, grid: int) -> Tensor:
        for block in self.head:
            x = block(x, grid)
        return x

    def decode(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Turns the head's raw maps into logits_BA, boxes_BA4 and landmarks_BAP2 in input pixels.

        As in Ge et al. 2021 ("YOLOX"), a box's centre is offset from the cell's centre by raw strides, and its sides
        are exp(raw) strides long; landmarks are offset by raw strides. So a face that lies between the centres of four
        cells, because it is smaller than a stride, has a box like any other.
        """
        logits, boxes, points = [], [], []
        for raw_map, stride in zip(maps, self.strides, strict=True):
            raw = raw_map.float()
            centre_2RC = cell_centres(raw.shape[2], raw.shape[3], stride, raw.device)
            centre = raw[:, 1:3] * stride + centre_2RC
            half = raw[:, 3:5].clamp(max=LARGEST_LOGARITHM).exp() * (stride / 2)
            logits.append(raw[:, 0].flatten(1))
            boxes.append(torch.cat((centre - half, centre + half), dim=1).flatten(2).transpose(1, 2))
            if self.landmarks:
                pairs = (raw[:, 5:] * stride).unflatten(1, (POINTS, 2)) + centre_2RC
                points.append(pairs.permute(0, 3, 4, 1, 2).flatten(1, 2))
        logits_BA = torch.cat(logits, dim=1)
        landmarks_BAP2 = torch.cat(points, dim=1) if self.landmarks else logits_BA.new_zeros((*logits_BA.shape, 0, 2))
        return logits_BA, torch.cat(boxes, dim=1), landmarks_BAP2

    def fuse(self) -> None:
        """Folds each normalisation into its convolution, and the division by 255 into the first layer.

        For a trained network in evaluation mode; `raw_maps` then expects pixels from 0 to 255.
        """
        for module in list(self.modules()):
            if isinstance(module, ConvolutionBlock | SharedBlock):
                module.fuse()
        with torch.no_grad():
            self.stem.convolution.weight /= 255


def architecture_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns the arguments of the FaceNetwork that has these weights, from their names and shapes.

    Raises:
        KeyError: they are not the weights of a FaceNetwork.
    """
    blocks = {name.split(".")[2] for name in state if name.startswith("stages.0.")}
    grids = {name.split(".")[3] for name in state if name.startswith("head.0.normalisations.")}
    by_grids = {len(strides(finest)): finest for finest in FINEST}
    return {
        "width": len(state["stem.convolution.weight"]),
        "depth": (len(blocks) - 1) // MORE_BLOCKS[0],
        "landmarks": len(state["answer.weight"]) > 1 + 4,
        "stride": by_grids[len(grids)],
    }


def normalised(convolution: nn.Conv2d, normalisation: nn.Module, x: Tensor) -> Tensor:
    """Returns a convolution's output, normalised.

    In training, a normalisation that keeps its running statistics is folded into the convolution: values and gradients
    are the same, without two passes over the output and two over its gradient.
    """
    is_kept = convolution.training and isinstance(normalisation, _BatchNorm) and not normalisation.training
    if not is_kept:
        normal: Tensor = normalisation(convolution(x))
        return normal
    assert isinstance(normalisation, _BatchNorm)
    assert normalisation.running_mean is not None
    assert normalisation.running_var is not None
    scale = normalisation.weight * (normalisation.running_var + normalisation.eps).rsqrt()
    shift = normalisation.bias - normalisation.running_mean * scale
    weight = convolution.weight * scale.view(-1, 1, 1, 1)
    return functional.conv2d(x, weight, shift, convolution.stride, convolution.padding)


def rectify(x: Tensor) -> Tensor:
    """Returns the ReLU of a tensor whose values are not used again."""
    # In place, torch takes 2.4 times as long for bfloat16 on a CPU, and two fifths of the time for float32.
    return functional.relu(x, inplace=x.dtype != torch.bfloat16)


def cell_centres(rows: int, columns: int, stride: int, device: torch.device) -> Tensor:
    """Returns the centres of a grid's R x C cells in input pixels: centre_2RC, x and y."""
    x = (torch.arange(columns, device=device, dtype=torch.float32) + 0.5) * stride
    y = (torch.arange(rows, device=device, dtype=torch.float32) + 0.5) * stride
    return torch.stack((x.expand(rows, columns), y.unsqueeze(1).expand(rows, columns)))
