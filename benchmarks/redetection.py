"""The share of redacted faces that detectors still find in the redacted copies.

    python benchmarks/redetection.py --data DIR [--count 200] [--model face-nano] [--judge face-base CenterFace ...]

Needs only mlcycle, and for judges of other projects their packages (README.md in this folder). `mlcycle infer dir`
redacts `--count` images, spread over those below DIR, with each method. Each judge (the model itself, and others: model
files, or peers of detectors.py) runs on originals and copies at its default threshold, with the contract's resizing. A
redacted region counts as found if a box of the judge overlaps it, or the ellipse that covers it, with an intersection
over union of at least .3. What a judge finds under `fill` it finds by what surrounds a face: nothing of it is left.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from detectors import Detector, open_model, peer_named

from mlcycle.evaluation.matching import overlaps
from mlcycle.inference import letterbox
from mlcycle.inference.copies.redact import ELLIPSE_SCALE
from mlcycle.inference.decoding import images
from mlcycle.inference.models import find_model

SUFFIXES = (".jpg", ".jpeg", ".png")
LEAST_OVERLAP = 0.3
LONG_SIDE = 640


def redact(originals: Path, copies: Path, model: str, method: str) -> dict[str, np.ndarray]:
    """Writes redacted copies, and returns the redacted boxes (x1 y1 x2 y2) of each image by its name."""
    command = [sys.executable, "-m", "mlcycle", "-q", "infer", "dir", str(originals), "--model", model]
    words = [*command, "--format", "jsonl", "--redact", method, str(copies)]
    lines = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {
        each["input"]: np.array([face["box"] for face in each["faces"]], np.float32).reshape(-1, 4)
        for each in map(json.loads, lines.splitlines())
    }


def found(judge: Detector, folder: Path, redacted: dict[str, np.ndarray]) -> int:
    """Returns the number of redacted regions in which a judge finds a face."""
    count = 0
    for name, regions_N4 in redacted.items():
        upright = images.decode(images.read(folder / name)).upright()
        image_HW3, frame = letterbox.shrink(upright, LONG_SIDE)
        boxes_M4 = letterbox.boxes_to_image(np.asarray(judge.default(image_HW3)[0], np.float32).reshape(-1, 4), frame)
        if len(boxes_M4) and len(regions_N4):
            nobody_M = np.zeros(len(boxes_M4), bool)
            both = (overlaps(each_N4, boxes_M4, nobody_M) for each_N4 in (regions_N4, covered(regions_N4)))
            count += int((np.maximum(*both).max(axis=1) >= LEAST_OVERLAP).sum())
    return count


def covered(regions_N4: np.ndarray) -> np.ndarray:
    """Returns the boxes of the ellipses that cover regions."""
    middles_N2, halves_N2 = (regions_N4[:, 2:] + regions_N4[:, :2]) / 2, (regions_N4[:, 2:] - regions_N4[:, :2]) / 2
    return np.hstack([middles_N2 - ELLIPSE_SCALE * halves_N2, middles_N2 + ELLIPSE_SCALE * halves_N2])


def open_judge(name: str) -> Detector:
    """Opens a peer of this name, or a model file or bundled model."""
    peer = peer_named(name)
    return peer.open(peer) if peer else open_model(find_model(Path(name))[0], name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--model", default="face-nano")
    parser.add_argument("--judge", nargs="*", default=[])
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.data.rglob("*") if path.suffix.lower() in SUFFIXES)
    chosen = np.linspace(0, len(files) - 1, min(arguments.count, len(files))).astype(int)
    judges = [open_judge(name) for name in dict.fromkeys([arguments.model, *arguments.judge])]
    with tempfile.TemporaryDirectory() as scratch:
        originals = Path(scratch) / "originals"
        originals.mkdir()
        for number in chosen.tolist():
            (originals / f"{number:05d}{files[number].suffix.lower()}").symlink_to(files[number].resolve())
        before: dict[str, int] = {}
        for method in ("blur", "pixelate", "fill"):
            copies = Path(scratch) / method
            redacted = redact(originals, copies, arguments.model, method)
            regions = sum(map(len, redacted.values()))
            for judge in judges:
                if judge.name not in before:
                    before[judge.name] = found(judge, originals, redacted)
                again = found(judge, copies, redacted)
                share = again / max(1, before[judge.name])
                print(
                    f"{method}: of {regions} redacted regions in {len(redacted)} images, {judge.name} "
                    f"({judge.threshold}) finds {before[judge.name]} in the originals and {again} in the copies "
                    f"({share:.1%})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
