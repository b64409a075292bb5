"""Peak memory of `mlcycle infer dir --out RUN` on few inputs and on many: does it grow with their number?

    python benchmarks/memory.py MODEL --data DIR [--counts 1000 100000] [--long-side 0]

Needs only mlcycle; not on Windows. The images below DIR are linked repeatedly, so that both runs process the same
images. It prints the peak resident memory of the process (getrusage), and its ratio to that of the first count.
`--long-side N` resizes the images first, to save time.
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


def resize(paths: list[Path], long_side: int, folder: Path) -> list[Path]:
    from PIL import Image

    resized = []
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            copy = image.convert("RGB")
        copy.thumbnail((long_side, long_side))
        resized.append(folder / f"{number:05d}.jpg")
        copy.save(resized[-1], quality=90)
    return resized


def link(paths: list[Path], folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        path = paths[number % len(paths)]
        (folder / f"{number:07d}{path.suffix.lower()}").symlink_to(path.resolve())


def peak(words: list[str]) -> tuple[int, float]:
    """Runs a command; returns its peak resident memory in bytes, and seconds."""
    start = time.perf_counter()
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"error: {' '.join(words)} exited with {code}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--long-side", type=int, default=0)
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.data.rglob("*") if path.suffix.lower() in SUFFIXES)
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.long_side:
            paths = resize(paths, arguments.long_side, Path(scratch))
        first = 0
        for number, count in enumerate(arguments.counts):
            inputs = Path(scratch) / f"inputs-{number}"
            link(paths, inputs, count)
            where = ["--out", f"{scratch}/run-{number}"]
            memory, seconds = peak(
                [sys.executable, "-m", "mlcycle", "infer", "dir", str(inputs), "--model", arguments.model, *where]
            )
            first = first or memory
            text = f"peak {memory / 2**20:.1f} MiB, ratio {memory / first:.3f}, {seconds:.0f} s"
            print(f"{count:>9,} inputs: {text}", flush=True)


if __name__ == "__main__":
    main()
