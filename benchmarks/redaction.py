"""Redacting images: `mlcycle infer dir --redact` beside `deface`, whole processes, in turn.

    python benchmarks/redaction.py --data DIR --deface PROGRAM [--count 200] [--rounds 3] [--runs 9] [--model face-nano]

Needs mlcycle installed, and the program `deface` (MIT) of any environment:

    python -m venv peer; peer/bin/pip install deface onnx onnxruntime    # then --deface peer/bin/deface

Two things are measured. The first `--count` images below DIR: all of them by one command each, from the start of
the process to its end; and a single one, from a cold start. Both programs are as they come: deface looks at each
image in its own size and writes JPEGs with imageio's quality, mlcycle looks at a long side of 640 pixels and
writes quality 92. So speed is one thing that differs; how many faces each finds is told by `benchmarks/peers.py`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg")


def seconds(words: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def in_turn(commands: dict[str, Callable[[Path], list[str]]], times: int) -> dict[str, list[float]]:
    """Runs each command in a folder of its own, in turn; the first round fills the caches and is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(times + 1):
        for name, words in commands.items():
            with tempfile.TemporaryDirectory() as scratch:
                passed = seconds(words(Path(scratch)))
            if number:
                taken[name].append(passed)
    return taken


def tell(what: str, taken: dict[str, list[float]]) -> None:
    ratios = sorted(one / other for one, other in zip(taken["deface"], taken["mlcycle"], strict=True))
    times = ", ".join(f"{name} {statistics.median(values):.2f} s" for name, values in taken.items())
    said = f"{statistics.median(ratios):.2f} times as long ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(f"{what}: {times}; deface takes {said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--deface", required=True, help="the program deface")
    parser.add_argument("--model", default="face-nano")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=9)
    chosen = parser.parse_args()
    ours = [sys.executable, "-m", "mlcycle", "-q", "infer"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        folder.mkdir()
        found = sorted(path for path in chosen.data.rglob("*") if path.suffix.lower() in SUFFIXES)[: chosen.count]
        for number, path in enumerate(found):
            shutil.copyfile(path, folder / f"{number:05d}.jpg")
        image = folder / "00000.jpg"

        def deface_all(place: Path) -> list[str]:
            copies = place / "copies"  # deface writes beside what it reads
            shutil.copytree(folder, copies)
            return [chosen.deface, str(copies)]

        def ours_all(place: Path) -> list[str]:
            where = ["--redact", "blur", str(place / "copies"), "--out", str(place / "records.jsonl")]
            return [*ours, "dir", str(folder), "--model", chosen.model, *where]

        single = {
            "mlcycle": lambda place: [*ours, str(image), "--model", chosen.model, "--redact", "blur", str(place / "a")],
            "deface": lambda place: [chosen.deface, str(image), "-o", str(place / "a.jpg")],
        }
        folders = {"mlcycle": ours_all, "deface": deface_all}
        tell("one image, cold", in_turn(single, chosen.runs))
        tell(f"{len(found)} images", in_turn(folders, chosen.rounds))


if __name__ == "__main__":
    main()
