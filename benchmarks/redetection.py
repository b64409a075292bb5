"""The share of redacted faces that detectors still find in the redacted copies.

    python benchmarks/redetection.py --data DIR [--count 200] [--model face-nano] [--judge face-base ...]

Needs only mlcycle. The first `--count` images below DIR are redacted with each method by `mlcycle infer dir`, and each
judge (the model itself, and others) runs on the copies. A face counts as found again if a box in the copy overlaps the
redacted box with an intersection over union of at least .3.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png")
LEAST_OVERLAP = 0.3
Box = list[float]


def detect(folder: Path, model: str, more: list[str]) -> dict[str, list[Box]]:
    """Returns the boxes (x1 y1 x2 y2) of each image below a folder, by its key."""
    words = [sys.executable, "-m", "mlcycle", "-q", "infer", "dir", str(folder), "--model", model, "--format", "jsonl"]
    lines = subprocess.run([*words, *more], stdout=subprocess.PIPE, text=True, check=True).stdout
    records = map(json.loads, lines.splitlines())
    return {each["input"]: [face["box"] for face in each["faces"]] for each in records}


def overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    intersection = max(0.0, width) * max(0.0, height)
    return intersection / max(1e-9, sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other)) - intersection)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--model", default="face-nano")
    parser.add_argument("--judge", nargs="*", default=[])
    arguments = parser.parse_args()
    found = sorted(path for path in arguments.data.rglob("*") if path.suffix.lower() in SUFFIXES)[: arguments.count]
    with tempfile.TemporaryDirectory() as scratch:
        originals = Path(scratch) / "originals"
        originals.mkdir()
        for number, path in enumerate(found):
            (originals / f"{number:05d}{path.suffix.lower()}").symlink_to(path.resolve())
        for method in ("blur", "pixelate", "fill"):
            copies = Path(scratch) / method
            before = detect(originals, arguments.model, ["--redact", method, str(copies)])
            faces = sum(map(len, before.values()))
            for judge in dict.fromkeys([arguments.model, *arguments.judge]):
                after = detect(copies, judge, [])
                again = sum(
                    any(overlap(box, other) >= LEAST_OVERLAP for other in after[key])
                    for key, boxes in before.items()
                    for box in boxes
                )
                share = again / max(1, faces)
                print(f"{method}: {judge} finds {again} of {faces} redacted faces again ({share:.2%})", flush=True)


if __name__ == "__main__":
    main()
