"""A program that uses the library, for `mypy --strict`: `make check` fails where it finds a mistake, or misses one.

It is checked, not run. The calls with a `type: ignore` are wrong, and mypy reports an ignore that it does not need.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import mlcycle


def widest(model: mlcycle.Model, image: Path) -> float:
    faces = model(image, threshold=0.4)
    boxes: npt.NDArray[np.float32] = faces.boxes
    return max((float(box[2] - box[0]) for box in boxes), default=0.0)


def failures(model: mlcycle.Model, images: Iterable[Path]) -> dict[str, str]:
    results = model.stream(images, workers=2)
    return {faces.input: faces.error.message for faces in results if faces.error is not None}


def best(faces: mlcycle.Faces) -> mlcycle.Face | None:
    return faces[0] if len(faces) else None


def likely(faces: mlcycle.Faces) -> mlcycle.Faces:
    return faces[faces.scores > 0.9]


def codes(model: mlcycle.Model, image: bytes) -> str:
    try:
        model(image)
    except mlcycle.UnreadableError as problem:
        return problem.code
    return "read"


def copies(faces: mlcycle.Faces) -> list[Image.Image]:
    return [faces.draw(), faces.redact("pixelate"), *faces.crops(align=True)]


def life(recipe: Path, labelled: Path, photos: list[Path]) -> str:
    run = mlcycle.train(recipe, overrides={"schedule.steps": 200}, out="runs/a", quiet=True)
    score: float = run.average_precision_50
    frozen = mlcycle.freeze(run, images=photos)
    variant = mlcycle.export(frozen, precision="int8", images=photos)
    metrics = mlcycle.evaluate(mlcycle.load(variant), labelled, long_side="original")
    speed: dict[str, object] = mlcycle.load(variant.path).bench(seconds=score)
    return f"{metrics} {metrics.to_dict()} {speed} {frozen.thresholds['balanced']} {variant.sha256}"


def any_of(model: mlcycle.Model, image: mlcycle.ImageInput) -> int:
    return len(model(image))


def main() -> None:
    model = mlcycle.load("face-nano", provider="cpu", threads=2)
    height: int = model.contract.resize.long_side
    threshold: float = model.thresholds["balanced"]
    record: dict[str, object] = model(np.zeros((height, 80, 3), np.uint8)).to_dict()
    print(mlcycle.__version__, threshold, record)


def mistakes() -> None:
    mlcycle.load("face-nano", provider="gpu")  # type: ignore[arg-type]
    model = mlcycle.load("face-nano")
    model(42)  # type: ignore[arg-type]
    model("photo.jpg").redact("smudge")  # type: ignore[arg-type]
    mlcycle.laod("face-nano")  # type: ignore[attr-defined]
