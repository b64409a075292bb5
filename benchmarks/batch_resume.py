"""Fault injection in batches: is a batch that is killed (kill -9) and resumed equal to an uninterrupted one?

    python benchmarks/batch_resume.py --data DIR --kills 1000 [--inputs 2000] [--model FILE] [--seed 1]

Needs only mlcycle. The images below DIR are linked repeatedly to make the inputs, and one file that is not an image is
added. First `mlcycle infer dir --out RUN --redact blur DIR` runs without interruption. Then the same command is started
with --resume and killed at a random moment, over and over; each time a batch ends, its records and copies are compared
with those of the uninterrupted one, byte by byte, and a new batch begins. It prints the number of kills by the state
that they met, and the number of batches compared; the exit code is 1 if one differs.
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
        sys.exit(f"error: {data} has no images")
    for number in range(count - 1):
        image = images[number % len(images)]
        link = folder / f"{number % 10}" / f"{number:06d}{image.suffix.lower()}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(image.resolve())
    (folder / "0" / "broken.jpg").write_bytes(b"not an image")


def command(inputs: Path, model: str) -> list[str]:
    where = ["--out", "run", "--redact", "blur", "redacted"]
    return [sys.executable, "-m", "mlcycle", "-q", "infer", "dir", str(inputs), "--model", model, *where]


def contents(folder: Path) -> dict[str, bytes]:
    """Returns what must be equal: records and copies, and any temporary file left over, by relative path."""
    files = [folder / "run" / "records.jsonl", *(folder / "redacted").rglob("*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.is_file()}


def state(folder: Path) -> str:
    """Returns the state in which a kill left the folder: no ledger, an empty ledger, one with records, or results."""
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
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        inputs, uninterrupted, killed = (Path(scratch) / name for name in ("inputs", "uninterrupted", "killed"))
        for folder in (inputs, uninterrupted, killed):
            folder.mkdir()
        make_inputs(arguments.data, inputs, arguments.inputs)
        words = command(inputs, arguments.model)
        start = time.perf_counter()
        subprocess.run(words, cwd=uninterrupted, stderr=subprocess.DEVNULL, check=False)
        seconds = time.perf_counter() - start
        expected = contents(uninterrupted)
        print(f"{arguments.inputs} inputs, uninterrupted in {seconds:.1f} s; {len(expected) - 1} copies", flush=True)
        kills = batches = different = 0
        states: Counter[str] = Counter()
        while kills < arguments.kills:
            process = subprocess.Popen([*words, "--resume"], cwd=killed, stderr=subprocess.DEVNULL)
            try:
                process.wait(generator.uniform(0.1, 1.8))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                states[state(killed)] += 1
                continue
            batches += 1
            different += process.returncode != 3 or contents(killed) != expected
            print(f"{kills} kills, {batches} batches compared, {different} differ", flush=True)
            shutil.rmtree(killed)
            killed.mkdir()
        subprocess.run([*words, "--resume"], cwd=killed, stderr=subprocess.DEVNULL, check=False)
        batches += 1
        different += contents(killed) != expected
        where = ", ".join(f"{count} {name}" for name, count in states.most_common())
        print(f"{kills} kills ({where}); {batches} batches of {arguments.inputs} inputs compared, {different} differ")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
