"""Peak memory of `mlcycle infer dir --out RUN` over few inputs and over many: does it grow with their number?

    python benchmarks/memory.py MODEL --data DIR [--counts 1000 100000] [--long-side 0]

Needs mlcycle installed; not on Windows. The images below DIR are linked again and again, so that both runs see the
same images. Quoted is the peak resident memory of the whole process as the system counts it (getrusage), and that of
the larger count as a ratio to the smaller. `--long-side N` makes smaller copies first, where time is short.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png")


def smaller(paths: list[Path], long_side: int, folder: Path) -> list[Path]:
    from PIL import Image

    made = []
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            copy = image.convert("RGB")
        copy.thumbnail((long_side, long_side))
        made.append(folder / f"{number:05d}.jpg")
        copy.save(made[-1], quality=90)
    return made


def link(paths: list[Path], folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        path = paths[number % len(paths)]
        (folder / f"{number:07d}{path.suffix.lower()}").symlink_to(path.resolve())


def peak(words: list[str]) -> tuple[int, float]:
    """Runs a command; returns its peak resident memory in bytes, and seconds."""
    begun = time.perf_counter()
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"error: {' '.join(words)} exited with {code}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--long-side", type=int, default=0)
    chosen = parser.parse_args()
    paths = sorted(path for path in chosen.data.rglob("*") if path.suffix.lower() in SUFFIXES)
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.long_side:
            paths = smaller(paths, chosen.long_side, Path(scratch))
        least = 0
        for number, count in enumerate(chosen.counts):
            inputs = Path(scratch) / f"inputs-{number}"
            link(paths, inputs, count)
            where = ["--out", f"{scratch}/run-{number}"]
            memory, seconds = peak(
                [sys.executable, "-m", "mlcycle", "infer", "dir", str(inputs), "--model", chosen.model, *where]
            )
            least = least or memory
            said = f"{memory / 2**20:.1f} MiB at the most, ratio {memory / least:.3f}, {seconds:.0f} s"
            print(f"{count:>9,} inputs: {said}", flush=True)


if __name__ == "__main__":
    main()
