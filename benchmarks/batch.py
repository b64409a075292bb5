"""`mlcycle infer dir` over a folder, beside a plain loop and beside what no program on these cores could beat.

    python benchmarks/batch.py MODEL --data DIR [--cores 1 2] [--rounds 3]

Needs mlcycle installed, nothing else. Each round runs, on as many cores as are named (Linux: the process is bound to
them), each as a process of its own and timed inside from the first image to the last, start and model left out:

- mlcycle: what `mlcycle infer dir DIR --out FILE.jsonl` does, results written, as its closing line has the time;
- plain loop: Pillow and onnxruntime as one would write them down, told of as many threads as there are cores: by itself
  onnxruntime takes all of the machine's, whatever the process is bound to;
- decoding alone: the files read and decoded, by one thread and by one for each core;
- the same at the reduced scale that the model's contract allows, if it does;
- network alone: the graph on inputs that lie in memory, by one thread and by one for each core.

Printed are images a second, and mlcycle's share of each bound, round by round: median, least and most.
The first bound is the slower of decoding and network, each by a thread of its own: what stages that overlap reach on
two cores, if each is one thread. The second is the slower of both, each with all cores: no program reaches it, as both
have to be done. The third is the sum of both on all cores: what is left when nothing but them takes time.
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

INPUTS = 200  # images that lie in memory for the network alone; it sees them again and again


def plain(model: str, paths: list[Path], threads: int) -> float:
    import numpy as np
    import onnxruntime
    from PIL import Image, ImageOps

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    contract = json.loads(session.get_modelmeta().custom_metadata_map["mlcycle.contract"])
    begun = time.perf_counter()
    results = []
    for path in paths:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        scale = min(1, contract["resize"]["long_side"] / max(image.size))
        small = image.resize([max(1, int(side * scale + 0.5)) for side in image.size], Image.Resampling.BILINEAR)
        boxes, scores = session.run(["boxes", "scores"], {"images": np.asarray(small)[None]})
        results.append(boxes[0][scores[0] >= contract["thresholds"]["balanced"]] / scale)
    return time.perf_counter() - begun


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
    some = paths[:: max(1, len(paths) // INPUTS)][:INPUTS]
    side = detector.contract.resize.long_side
    inputs = [letterbox.shrink(images.decode(images.read(path)).upright(), side)[0][None] for path in some]
    return in_threads(lambda number: detector.session.run(inputs[number % len(inputs)]), range(len(paths)), threads)


def in_threads(work, things, threads: int) -> float:
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, things):
            pass
    return time.perf_counter() - begun


def ours(model: str, data: str, cores: int) -> float:
    """Runs the command, and takes the time from its closing line: "2,000 images, … 140.1 images a second"."""
    with tempfile.TemporaryDirectory() as scratch:
        words = ["infer", "dir", data, "--model", model, "--provider", "cpu", "--threads", str(cores)]
        done = subprocess.run(
            [sys.executable, "-m", "mlcycle", *words, "--out", f"{scratch}/out.jsonl"],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    closing = next(line for line in done.stderr.splitlines() if "images a second" in line)
    count = int(closing.split(" image")[0].replace(",", ""))
    return count / float(closing.split(" images a second")[0].split()[-1].replace(",", ""))


def say(chosen: argparse.Namespace) -> None:
    """Measures one thing in this process, and prints seconds and how many images it was."""
    paths = sorted(path for path in Path(chosen.data).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    measures = {
        "plain": lambda: plain(chosen.model, paths, chosen.threads),
        "decoding": lambda: decoding(chosen.model, paths, chosen.threads, reduced=False),
        "reduced": lambda: decoding(chosen.model, paths, chosen.threads, reduced=True),
        "network": lambda: network(chosen.model, paths, chosen.threads),
    }
    print(measures[chosen.only](), len(paths))


def asked(chosen: argparse.Namespace, only: str, threads: int) -> tuple[float, int]:
    words = [sys.executable, __file__, chosen.model, "--data", chosen.data, "--only", only, "--threads", str(threads)]
    said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return float(said[0]), int(said[1])


def bind(cores: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def measure(chosen: argparse.Namespace, cores: int) -> dict[str, float]:
    """Returns images a second of each, from one round."""
    rates = {}
    for only, threads in (
        ("plain", cores), ("decoding", 1), ("decoding", cores), ("reduced", 1), ("reduced", cores),
        ("network", 1), ("network", cores),
    ):  # fmt: skip
        if f"{only} {threads}" not in rates:
            seconds, count = asked(chosen, only, threads)
            rates[f"{only} {threads}"] = count / seconds
    rates["mlcycle"] = count / ours(chosen.model, chosen.data, cores)
    decode = {threads: max(rates[f"decoding {threads}"], rates[f"reduced {threads}"]) for threads in (1, cores)}
    rates["bound, a thread each"] = min(decode[1], rates["network 1"])
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
    chosen = parser.parse_args()
    if chosen.only:
        say(chosen)
        return
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the plain loop would tell onnxruntime's makers of each start
    everywhere = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    for cores in chosen.cores:
        bind(cores)
        rounds = [measure(chosen, cores) for _ in range(chosen.rounds)]
        if everywhere:
            os.sched_setaffinity(0, everywhere)
        print(f"\n{cores} cores, {chosen.rounds} rounds         images a second    mlcycle's, as a ratio to it")
        for name in rounds[0]:
            ratios = sorted(each["mlcycle"] / each[name] for each in rounds)
            rate = statistics.median(each[name] for each in rounds)
            print(f"{name:28} {rate:12.1f}      {statistics.median(ratios):6.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
