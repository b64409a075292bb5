"""A server of one worker under load, for lesson 5: `mlcycle serve` and `mlcycle bench --url`, on this machine only."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import mlcycle

LISTENING = re.compile(r"(http://127\.0\.0\.1:\d+) ")


@dataclass(frozen=True)
class Load:
    """What a server did at a load.

    Attributes:
        share: the rate of the requests, as a share of the server's capacity.
        rate: requests per second.
        p50, p99: of the latency of the requests that were completed, in milliseconds.
        rejected: share of the requests that the server answered with "no capacity" at once.
    """

    share: float
    rate: float
    p50: float
    p99: float
    rejected: float


@contextmanager
def server(queue: int = 16) -> Iterator[str]:
    """Starts a server of `face-nano` with one worker, at a free port of this machine; yields its URL, and stops it."""
    words = ["serve", "face-nano", "--port", "0", "--workers", "1", "--queue", str(queue), "--drain", "0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlcycle", *words], stderr=subprocess.PIPE, text=True, env=_environment()
    )
    assert process.stderr
    try:
        url = next((found[1] for line in process.stderr if (found := LISTENING.search(line))), None)
        if url is None:
            raise RuntimeError("the server did not start")
        Thread(target=process.stderr.read, daemon=True).start()  # what it says later must not fill the pipe
        yield url
    finally:
        process.terminate()
        process.wait()


def measure(url: str, images: Path, *words: str) -> dict[str, Any]:
    """Returns the document of `mlcycle bench --url URL --data IMAGES WORDS…`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bench.json"
        command = [sys.executable, "-m", "mlcycle", "-q", "bench", "--url", url, "--data", str(images), *words]
        subprocess.run([*command, "--out", str(out)], check=True, stdout=subprocess.DEVNULL, env=_environment())
        return json.loads(out.read_text("utf-8"))


def capacity(url: str, images: Path, seconds: float = 4) -> float:
    """Returns how many requests a second the server completes if it always has one to work on and one waiting."""
    document = measure(url, images, "--concurrency", "2", "--duration", str(seconds))
    return float(document["requests"]["completed_per_second"])


def loads(url: str, images: Path, most: float, shares: Sequence[float], seconds: float = 6) -> Iterator[Load]:
    """Sends requests at random times, at shares of the rate `most`, and yields what became of them."""
    for share in shares:
        rate = share * most
        words = ("--rate", f"{rate:.2f}", "--arrivals", "poisson", "--duration", str(seconds), "--warmup", "0.5")
        document = measure(url, images, *words)
        requests, latency = document["requests"], document["completed_ms"]
        sent = requests["completed"] + requests["rejected"]
        yield Load(share, rate, latency["p50"], latency["p99"], requests["rejected"] / max(1, sent))


def _environment() -> dict[str, str]:
    """The environment with this mlcycle first on PYTHONPATH."""
    here = str(Path(mlcycle.__file__).parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))}
