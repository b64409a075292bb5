"""A thousand broken or hostile requests among good ones, from several clients at once."""

from __future__ import annotations

import http.client
import json
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Thread

import numpy as np
import pytest
from conftest import environment
from hostile_requests import (
    BOUNDARY,
    BROKEN_HTTP,
    Hostile,
    hostile_multiparts,
    hostile_tensors,
    part,
    with_binary,
)
from live_server import LiveServer, resident_bytes, serving
from odd_files import encoded, encoded_images, mutants
from PIL import Image
from raw_client import RawClient, post

from mlcycle.inference.detect import DetectOptions, Detector, load_detector
from mlcycle.inference.models import find_model
from mlcycle.inference.record import Record, Source
from mlcycle.serving.problems import unreadable
from mlcycle.serving.settings import MAX_PIXELS

CLIENTS = 8
MEBIBYTE = 1 << 20


class Crowd:
    """Clients that send hostile requests and, after each of them, a good one."""

    def __init__(self, server: LiveServer, photo: bytes, faces: list[dict[str, object]]) -> None:
        self._server, self._photo, self._faces = server, photo, faces
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()

    def send(self, tasks: list[Callable[[http.client.HTTPConnection], None]]) -> None:
        """Does tasks in several threads; `wrong` has what was answered otherwise than it must be."""
        threads = [Thread(target=self._run, args=(tasks[number::CLIENTS],)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def hostile(self, each: Hostile, faces: list[dict[str, object]] | None = None) -> Callable[..., None]:
        """Returns a task: the request gets its status, and these faces if it is answered with a record."""

        def task(connection: http.client.HTTPConnection) -> None:
            status, body = self._exchange(connection, each.path, each.body, each.headers)
            self.counts[str(status)] += 1
            if status != each.status or (faces is not None and json.loads(body)["faces"] != faces):
                self.wrong.append(f"{each.name}: {status} for {each.status}, {body[:200]!r}")

        return task

    def broken(self, data: bytes) -> Callable[..., None]:
        """Returns a task: what is not HTTP gets 400, and its connection is closed."""

        def task(_: http.client.HTTPConnection) -> None:
            with RawClient(self._server) as client:
                reply = client.send(data).reply()
                self.counts[str(reply.status)] += 1
                if reply.status != 400 or not client.is_closed():
                    self.wrong.append(f"{data[:100]!r}: {reply.status}")

        return task

    def truncated(self, data: bytes) -> Callable[..., None]:
        """Returns a task: a client that leaves within its request."""

        def task(_: http.client.HTTPConnection) -> None:
            RawClient(self._server).send(data).close()
            self.counts["left"] += 1

        return task

    def _run(self, tasks: list[Callable[[http.client.HTTPConnection], None]]) -> None:
        connection = http.client.HTTPConnection(self._server.host, self._server.port, timeout=60)
        for task in tasks:
            try:
                task(connection)
                status, body = self._exchange(connection, "/v1/detect", self._photo, {})
                if status != 200 or json.loads(body)["faces"] != self._faces:
                    self.wrong.append(f"a good one: {status} {body[:200]!r}")
                self.counts["good"] += 1
            except Exception as problem:
                self.wrong.append(f"{task.__qualname__}: {problem!r}")
                connection.close()
        connection.close()

    def _exchange(
        self, connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


def image_requests(detector: Detector, scene_HW3: np.ndarray, count: int) -> list[tuple[Hostile, object]]:
    """Returns damaged images, sent in four ways, with what `mlcycle infer` makes of them."""
    found: list[tuple[Hostile, object]] = []
    for number, (name, data) in enumerate(mutants(encoded_images(scene_HW3), count, "served")):
        record = detector.detect_batch([Source(Path(name), "image", data=data)], DetectOptions(max_pixels=MAX_PIXELS))[
            0
        ]
        status = unreadable(*record.error).status if record.error else 200
        if number % 4 == 0:
            element = struct.pack("<I", len(data)) + data
            document = {"inputs": [{"name": "encoded_images", "datatype": "BYTES", "shape": [1]}]}
            found.append((with_binary(name, document, element, status), None))
        elif number % 4 == 1:
            body = part(data) + part(b"nothing") + f"--{BOUNDARY}--".encode()
            headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
            found.append((Hostile(name, "/v1/detect", body, 200, headers), None))
        elif number % 4 == 2 and redactable(record):
            found.append((Hostile(name, "/v1/redact", data, 200), None))
        else:
            found.append((Hostile(name, "/v1/detect", data, status), None if record.error else record.faces()))
    return found


def redactable(record: Record) -> bool:
    return not record.error and not record.flaw


def written_bytes(server: LiveServer) -> int:
    lines = Path(f"/proc/{server.process.pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.slow
def test_a_thousand_hostile_requests_among_good_ones(astronaut: Path, tmp_path: Path) -> None:
    """Each gets its own answer, all good ones are answered, memory stays flat, and no file is written."""
    photo = astronaut.read_bytes()
    scene_HW3 = np.asarray(Image.open(astronaut).crop((128, 0, 320, 192)))
    detector = load_detector(find_model()[0], threads=1)
    small = encoded(Image.new("RGB", (30, 40)), "JPEG")
    folders = {name: str(tmp_path / name) for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME")}
    for folder in (*folders.values(), "current"):
        (tmp_path / folder).mkdir()
    changes = {**folders, "PYTHONDONTWRITEBYTECODE": "1"}
    with serving("--private", env=environment(changes), cwd=tmp_path / "current") as live:
        written = written_bytes(live)
        crowd = Crowd(live, photo, detector.detect_file(astronaut).faces())
        whole = post("/v1/detect", photo)
        tasks = [crowd.hostile(*each) for each in image_requests(detector, scene_HW3, 600)]
        tasks += [crowd.hostile(each) for each in (*hostile_tensors(small), *hostile_multiparts(small))]
        tasks += [crowd.broken(each) for each in BROKEN_HTTP]
        tasks += [crowd.truncated(whole[: len(whole) * number // 150]) for number in range(1, 150)]
        assert len(tasks) >= 1000
        largest = [crowd.hostile(each) for each in hostile_tensors(small) if len(each.body) > MEBIBYTE]
        crowd.send(largest * 2 * CLIENTS)
        resident: list[int] = []
        for turn in range(4):  # the first two find out what several of the largest need at once
            Random(turn).shuffle(tasks)
            crowd.send(tasks)
            assert not crowd.wrong[:10]
            resident.append(resident_bytes(live))
        assert crowd.counts["good"] >= 4 * len(tasks)
        assert not [status for status in crowd.counts if status.startswith("5")]
        assert resident[3] < 1.1 * resident[1], [each // MEBIBYTE for each in resident]
        assert live.lines[2:] == []
        assert written_bytes(live) == written
        assert live.stop() == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
