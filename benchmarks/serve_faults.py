"""What `mlcycle serve` does under more load than it can bear, for a long time, and while its model file changes.

    python benchmarks/serve_faults.py overload [--times 3] [--seconds 300]
    python benchmarks/serve_faults.py soak [--requests 100000]
    python benchmarks/serve_faults.py reloads [--count 100]
    python benchmarks/serve_faults.py stops [--count 50]

Needs mlcycle[serve,sign,demo] and onnx, and Linux (memory is read from /proc).

- overload: the capacity is measured with 8 clients; then requests arrive at so many times this rate, at exponential
  distances, whatever happens to the earlier ones.
- soak: 16 clients, images of three sizes; the memory is read every second.
- reloads: under the load of 4 clients the model file is replaced by a good, a damaged, an unsigned and one whose
  self-test fails, in turn; after each, the digest in service must be the expected one.
- stops: under the load of 8 clients the server is stopped by SIGTERM, and started anew.

Each answer with status 200 must have the boxes of the model file in its own `model.sha256`. The exit code is 1 if an
accepted request was lost or answered wrongly, or if an answer has the status 500.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import skimage.data
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "serving"))
from live_server import LiveServer, serving

from mlcycle.artifact.bundled import locate
from mlcycle.artifact.seal import SEAL_LENGTH

PORTRAIT = Image.fromarray(skimage.data.astronaut())
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 60.0


def jpeg(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    PORTRAIT.resize((width, width)).crop((0, 0, width, height)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def resident_bytes(process: int) -> int:
    pages = Path(f"/proc/{process}/statm").read_text("ascii").split()[1]
    return int(pages) * 4096


class Tally:
    """What became of the requests.

    Attributes:
        statuses: of the answers.
        lost: requests whose connection ended after they were sent, without an answer.
        refused: requests that no server has taken.
        wrong: answers with other boxes than `infer` gives.
        accepted: seconds of the answers with status 200.
    """

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.lost = self.refused = self.wrong = 0
        self.accepted: list[float] = []
        self._boxes: dict[tuple[str, int], str] = {}

    def add(self, status: int, body: bytes, image: int, seconds: float) -> None:
        self.statuses[status] += 1
        if status != 200:
            return
        self.accepted.append(seconds)
        record = json.loads(body)
        faces = json.dumps(record["faces"])
        known = self._boxes.setdefault((record["model"]["sha256"], image), faces)
        self.wrong += faces != known or not record["faces"]

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.wrong or self.statuses[500])

    def line(self) -> str:
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.statuses.items()))
        return f"answers {statuses}; lost {self.lost}, wrong {self.wrong}, not taken {self.refused}"


class Client:
    """A connection that is kept alive, and opened again when the server closes it."""

    def __init__(self, server: LiveServer, images: list[bytes]) -> None:
        self._server, self._heads = server, []
        for data in images:
            head = f"POST /v1/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n\r\n"
            self._heads.append(head.encode() + data)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, image: int, tally: Tally, since: float | None = None) -> bool:
        """Sends an image and counts what becomes of it; returns whether a server took it."""
        started = time.perf_counter() if since is None else since
        fresh = self._writer is None
        try:
            if self._writer is None:
                opening = asyncio.open_connection(self._server.host, self._server.port, limit=1 << 20)
                self._reader, self._writer = await asyncio.wait_for(opening, CONNECT_SECONDS)
            self._writer.write(self._heads[image])
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._writer.drain()
                status, body, closes = await self._answer()
        except (ConnectionError, OSError, TimeoutError, asyncio.IncompleteReadError) as problem:
            self.close()
            # A connection that is closed between two requests has taken none: HTTP lets a client send it again.
            is_taken = isinstance(problem, asyncio.IncompleteReadError) and bool(problem.partial)
            if is_taken or isinstance(problem, TimeoutError):
                tally.lost += 1
            elif not fresh:
                return await self.send(image, tally, started)
            else:
                tally.refused += 1
            return is_taken
        tally.add(status, body, image, time.perf_counter() - started)
        if closes:
            self.close()
        return True

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    async def _answer(self) -> tuple[int, bytes, bool]:
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r")[0])
        return int(head[9:12]), await self._reader.readexactly(length), "connection: close" in head


async def closed_loop(
    server: LiveServer, images: list[bytes], clients: int, tally: Tally, until: asyncio.Event, requests: int = 1 << 60
) -> None:
    """Sends one image after another from each client, until the event is set or so many have been sent."""
    left = iter(range(requests))

    async def one() -> None:
        client = Client(server, images)
        while not until.is_set() and (number := next(left, None)) is not None:
            if not await client.send(number % len(images), tally):
                await asyncio.sleep(0.02)
        client.close()

    await asyncio.gather(*(one() for _ in range(clients)))


async def for_seconds(server: LiveServer, images: list[bytes], clients: int, seconds: float) -> Tally:
    tally, until = Tally(), asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, until.set)
    await closed_loop(server, images, clients, tally, until)
    return tally


async def open_loop(server: LiveServer, image: bytes, rate: float, seconds: float, memory: list[int]) -> Tally:
    """Sends images at exponential distances, each over a free connection, or a new one."""
    tally, free, chance = Tally(), [], random.Random(1)
    running: set[asyncio.Task[None]] = set()
    start = due = time.perf_counter()

    async def one(due: float) -> None:
        client = free.pop() if free else Client(server, [image])
        await client.send(0, tally, due)
        free.append(client)

    while due < start + seconds:
        due += chance.expovariate(rate)
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        task = asyncio.create_task(one(due))
        running.add(task)
        task.add_done_callback(running.discard)
        if len(memory) < time.perf_counter() - start:
            memory.append(resident_bytes(server.process.pid))
    await asyncio.gather(*running)
    return tally


def spread(memory: list[int]) -> str:
    """Returns the memory after the first tenth of the time, in MB, and how far it went from its median."""
    later = memory[len(memory) // 10 :]
    middle = statistics.median(later)
    low, high = min(later) / middle - 1, max(later) / middle - 1
    first, last = statistics.median(later[: len(later) // 4]), statistics.median(later[-len(later) // 4 :])
    return f"memory {middle / 1e6:.0f} MB ({low:+.1%} to {high:+.1%}; last quarter to first {last / first - 1:+.1%})"


def overload(options: argparse.Namespace) -> bool:
    image, memory = jpeg(1024, 768), []
    with serving("--deadline", str(options.deadline)) as server:
        asyncio.run(for_seconds(server, [image], 8, 3))
        capacity = len(asyncio.run(for_seconds(server, [image], 8, 6)).accepted) / 6
        rate = options.times * capacity
        print(f"capacity {capacity:.0f} images/s; {rate:.0f} requests/s for {options.seconds:g} s")
        tally = asyncio.run(open_loop(server, image, rate, options.seconds, memory))
    times = sorted(tally.accepted)
    p50, p99 = times[len(times) // 2], times[int(0.99 * len(times))]
    print(tally.line())
    rate = len(times) / options.seconds
    print(f"accepted: {rate:.0f} images/s, p50 {p50:.2f} s, p99 {p99:.2f} s, most {times[-1]:.2f} s")
    print(spread(memory))
    return tally.is_good and p99 <= options.deadline


def soak(options: argparse.Namespace) -> bool:
    images, memory = [jpeg(320, 240), jpeg(200, 200), jpeg(480, 400)], []

    async def run(server: LiveServer) -> Tally:
        tally = Tally()
        loading = asyncio.create_task(closed_loop(server, images, 16, tally, asyncio.Event(), options.requests))
        while not loading.done():
            await asyncio.wait([loading], timeout=1)
            memory.append(resident_bytes(server.process.pid))
        return tally

    with serving() as server:
        tally = asyncio.run(run(server))
    print(tally.line())
    print(spread(memory))
    return tally.is_good


def reloads(options: argparse.Namespace) -> bool:
    from mlcycle.artifact.seal import read_sealed
    from mlcycle.artifact.signing import keys, signature

    image, outcomes = jpeg(480, 480), Counter[str]()
    key = keys.generate("ed25519")
    good = [locate(name).read_bytes() for name in ("face-nano", "face-base")]

    def put(path: Path, data: bytes, *, signed: bool = True) -> None:
        draft = path.parent / "draft" / path.name  # a signature names its file
        draft.parent.mkdir(exist_ok=True)
        draft.write_bytes(data)
        if signed:
            signature.sign_file(read_sealed(draft), key, Path(f"{path}.sig"), overwrite=True)
        draft.replace(path)

    async def run(server: LiveServer, path: Path) -> Tally:
        tally, until = Tally(), asyncio.Event()
        loading = asyncio.create_task(closed_loop(server, [image], 4, tally, until))
        serves = 0
        digests = [hashlib.sha256(data).hexdigest() for data in good]
        for number in range(options.count):
            before = await looks_at_files(server)
            kind = ("good", "damaged", "unsigned", "self-test fails")[number % 4]
            other = good[1 - serves]
            if kind == "good":
                await asyncio.to_thread(put, path, other)
                serves = 1 - serves
            elif kind == "damaged":
                await asyncio.to_thread(
                    put, path, other[: 1000 + number * 7] + b"x" + other[1001 + number * 7 :], signed=False
                )
            elif kind == "unsigned":
                await asyncio.to_thread(put, path, other, signed=False)
            else:
                await asyncio.to_thread(put, path, failing(other))
            server.process.send_signal(signal.SIGHUP)
            outcomes[await settled(server, before, digests[serves])] += 1
        until.set()
        await loading
        return tally

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.onnx"
        _, public = keys.write_pair(key, Path(name) / "key", b"benchmark")
        put(path, good[0])
        with serving(f"face={path}", "--require-signature", str(public)) as server:
            tally = asyncio.run(run(server, path))
            server.stop()
    print(tally.line())
    print(", ".join(f"{what}: {count}" for what, count in sorted(outcomes.items())))
    return tally.is_good and set(tally.statuses) == {200} and set(outcomes) == {"the expected file in service"}


async def looks_at_files(server: LiveServer) -> float:
    """Returns how often the server has tried to load its model file again."""
    text = (await asyncio.to_thread(server.request, "GET", "/metrics")).body.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("mlcycle_reloads{"))


async def settled(server: LiveServer, before: float, expected: str) -> str:
    """Waits until the server has looked at the file, and returns whether the right one is in service."""
    end = time.monotonic() + 20
    while await looks_at_files(server) <= before:
        if time.monotonic() > end:
            return "NOT LOOKED AT"
        await asyncio.sleep(0.02)
    model = (await asyncio.to_thread(server.request, "GET", "/v1/model")).json()
    return "the expected file in service" if model["sha256"] == expected else "ANOTHER FILE IN SERVICE"


def failing(data: bytes) -> bytes:
    """Returns a model file with a valid seal and other weights than its self-test expects."""
    import onnx

    tensors = onnx.load_model_from_string(data).graph.initializer
    weights = max((tensor.raw_data for tensor in tensors), key=len)
    body = data.replace(weights, weights[::-1], 1)[:-SEAL_LENGTH]
    return body + hashlib.sha256(body).hexdigest().encode()


def stops(options: argparse.Namespace) -> bool:
    image, total, codes = jpeg(480, 480), Tally(), Counter[int]()

    async def run(server: LiveServer) -> None:
        until = asyncio.Event()
        loading = asyncio.create_task(closed_loop(server, [image], 8, total, until))
        await asyncio.sleep(random.Random(len(total.accepted)).uniform(0.2, 1))
        server.process.send_signal(signal.SIGTERM)
        codes[await asyncio.to_thread(server.process.wait, 30)] += 1
        until.set()
        await loading

    for _ in range(options.count):
        with serving("--queue", "64") as server:
            asyncio.run(run(server))
    print(total.line())
    print(f"exit codes: {dict(codes)}")
    return total.is_good and set(codes) == {0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overload", "soak", "reloads", "stops"))
    parser.add_argument("--times", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--deadline", type=float, default=2.0)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--count", type=int, default=0)
    options = parser.parse_args()
    options.count = options.count or {"reloads": 100, "stops": 50}.get(options.what, 0)
    is_good = {"overload": overload, "soak": soak, "reloads": reloads, "stops": stops}[options.what](options)
    print("passed" if is_good else "FAILED")
    raise SystemExit(0 if is_good else 1)


if __name__ == "__main__":
    main()
