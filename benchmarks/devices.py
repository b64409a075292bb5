"""How much trainings on one and on two devices differ, compared with the effect of the number of threads alone.

The recipe is trained by one CPU process with one thread, by one with two threads, and by two processes of one thread
each; the second and the third are compared with the first. They differ only in the order of additions.

    python benchmarks/devices.py RECIPE [key=value …] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SETUPS = {
    "one process, one thread": (1, []),
    "one process, two threads": (2, []),
    "two processes, one thread each": (1, ["--devices", "2"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--keep", type=Path, help="Keep the runs here, and resume those that exist.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        runs = [train(options, folder / name.replace(", ", "-").replace(" ", "-"), name) for name in SETUPS]
        print(f"{'':<32}{'loss, first':>12}{'loss, all':>12}{'AP50':>10}{'weights':>10}{'EMA':>10}")
        for run, name in list(zip(runs, SETUPS, strict=True))[1:]:
            print(f"{name:<32}" + compare(runs[0], run), flush=True)


def train(options: argparse.Namespace, run: Path, name: str) -> Path:
    """Returns the folder of the finished run."""
    threads, more = SETUPS[name]
    start = ["--resume", str(run)] if run.exists() else [options.recipe, *options.overrides, "--out", str(run)]
    line = [sys.executable, "-m", "mlcycle", "train", *start, "--device", "cpu", *more]
    subprocess.run(line, check=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, stdout=subprocess.DEVNULL)
    return run


def compare(one: Path, other: Path) -> str:
    """Returns the relative difference of the first reported loss, the largest of all, the largest difference of AP50,
    and the distances of the last weights and of their EMA, relative to the norm of the weights."""
    losses = list(zip(series(one, "loss"), series(other, "loss"), strict=True))
    scores = zip(series(one, "average_precision_50"), series(other, "average_precision_50"), strict=True)
    relative = [abs(a - b) / abs(a) for a, b in losses]
    largest = max(abs(a - b) for a, b in scores)
    distances = [distance(one, other, part) for part in ("model.", "average.")]
    return f"{relative[0]:>12.1e}{max(relative):>12.1e}{largest:>10.4f}" + "".join(
        f"{each:>10.4f}" for each in distances
    )


def series(run: Path, name: str) -> list[float]:
    entries = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [entry[name] for entry in entries if name in entry]


def distance(one: Path, other: Path, part: str) -> float:
    import torch

    from mlcycle.training.run import checkpoint

    tensors = []
    for run in (one, other):
        loaded, _ = checkpoint.load(max((run / "checkpoints").glob("step-*.safetensors")))
        weights = [value for name, value in sorted(loaded.items()) if name.startswith(part) and name.endswith("weight")]
        tensors.append(torch.cat([each.flatten().double() for each in weights]))
    return ((tensors[0] - tensors[1]).norm() / tensors[0].norm()).item()


if __name__ == "__main__":
    main()
