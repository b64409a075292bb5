"""Redacting images: the time of `mlcycle infer dir --redact`, compared with `deface`.

    python benchmarks/redaction.py --data DIR --deface PROGRAM [--count 200] [--rounds 3] [--runs 9] [--model face-nano]

Needs mlcycle, and the program `deface` (MIT) in any environment:

    python -m venv peer; peer/bin/pip install deface onnx onnxruntime    # then --deface peer/bin/deface

It measures whole processes, in turn: the first `--count` images below DIR with one command each, and a single image
from a cold start. Both programs run with their defaults: deface detects at the image's own size and writes JPEGs with
imageio's quality, mlcycle detects at a long side of 640 pixels and writes quality 92. So they do not find the same
faces; `benchmarks/peers.py` measures how many each finds.
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
    start = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def in_turn(commands: dict[str, Callable[[Path], list[str]]], rounds: int) -> dict[str, list[float]]:
    """Runs each command in a new folder, in turn; the first round fills the caches and is not counted."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, words in commands.items():
            with tempfile.TemporaryDirectory() as scratch:
                elapsed = seconds(words(Path(scratch)))
            if number:
                times[name].append(elapsed)
    return times


def report(title: str, times: dict[str, list[float]]) -> None:
    ratios = sorted(one / other for one, other in zip(times["deface"], times["mlcycle"], strict=True))
    medians = ", ".join(f"{name} {statistics.median(values):.2f} s" for name, values in times.items())
    ratio = f"{statistics.median(ratios):.2f} times as long ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(f"{title}: {medians}; deface takes {ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--deface", required=True, help="the program deface")
    parser.add_argument("--model", default="face-nano")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    infer = [sys.executable, "-m", "mlcycle", "-q", "infer"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        folder.mkdir()
        found = sorted(path for path in arguments.data.rglob("*") if path.suffix.lower() in SUFFIXES)[: arguments.count]
        for number, path in enumerate(found):
            shutil.copyfile(path, folder / f"{number:05d}.jpg")
        image = folder / "00000.jpg"

        def deface_all(place: Path) -> list[str]:
            copies = place / "copies"  # deface writes next to its input
            shutil.copytree(folder, copies)
            return [arguments.deface, str(copies)]

        def infer_all(place: Path) -> list[str]:
            where = ["--redact", "blur", str(place / "copies"), "--out", str(place / "records.jsonl")]
            return [*infer, "dir", str(folder), "--model", arguments.model, *where]

        single = {
            "mlcycle": lambda place: [
                *infer,
                str(image),
                "--model",
                arguments.model,
                "--redact",
                "blur",
                str(place / "a"),
            ],
            "deface": lambda place: [arguments.deface, str(image), "-o", str(place / "a.jpg")],
        }
        folders = {"mlcycle": infer_all, "deface": deface_all}
        report("one image, cold", in_turn(single, arguments.runs))
        report(f"{len(found)} images", in_turn(folders, arguments.rounds))


if __name__ == "__main__":
    main()
