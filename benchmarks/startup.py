"""Cold starts: `mlcycle infer IMAGE` and `mlcycle --help`, as ratios to a bare script that detects on the same image.

    python benchmarks/startup.py MODEL IMAGE [--runs 15]

Needs only mlcycle. The three run in turn, so that a machine that slows down slows all of them. It prints the median,
least and largest of the ratios over the runs. The timed window is the whole process, from its start to its end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

# A minimal script without mlcycle: no verification, no EXIF orientation, no error handling, boxes as the only output.
BARE = """
import sys, json
import numpy as np
import onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
contract = json.loads(session.get_modelmeta().custom_metadata_map["mlcycle.contract"])
image = Image.open(sys.argv[2]).convert("RGB")
scale = min(1, contract["resize"]["long_side"] / max(image.size))
small = image.resize([max(1, int(side * scale + 0.5)) for side in image.size], Image.Resampling.BILINEAR)
boxes, scores = session.run(["boxes", "scores"], {"images": np.asarray(small)[None]})
print(boxes[0][scores[0] >= contract["thresholds"]["balanced"]] / scale)
"""


def seconds(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the bare script would send onnxruntime's telemetry
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    parser.add_argument("model", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    files = [str(arguments.model), str(arguments.image)]
    commands = {
        "bare script": [sys.executable, "-c", BARE, *files],
        "mlcycle infer": [sys.executable, "-m", "mlcycle", "infer", files[1], "--model", files[0]],
        "mlcycle --help": [sys.executable, "-m", "mlcycle", "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(arguments.runs + 1):
        for name, words in commands.items():
            elapsed = seconds(words)
            if run:  # the first fills the caches of the file system
                times[name].append(elapsed)
    for name, elapsed in times.items():
        ratios = sorted(one / bare for one, bare in zip(elapsed, times["bare script"], strict=True))
        print(
            f"{name:15} median {statistics.median(elapsed):.3f} s   ratio to the bare script:"
            f" median {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
