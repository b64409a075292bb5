"""Writes the output of every stage of inference, for the comparison with the training pipeline.

Run as `python -m mlcycle.inference.trace MODEL LIST OUT`, in a separate process without torch. LIST has image names
separated by NUL; OUT receives 00000.npz, 00001.npz … in that order. An unreadable image has only the key `error`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mlcycle.errors import MlcycleError
from mlcycle.inference import detect, letterbox, views
from mlcycle.inference.decoding import images
from mlcycle.machine import own_process


def trace(model_path: Path, list_path: Path, folder: Path) -> None:
    """Writes one archive per image.

    Keys: graph_least_score, least_score and max_faces (from the contract), decode_sha256 and decode_shape (before the
    EXIF orientation), upright_sha256 and upright_shape, resized (uint8 HxWx3), graph_boxes, graph_scores,
    graph_landmarks (input pixels, all above the score floor), and boxes, scores, landmarks (image pixels, above the
    balanced threshold). Landmarks have no rows for a model without landmarks.

    Raises:
        MlcycleError: the model cannot be used, or torch is in this process.
    """
    detector = detect.load_detector(model_path, provider="cpu", threads=1)
    folder.mkdir(parents=True, exist_ok=True)
    names = list_path.read_bytes().split(b"\0")
    for number, name in enumerate(names):
        np.savez(folder / f"{number:05d}.npz", **_stages(detector, os.fsdecode(name)))
    if "torch" in sys.modules:
        raise MlcycleError("torch was imported in the inference process, which must not use it")


def _stages(detector: detect.Detector, path: str) -> dict[str, Any]:
    try:
        decoded = images.decode(images.read(path))
    except images.UnreadableError as problem:
        return {"error": np.array(problem.code)}
    upright = decoded.upright()
    resized_HW3, frame = letterbox.shrink(upright, detector.contract.resize.long_side)
    outputs = detector.session.run(resized_HW3[None])
    boxes_N4, scores_N, landmarks_N52 = outputs[0][0], outputs[1][0], None if outputs[2] is None else outputs[2][0]
    faces = views.select((boxes_N4, scores_N, landmarks_N52), detector.contract.thresholds["balanced"], frame)
    return {
        **_pixels("decode", decoded.image),
        **_pixels("upright", upright),
        "resized": resized_HW3,
        "graph_least_score": np.array(detector.contract.selection.score_floor),
        "least_score": np.array(detector.contract.thresholds["balanced"]),
        "max_faces": np.array(detector.contract.selection.max_faces),
        **_named("graph_", boxes_N4, scores_N, landmarks_N52),
        **_named("", *faces),
    }


def _pixels(stage: str, image: Image.Image) -> dict[str, np.ndarray]:
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    return {f"{stage}_sha256": np.array(digest), f"{stage}_shape": np.array([image.height, image.width, 3])}


def _named(
    prefix: str, boxes_N4: np.ndarray, scores_N: np.ndarray, landmarks_N52: np.ndarray | None
) -> dict[str, np.ndarray]:
    if landmarks_N52 is None:
        landmarks_N52 = np.zeros((0, 5, 2), np.float32)
    return {f"{prefix}boxes": boxes_N4, f"{prefix}scores": scores_N, f"{prefix}landmarks": landmarks_N52}


def main() -> int:
    """Runs the trace for three arguments; returns the exit code."""
    if len(sys.argv) != 4:
        sys.stderr.write("usage: python -m mlcycle.inference.trace MODEL LIST OUT_DIR\n")
        return 2
    own_process.claim()
    try:
        trace(*map(Path, sys.argv[1:]))
    except MlcycleError as problem:
        sys.stderr.write(f"error: {problem.message}\n")
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
