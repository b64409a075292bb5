"""An inference program written by hand, with four mistakes to choose from, and the gate between it and training.

It follows docs/model-file.md: decode, turn upright, resize, run the graph, keep the boxes above the threshold.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

from mlcycle.errors import GateError
from mlcycle.training.trace import load_trained
from mlcycle.training.trace import trace as training_trace
from mlcycle.workflows import parity

FILTERS = {
    "antialiased triangle": (Image.Resampling.BILINEAR, None),
    "nearest pixel": (Image.Resampling.NEAREST, None),
    "triangle without antialiasing": (Image.Resampling.BILINEAR, 1.0),
}


@dataclass(frozen=True)
class Choices:
    """How the program treats an image before the model sees it; the defaults are right."""

    colours: str = "RGB"
    filter: str = "antialiased triangle"
    turns_upright: bool = True
    scales_each_side: bool = True


@dataclass(frozen=True)
class Result:
    """What the program found, in pixels of the model's input, and `trace`, its values after each stage."""

    boxes_of_input_N4: np.ndarray
    scores_N: np.ndarray
    trace: dict[str, np.ndarray]


def run(model: Path, image: Path, choices: Choices) -> Result:
    """Runs a model file on an image, with right or wrong choices; it answers in any case."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    contract = json.loads(session.get_modelmeta().custom_metadata_map["mlcycle.contract"])
    stored = Image.open(image).convert("RGB")
    upright = ImageOps.exif_transpose(Image.open(image)).convert("RGB") if choices.turns_upright else stored
    resized_HW3 = _resized(upright, contract["resize"]["long_side"], choices.filter)
    if choices.colours == "BGR":
        resized_HW3 = resized_HW3[..., ::-1]
    boxes, scores = (each[0] for each in session.run(["boxes", "scores"], {"images": resized_HW3[None]}))
    least = contract["thresholds"]["balanced"]
    # Width and height have a scale each: rounded to whole pixels, they differ a little.
    across, down = upright.width / resized_HW3.shape[1], upright.height / resized_HW3.shape[0]
    scale_4 = np.array([across, down] * 2 if choices.scales_each_side else [down] * 4)
    kept = scores >= least
    traced = {
        **_pixels("decode", stored),
        **_pixels("upright", upright),
        "resized": resized_HW3,
        "graph_least_score": np.array(contract["selection"]["score_floor"]),
        "least_score": np.array(least),
        "max_faces": np.array(contract["selection"]["max_faces"]),
        **_found("graph_", boxes, scores),
        **_found("", boxes[kept] * scale_4, scores[kept]),
    }
    return Result(boxes, scores, traced)


def gate(run_folder: Path, image: Path, result: Result) -> str:
    """Compares the program with the training pipeline on one image, as `mlcycle freeze` does.

    Returns the error of the gate, or "" if both agree.
    """
    recipe, network, _ = load_trained(Path(run_folder))
    with tempfile.TemporaryDirectory() as scratch:
        folders = Path(scratch) / "training", Path(scratch) / "inference"
        for folder, values in zip(folders, (training_trace(network, recipe, image), result.trace), strict=True):
            folder.mkdir()
            np.savez(folder / "00000.npz", **values)
        try:
            parity.compare([image], folders, parity.Tolerance())
        except GateError as problem:
            return problem.message
    return ""


def turned(image: Path, copy: Path) -> Path:
    """Writes a JPEG as a phone held sideways does: the pixels are turned, and a note in the file says so."""
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees to see it upright"
    Image.open(image).convert("RGB").transpose(Image.Transpose.ROTATE_90).save(copy, quality=95, exif=exif)
    return copy


def _resized(image: Image.Image, long_side: int, name: str) -> np.ndarray:
    scale = min(1, long_side / max(image.size))
    size = tuple(max(1, int(side * scale + 0.5)) for side in image.size)
    resample, antialias = FILTERS[name]
    if antialias is None:
        return np.asarray(image.resize(size, resample))
    # Pillow always antialiases when it reduces; an affine transform does not.
    across, down = image.width / size[0], image.height / size[1]
    return np.asarray(image.transform(size, Image.Transform.AFFINE, (across, 0, 0, 0, down, 0), resample))


def _pixels(stage: str, image: Image.Image) -> dict[str, np.ndarray]:
    shape = np.array([image.height, image.width, 3])
    return {f"{stage}_sha256": np.array(hashlib.sha256(image.tobytes()).hexdigest()), f"{stage}_shape": shape}


def _found(prefix: str, boxes_N4: np.ndarray, scores_N: np.ndarray) -> dict[str, np.ndarray]:
    points = np.zeros((len(scores_N), 0, 2), np.float32)
    return {f"{prefix}boxes": boxes_N4, f"{prefix}scores": scores_N, f"{prefix}landmarks": points}
