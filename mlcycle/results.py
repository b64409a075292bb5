"""What the conductors of training, freezing and exporting return: files and folders, and what there is to report.

They stand here so that naming them takes neither torch nor onnx. Each can be passed wherever a path can.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlcycle.artifact.self_test import Distance, Tolerance
    from mlcycle.exporting.gates.side_by_side import Latency
    from mlcycle.training.export.operating_points import Points

REPORT, METRICS = "report.html", "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Run(os.PathLike[str]):
    """A finished training run.

    Attributes:
        path: its folder.
        steps: how many steps were trained.
        seconds: of training, over all parts of a resumed run.
        average_precision_50: the best on the validation set, at an IoU of 0.5.
        best_step: the step whose checkpoint gave it; `freeze` takes that one.
    """

    path: Path
    steps: int
    seconds: float
    average_precision_50: float
    best_step: int

    @property
    def report(self) -> Path:
        """The page with curves, metrics and the worst mistakes."""
        return self.path / REPORT

    def metrics(self) -> list[dict[str, Any]]:
        """Returns what the run reported: losses and speed every 20 steps, average precision when it was evaluated."""
        lines = (self.path / METRICS).read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def __fspath__(self) -> str:
        return os.fspath(self.path)


@dataclass(frozen=True, slots=True)
class Frozen(os.PathLike[str]):
    """A model file that `freeze` wrote.

    Attributes:
        path: the file.
        sha256: its digest, in hex.
        size: in bytes.
        points: its operating points, and what they do on the validation set.
        verdict: the largest difference between the training and the inference pipeline, in words; of a bundled model's
            float32 file, that between both files, and whether the bundled one was exported from it.
    """

    path: Path
    sha256: str
    size: int
    points: Points
    verdict: str

    @property
    def thresholds(self) -> dict[str, float]:
        """Operating point → the least score that counts as a face there."""
        return dict(self.points.thresholds)

    def __fspath__(self) -> str:
        return os.fspath(self.path)


@dataclass(frozen=True, slots=True)
class Exported(os.PathLike[str]):
    """A model file, or a file or folder for another runtime, that `export` wrote.

    Attributes:
        path: the file or folder.
        verdict: what the comparison with its parent gave, in words.
        latencies: of parent and variant on this machine, where both were run.
        sha256: digest of a model file, in hex; None for another runtime's files.
        size, parent_size: of both model files in bytes; 0 for another runtime's files.
        self_test: how far its output is from the expected one, and how far it may be; None if nothing to report.
        warning: what to know before giving it to others, in a sentence; "" if nothing.
    """

    path: Path
    verdict: str
    latencies: list[Latency]
    sha256: str | None = None
    size: int = 0
    parent_size: int = 0
    self_test: tuple[Distance, Tolerance] | None = None
    warning: str = ""

    def __fspath__(self) -> str:
        return os.fspath(self.path)
