"""A server is ready only with a verified model, swaps a changed one without a gap, and answers what it has accepted."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest
from conftest import Outcome
from live_server import LiveServer, serving

from mlcycle.artifact.bundled import locate


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(f"{path.name}.draft")
    draft.write_bytes(data)
    draft.replace(path)


def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def _digest(server: LiveServer) -> str:
    return server.request("GET", "/v1/model").json()["sha256"]


def _metric(server: LiveServer, start: str) -> float:
    lines = server.request("GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


class Clients:
    """Clients that send one image after another over connections that are kept alive."""

    def __init__(self, server: LiveServer, image: bytes, count: int) -> None:
        self.statuses: list[int] = []
        self.lost: list[str] = []
        self.ended = Event()
        self._server, self._image = server, image
        self._threads = [Thread(target=self._send) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.ended.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        connection = http.client.HTTPConnection(self._server.host, self._server.port, timeout=30)
        is_accepted = False
        while not self.ended.is_set():
            try:
                connection.request("POST", "/v1/detect", self._image)
                response = connection.getresponse()
                response.read()
            except Exception as problem:
                # The system resets connections that it has queued and that the server has not accepted.
                if is_accepted:
                    self.lost.append(repr(problem))
                return
            self.statuses.append(response.status)
            is_accepted = response.headers.get("connection") != "close"
            if not is_accepted:
                connection.close()


@pytest.fixture
def photo(astronaut: Path) -> bytes:
    return astronaut.read_bytes()


@pytest.mark.slow
def test_a_changed_model_is_swapped_in_and_a_damaged_one_refused(photo: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    nano, base = locate("face-nano").read_bytes(), locate("face-base").read_bytes()
    path.write_bytes(nano)
    with serving(f"face={path}") as server:
        first = _digest(server)
        clients = Clients(server, photo, 2)
        _replace(path, base)
        _until(lambda: _digest(server) != first)
        second = _digest(server)
        _replace(path, base[:-1000] + bytes(1000))
        _until(lambda: _metric(server, 'mlcycle_reloads{model="face",outcome="refused"}') == 1)
        assert _digest(server) == second
        assert server.request("GET", "/v2/health/ready").status == 200
        path.unlink()
        server.process.send_signal(signal.SIGHUP)
        _until(lambda: _metric(server, 'mlcycle_reloads{model="face",outcome="refused"}') >= 2)
        assert _digest(server) == second
        clients.stop()
        assert (set(clients.statuses), clients.lost) == ({200}, [])
        server.stop()
    assert any("refused" in line for line in server.lines)
    assert any("loaded" in line for line in server.lines)


def test_sigterm_answers_what_was_accepted(photo: bytes) -> None:
    with serving("--queue", "1000", "--drain", "0.3") as server:
        clients = Clients(server, photo, 8)
        _until(lambda: len(clients.statuses) > 5)
        server.process.send_signal(signal.SIGTERM)
        _until(lambda: server.request("GET", "/v2/health/ready").status == 503)
        assert server.process.wait(20) == 0
        clients.stop()
    assert (set(clients.statuses), clients.lost) == ({200}, [])


@pytest.mark.parametrize("change", ["damaged", "missing", "unsigned"])
def test_no_server_starts_with_a_model_that_is_refused(
    change: str, mlcycle: Callable[..., Outcome], tmp_path: Path
) -> None:
    path, arguments = tmp_path / "model.onnx", ["--port", "0"]
    if change != "missing":
        shutil.copy(locate("face-nano"), path)
    if change == "damaged":
        os.truncate(path, path.stat().st_size - 10)
    if change == "unsigned":
        arguments += ["--require-signature", str(locate("face-nano").with_name("models.pub"))]
    assert mlcycle("serve", path, *arguments).code == 4


def test_a_port_in_use_is_refused(server: LiveServer, mlcycle: Callable[..., Outcome]) -> None:
    outcome = mlcycle("serve", "--port", str(server.port))
    assert outcome.code == 3
    assert "--port 0" in outcome.err


def test_beyond_the_capacity_requests_are_rejected_at_once(photo: bytes) -> None:
    with serving("--workers", "1", "--queue", "2") as server:
        clients = Clients(server, photo, 12)
        _until(lambda: len(clients.statuses) > 200)
        clients.stop()
        assert set(clients.statuses) == {200, 503}
        assert clients.lost == []
        rejected = _metric(server, 'nv_inference_request_failure{model="face-nano",reason="overloaded"')
        assert rejected == clients.statuses.count(503)
        assert _metric(server, "nv_inference_request_success") == clients.statuses.count(200)
