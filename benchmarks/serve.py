"""`mlcycle serve` under 1, 8 and 64 keep-alive clients, compared with `mlcycle infer dir` and with other servers.

    python benchmarks/serve.py [MODEL] [--image photo.jpg] [--others PYTHON] [--rounds 3] [--seconds 8]

Needs mlcycle[serve,demo] and the load generator `wrk`. PYTHON is an interpreter that has fastapi, uvicorn, litserve,
python-multipart, onnxruntime and pillow, for serve_fastapi.py and serve_litserve.py; without it they are left out.

Each round measures, in turn, on one image (by default the astronaut of scikit-image at 1024 x 768):

- mlcycle infer dir: a folder of copies of the image, from the first to the last, with the results written;
- in process: one call after another of the detector with one thread, for the latency that serving adds;
- each server, started anew, with each number of clients that send the image as soon as they have their last answer.

It prints images per second, p50 and p99 of the latency, and for each number of clients the ratio to `infer dir` of the
same round: median, least and largest. Every server must have found the same number of faces as `infer`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

COPIES = 600
WARMUP = "2s"


@dataclass(frozen=True)
class Load:
    """What wrk measured: images per second, milliseconds, and answers other than 200."""

    rate: float
    p50: float
    p99: float
    failed: int


@dataclass(frozen=True)
class Server:
    """How to start a server (its command lacks the port) and what to ask of it."""

    command: list[str]
    path: str
    ready: str
    content_type: str = "image/jpeg"

    def body(self, image: Path) -> bytes:
        data = image.read_bytes()
        if self.content_type == "image/jpeg":
            return data
        head = '--line\r\nContent-Disposition: form-data; name="image"; filename="image.jpg"\r\n\r\n'
        return head.encode() + data + b"\r\n--line--\r\n"


def default_image(folder: Path) -> Path:
    import skimage.data
    from PIL import Image

    path = folder / "astronaut.jpg"
    Image.fromarray(skimage.data.astronaut()).resize((1024, 1024)).crop((0, 0, 1024, 768)).save(path, quality=90)
    return path


def infer_dir(model: str, image: Path, folder: Path) -> float:
    """Returns the images per second of `mlcycle infer dir`."""
    many = folder / "many"
    if not many.exists():
        many.mkdir()
        for number in range(COPIES):
            os.link(image, many / f"{number}.jpg")
    out = folder / f"run{time.monotonic_ns()}"
    command = [sys.executable, "-m", "mlcycle", "-q", "infer", "dir", str(many), "--model", model, "--out", str(out)]
    subprocess.run(command, check=True)
    last = json.loads((out / "summary.json").read_text())["last_part"]
    return last["images"] / last["seconds"]


def in_process(model: str, image: Path, seconds: float) -> float:
    """Returns the median milliseconds of a call, with one thread and nothing beside it."""
    code = """
import statistics, sys, time
from pathlib import Path
from mlcycle.artifact.bundled import locate
from mlcycle.inference.detect import load_detector
from mlcycle.inference.record import Source, json_line
detector, data = load_detector(locate(sys.argv[1]), threads=1), Path(sys.argv[2]).read_bytes()
times, end = [], time.perf_counter() + float(sys.argv[3])
while time.perf_counter() < end:
    start = time.perf_counter()
    json_line(detector.detect_batch([Source(Path("image"), "image", data=data)])[0])
    times.append(time.perf_counter() - start)
print(statistics.median(times) * 1000)
"""
    command = [sys.executable, "-c", code, model, str(image), str(seconds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def running(command: list[str], port: int, ready: str) -> Iterator[str]:
    """Starts a server and yields its address when it answers; ends it after the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(address + ready, timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            raise SystemExit(f"error: {command[0]} did not start")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        # What it started may outlive it, and would take a core from the next measurement.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wrk(address: str, server: Server, image: Path, clients: int, seconds: float, folder: Path) -> Load:
    script, body, url = folder / "post.lua", folder / "body", address + server.path
    body.write_bytes(server.body(image))
    script.write_text(
        f'local f = io.open("{body}", "rb"); wrk.body = f:read("*a"); f:close()\n'
        f'wrk.method = "POST"; wrk.headers["Content-Type"] = "{server.content_type}"\n'
    )
    command = ["wrk", "-t1", f"-c{clients}", "--latency", "--timeout", "30s", "-s", str(script), url]
    subprocess.run([*command[:3], f"-d{WARMUP}", *command[3:]], check=True, capture_output=True)
    done = subprocess.run([*command[:3], f"-d{seconds:g}s", *command[3:]], check=True, capture_output=True, text=True)
    text = done.stdout
    bad = sum(int(each) for each in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    bad += sum(int(each) for line in re.findall(r"Socket errors: (.*)", text) for each in re.findall(r"\d+", line))
    found = re.search(r"Requests/sec: +([\d.]+)", text)
    assert found is not None
    return Load(float(found[1]), milliseconds(text, "50%"), milliseconds(text, "99%"), bad)


def milliseconds(text: str, share: str) -> float:
    found = re.search(rf"{re.escape(share)} +([\d.]+)(us|ms|s)\b", text)
    assert found is not None
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def servers(model: str, others: str | None, clients: int) -> dict[str, Server]:
    own = [sys.executable, "-m", "mlcycle", "serve", model, "--queue", str(max(64, clients)), "--port"]
    known = {"mlcycle": Server(own, "/v1/detect", "/v2/health/ready")}
    if others:
        scripts = {name: str(Path(__file__).with_name(f"serve_{name}.py")) for name in ("fastapi", "litserve")}
        path = model_path(model)
        form = "multipart/form-data; boundary=line"
        known["fastapi"] = Server([others, scripts["fastapi"], path], "/detect", "/health")
        known["litserve"] = Server([others, scripts["litserve"], path], "/predict", "/health", form)
    return known


def model_path(model: str) -> str:
    from mlcycle.artifact.bundled import locate

    return str(locate(model))


def faces(address: str, server: Server, image: Path) -> int:
    headers = {"content-type": server.content_type}
    request = urllib.request.Request(address + server.path, server.body(image), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return len(json.load(answer)["faces"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="face-nano")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--others", metavar="PYTHON")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("error: wrk is not installed\nhint: apt install wrk")
    loads: dict[tuple[str, int], list[Load]] = {}
    ratios: dict[tuple[str, int], list[float]] = {}
    batch, alone = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = options.image.resolve() if options.image else default_image(folder)
        for _ in range(options.rounds):
            batch.append(infer_dir(options.model, image, folder))
            alone.append(in_process(options.model, image, options.seconds / 2))
            for server, how in servers(options.model, options.others, max(options.clients)).items():
                port = free_port()
                with running([*how.command, str(port)], port, how.ready) as address:
                    found = faces(address, how, image)
                    for clients in options.clients:
                        load = wrk(address, how, image, clients, options.seconds, folder)
                        loads.setdefault((server, clients), []).append(load)
                        ratios.setdefault((server, clients), []).append(load.rate / batch[-1])
                print(f"{server}: {found} faces", file=sys.stderr)
    report(batch, alone, loads, ratios)


def report(
    batch: list[float],
    alone: list[float],
    loads: dict[tuple[str, int], list[Load]],
    ratios: dict[tuple[str, int], list[float]],
) -> None:
    print(f"mlcycle infer dir  {statistics.median(batch):.1f} images/s")
    print(f"in process         p50 {statistics.median(alone):.2f} ms")
    print(f"{'server':<10}{'clients':>8}{'images/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'failed':>8}   of infer dir")
    for (server, clients), own in loads.items():
        rate, p50, p99 = (statistics.median(getattr(each, key) for each in own) for key in ("rate", "p50", "p99"))
        share = ratios[server, clients]
        spread = f"{statistics.median(share):.2f} ({min(share):.2f} to {max(share):.2f})"
        failed = sum(each.failed for each in own)
        print(f"{server:<10}{clients:>8}{rate:>10.1f}{p50:>9.2f}{p99:>9.2f}{failed:>8}   {spread}")
    added = [
        load.p50 - base
        for (server, clients), own in loads.items()
        if (server, clients) == ("mlcycle", 1)
        for load, base in zip(own, alone, strict=True)
    ]
    if added:
        print(f"mlcycle adds {statistics.median(added):.2f} ms to the p50 of one client")


if __name__ == "__main__":
    main()
