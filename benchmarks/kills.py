"""A batch that is killed (kill -9) again and again and gone on with: is the result that of an unbroken one?

    python benchmarks/kills.py --data DIR --kills 1000 [--inputs 2000] [--model FILE] [--seed 1]

Needs mlcycle installed. The images below DIR are linked until there are so many inputs, and a file that is no
image is put among them. First one `mlcycle infer dir --out RUN --redact blur DIR` runs to its end. Then the same
command is started with --resume and killed at a random moment, over and over; each time one comes to its end its
records and copies are compared with the unbroken run's, byte by byte, and it is begun anew. It prints the kills, how
many of them met which state, and the batches that were compared; the exit code is 1 if one differed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png")


def make_inputs(data: Path, folder: Path, count: int) -> None:
    images = sorted(path for path in data.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not images:
        sys.exit(f"error: {data} holds no images")
    for number in range(count - 1):
        image = images[number % len(images)]
        link = folder / f"{number % 10}" / f"{number:06d}{image.suffix.lower()}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(image.resolve())
    (folder / "0" / "broken.jpg").write_bytes(b"no image")


def command(inputs: Path, model: str) -> list[str]:
    where = ["--out", "run", "--redact", "blur", "redacted"]
    return [sys.executable, "-m", "mlcycle", "-q", "infer", "dir", str(inputs), "--model", model, *where]


def contents(folder: Path) -> dict[str, bytes]:
    """Returns what must be equal: the records and the copies, with any temporary file that was left."""
    files = [folder / "run" / "records.jsonl", *(folder / "redacted").rglob("*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.is_file()}


def state(folder: Path) -> str:
    """Says what a kill left: nothing, a ledger that was not begun, one with records, or results."""
    run = folder / "run"
    if (run / "records.jsonl").exists() or (run / "records.jsonl.part").exists():
        return "while results were written"
    wal = run / "ledger.sqlite-wal"
    if (run / "ledger.sqlite").exists():
        return "in the middle" if wal.exists() and wal.stat().st_size else "while the ledger was opened"
    return "before the ledger"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--model", default="face-nano")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as scratch:
        inputs, whole, broken = (Path(scratch) / name for name in ("inputs", "whole", "broken"))
        for folder in (inputs, whole, broken):
            folder.mkdir()
        make_inputs(chosen.data, inputs, chosen.inputs)
        words = command(inputs, chosen.model)
        begun = time.perf_counter()
        subprocess.run(words, cwd=whole, stderr=subprocess.DEVNULL, check=False)
        unbroken = time.perf_counter() - begun
        expected = contents(whole)
        print(f"{chosen.inputs} inputs, unbroken in {unbroken:.1f} s; {len(expected) - 1} copies", flush=True)
        kills = batches = different = 0
        states: Counter[str] = Counter()
        while kills < chosen.kills:
            process = subprocess.Popen([*words, "--resume"], cwd=broken, stderr=subprocess.DEVNULL)
            try:
                process.wait(draw.uniform(0.1, 1.8))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                states[state(broken)] += 1
                continue
            batches += 1
            different += process.returncode != 3 or contents(broken) != expected
            print(f"{kills} kills, {batches} batches compared, {different} differ", flush=True)
            shutil.rmtree(broken)
            broken.mkdir()
        subprocess.run([*words, "--resume"], cwd=broken, stderr=subprocess.DEVNULL, check=False)
        batches += 1
        different += contents(broken) != expected
        where = ", ".join(f"{count} {name}" for name, count in states.most_common())
        print(f"{kills} kills ({where}); {batches} batches of {chosen.inputs} inputs compared, {different} differ")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
