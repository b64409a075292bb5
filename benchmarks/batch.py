"""Throughput of `mlcycle infer dir`, compared with a plain loop and with upper bounds for these cores.

    python benchmarks/batch.py MODEL --data DIR [--cores 1 2] [--rounds 3]

Needs only mlcycle. Each round runs the following on the given number of cores (on Linux the process is bound to them).
Each runs in its own process and is timed from the first image to the last, without startup and loading the model:

- mlcycle: `mlcycle infer dir DIR --out FILE.jsonl`, including writing the results; the time is that of its last line;
- plain loop: Pillow and onnxruntime in a simple loop, with one onnxruntime thread for each core (by default
  onnxruntime takes all cores of the machine, whatever the process is bound to);
- decoding alone: reading and decoding the files, with one thread and with one for each core;
- the same at the reduced scale that the model's contract allows, if it allows one;
- network alone: the graph on inputs in memory, with one thread and with one for each core.

It prints images per second, and the ratio of mlcycle to each, over the rounds: median, least and largest. The first
bound is the slower of decoding and network, each with one thread: what overlapping stages of one thread each reach on
two cores. The second is the slower of both, each with all cores: no program reaches it, because both have to be done.
The third is the sum of both times on all cores: the rate if nothing else takes any time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

INPUTS = 200  # images in memory for the network alone, which runs on them repeatedly


def plain(model: str, paths: list[Path], threads: int) -> float:
    import numpy as np
    import onnxruntime
    from PIL import Image, ImageOps

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    contract = json.loads(session.get_modelmeta().custom_metadata_map["mlcycle.contract"])
    start = time.perf_counter()
    results = []
    for path in paths:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        scale = min(1, contract["resize"]["long_side"] / max(image.size))
        small = image.resize([max(1, int(side * scale + 0.5)) for side in image.size], Image.Resampling.BILINEAR)
        boxes, scores = session.run(["boxes", "scores"], {"images": np.asarray(small)[None]})
        results.append(boxes[0][scores[0] >= contract["thresholds"]["balanced"]] / scale)
    return time.perf_counter() - start


def decoding(model: str, paths: list[Path], threads: int, *, reduced: bool) -> float:
    from mlcycle.inference.decoding import images
    from mlcycle.inference.detect import load_detector

    contract = load_detector(model, provider="cpu", threads=1).contract
    least = contract.reduced_jpeg * contract.resize.long_side if reduced and contract.reduced_jpeg else None

    def decode(path: Path) -> None:
        images.decode(images.read(path), min_side=least).image.load()

    return in_threads(decode, paths, threads)


def network(model: str, paths: list[Path], threads: int) -> float:
    from mlcycle.inference import letterbox
    from mlcycle.inference.decoding import images
    from mlcycle.inference.detect import load_detector

    detector = load_detector(model, provider="cpu", threads=1)
    sample = paths[:: max(1, len(paths) // INPUTS)][:INPUTS]
    side = detector.contract.resize.long_side
    inputs = [letterbox.shrink(images.decode(images.read(path)).upright(), side)[0][None] for path in sample]
    return in_threads(lambda number: detector.session.run(inputs[number % len(inputs)]), range(len(paths)), threads)


def in_threads(work, items, threads: int) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass
    return time.perf_counter() - start


def run_mlcycle(model: str, data: str, cores: int) -> float:
    """Runs the command, and returns the seconds from its last line: "2,000 images, … 140.1 images per second"."""
    with tempfile.TemporaryDirectory() as scratch:
        words = ["infer", "dir", data, "--model", model, "--provider", "cpu", "--threads", str(cores)]
        done = subprocess.run(
            [sys.executable, "-m", "mlcycle", *words, "--out", f"{scratch}/out.jsonl"],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    closing = next(line for line in done.stderr.splitlines() if "images per second" in line)
    count = int(closing.split(" image")[0].replace(",", ""))
    return count / float(closing.split(" images per second")[0].split()[-1].replace(",", ""))


def measure_one(arguments: argparse.Namespace) -> None:
    """Runs one measurement in this process, and prints seconds and the number of images."""
    paths = sorted(path for path in Path(arguments.data).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    measures = {
        "plain": lambda: plain(arguments.model, paths, arguments.threads),
        "decoding": lambda: decoding(arguments.model, paths, arguments.threads, reduced=False),
        "reduced": lambda: decoding(arguments.model, paths, arguments.threads, reduced=True),
        "network": lambda: network(arguments.model, paths, arguments.threads),
    }
    print(measures[arguments.only](), len(paths))


def run_alone(arguments: argparse.Namespace, only: str, threads: int) -> tuple[float, int]:
    words = [
        sys.executable,
        __file__,
        arguments.model,
        "--data",
        arguments.data,
        "--only",
        only,
        "--threads",
        str(threads),
    ]
    printed = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return float(printed[0]), int(printed[1])


def bind(cores: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def measure(arguments: argparse.Namespace, cores: int) -> dict[str, float]:
    """Returns images per second of each program and bound, from one round."""
    rates = {}
    for only, threads in (
        ("plain", cores), ("decoding", 1), ("decoding", cores), ("reduced", 1), ("reduced", cores),
        ("network", 1), ("network", cores),
    ):  # fmt: skip
        if f"{only} {threads}" not in rates:
            seconds, count = run_alone(arguments, only, threads)
            rates[f"{only} {threads}"] = count / seconds
    rates["mlcycle"] = count / run_mlcycle(arguments.model, arguments.data, cores)
    decode = {threads: max(rates[f"decoding {threads}"], rates[f"reduced {threads}"]) for threads in (1, cores)}
    rates["bound, one thread each"] = min(decode[1], rates["network 1"])
    rates["bound, all cores each"] = min(decode[cores], rates[f"network {cores}"])
    rates["bound, both on all cores"] = 1 / (1 / decode[cores] + 1 / rates[f"network {cores}"])
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model file")
    parser.add_argument("--data", required=True, help="a folder of images")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        measure_one(arguments)
        return
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the plain loop would send onnxruntime's telemetry
    all_cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    for cores in arguments.cores:
        bind(cores)
        rounds = [measure(arguments, cores) for _ in range(arguments.rounds)]
        if all_cores:
            os.sched_setaffinity(0, all_cores)
        print(f"\n{cores} cores, {arguments.rounds} rounds         images per second    ratio of mlcycle to it")
        for name in rounds[0]:
            ratios = sorted(each["mlcycle"] / each[name] for each in rounds)
            rate = statistics.median(each[name] for each in rounds)
            print(f"{name:28} {rate:12.1f}      {statistics.median(ratios):6.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
