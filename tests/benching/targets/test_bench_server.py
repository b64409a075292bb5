"""`mlcycle bench --url` against a small real HTTP server."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
from small_server import Instead, SmallServer, running

from mlcycle.benching.bench_images import opened
from mlcycle.benching.targets import server as target
from mlcycle.benching.targets.connections import Connections, address_of
from mlcycle.errors import UsageError
from mlcycle.inference.detect import Detector, load_detector

SHORT = ("--duration", "0.3", "--warmup", "0")


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Detector:
    from tiny_model import write_tiny_model

    return load_detector(write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx"), threads=1)


@pytest.fixture
def images(tmp_path, astronaut) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(astronaut, folder / "one.jpg")
    return folder


@pytest.fixture
def bench(mlcycle, images, detector):
    """Runs `mlcycle bench --url` against a small server; returns the outcome, the document or None, and the server."""

    def invoke(*words: str | Path, token: str = "", instead: Instead = lambda number: None):
        with running(SmallServer(detector, token, instead)) as server:
            outcome = mlcycle("bench", "--url", server.url, "--data", images, *SHORT, *words, "--json")
        return outcome, json.loads(outcome.out) if outcome.out else None, server

    return invoke


def test_a_server_is_measured_with_its_own_stages(bench, detector):
    outcome, document, server = bench("--concurrency", "2")
    assert outcome.code == 0, outcome.err
    assert document["model"] == {"name": "tiny", "sha256": detector.sha256}
    settings = {"target": "server", "provider": "cpu", "threads": 1, "workers": 3, "concurrency": 2, "rate": None}
    assert document["settings"] | settings == document["settings"]
    assert list(document["stages_ms"]) == ["queue", "decode", "resize", "run", "select", "network"]
    assert document["stages_ms"]["queue"] == dict.fromkeys(("p50", "p90", "p95", "p99", "max"), 1.5)
    assert document["requests"]["completed"] == server.images
    assert document["machine"] | server.machine == document["machine"]
    assert document["requests"]["mean_pixels"] == 512 * 512
    assert (document["cold_start"], document["peak_memory_bytes"]) == (None, None)
    assert server.connections == 3  # of each worker, and of the description
    assert "127.0.0.1" not in outcome.out


def test_the_table_of_a_server_fits_80_columns(mlcycle, detector, images):
    with running(SmallServer(detector)) as server:
        words = ("--scenario", "server", "--rate", "30")
        outcome = mlcycle("bench", "--url", server.url, "--data", images, *SHORT, *words)
    assert outcome.code == 0, outcome.err
    text = " ".join(outcome.out.split())
    for words in (
        "1 thread, server with 3 workers",
        "0 failed, 0 rejected",
        "scenario server, open loop",
        "64 connections",
        "network",
    ):
        assert words in text
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_rejected_requests_are_counted_apart_and_slower_than_all_others(bench):
    outcome, document, _ = bench("--rate", "40", instead=lambda number: (503, b"") if number % 4 == 0 else None)
    requests = document["requests"]
    assert (requests["rejected"], requests["failed"], requests["completed"]) == (3, 0, 9)
    assert document["latency_ms"]["p50"] > 0
    assert (document["latency_ms"]["p90"], document["latency_ms"]["max"]) == (None, None)
    assert document["completed_ms"]["p50"] <= document["completed_ms"]["max"] < 10_000
    assert "the server rejected 3 requests" in outcome.err


@pytest.mark.parametrize(
    ("answer", "code", "is_slowest"),
    [
        ((500, b"oh"), "http-500", True),
        ((200, b"oh"), "not-a-record", True),
        ((0, b""), "connection", True),
        ((415, b'{"error": {"code": "damaged"}}'), "damaged", False),
        ((413, b""), "http-413", False),
    ],
)
def test_failures_have_a_code(answer, code, is_slowest, bench):
    outcome, document, _ = bench("--rate", "20", instead=lambda number: answer if number == 3 else None)
    assert outcome.code == 0, outcome.err
    assert document["requests"]["failed_by_code"] == {code: 1}
    assert (document["requests"]["completed"], document["requests"]["rejected"]) == (5, 0)
    assert (document["latency_ms"]["max"] is None) == is_slowest


def test_the_token_is_sent_and_not_recorded(bench, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    outcome, document, _ = bench("--token-file", token, token="s3cret")
    assert (outcome.code, document["requests"]["failed"]) == (0, 0)
    assert "s3cret" not in outcome.out + outcome.err
    token.write_text("another")
    outcome, _, server = bench("--token-file", token, token="s3cret")
    assert (outcome.code, server.images) == (2, 0)
    assert "the server requires another token" in outcome.err
    token.write_text("two words")
    outcome, _, server = bench("--token-file", token, token="s3cret")
    assert (outcome.code, server.images) == (3, 0)
    assert "does not contain one token" in outcome.err


def test_an_unreadable_image_fails_as_in_the_process(bench, images):
    (images / "broken.jpg").write_text("not an image\n")
    outcome, document, _ = bench("--rate", "20")
    assert (outcome.code, document["requests"]["failed_by_code"]) == (0, {"not-an-image": 3})
    assert document["latency_ms"]["max"] is not None
    (images / "one.jpg").unlink()
    outcome, _, _ = bench()
    assert (outcome.code, outcome.out) == (3, "")
    assert "none of 1 images was processed: not-an-image" in outcome.err


@pytest.mark.parametrize(
    ("description", "code", "words"),
    [
        ((503, b""), 6, "the server is not ready: it answered 503"),
        ((404, b"{}"), 2, "the server does not describe its model at /v1/model"),
        ((200, b'{"name": "tiny"}'), 2, "the server does not describe its model at /v1/model"),
    ],
)
def test_another_server_is_refused_before_an_image_is_sent(description, code, words, mlcycle, detector, images):
    with running(SmallServer(detector)) as server:
        server.description = description
        outcome = mlcycle("bench", "--url", server.url, "--data", images, *SHORT)
    assert (outcome.code, outcome.out, server.images) == (code, "", 0)
    assert words in outcome.err


def test_the_energy_of_another_machine_is_not_measured(mlcycle, detector, images):
    with running(SmallServer(detector)) as server:
        server.machine = {"cpu": "Abacus", "cores": 7, "system": "Linux wood"}  # behind a tunnel
        outcome = mlcycle("bench", "--url", server.url, "--data", images, *SHORT, "--json")
    document = json.loads(outcome.out)
    assert document["machine"] == {"cpu": "Abacus", "cores": 7, "system": "Linux wood", "load_average": None}
    assert document["energy"]["processors"]["note"] == "not measured: the server runs on another machine"


def test_without_a_server_the_exit_code_is_6(mlcycle, images):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        outcome = mlcycle("bench", "--url", url, "--data", images, *SHORT)
    assert (outcome.code, outcome.out) == (6, "")
    assert "no server answers at --url" in outcome.err


def test_the_work_of_a_request_is_all_the_time_of_its_worker(detector, images):
    with (
        running(SmallServer(detector)) as small,
        opened(images) as found,
        target.opened(address_of(small.url), None, found) as measured,
    ):
        outcome = measured.detect(0)
    work = sum(outcome.stages[stage] for stage in ("decode", "resize", "run", "select"))
    assert 0 < work <= outcome.work_ms - 0.5
    assert "worker" not in outcome.stages


def test_a_connection_that_the_server_closed_while_idle_is_opened_again(detector, images):
    with running(SmallServer(detector)) as first, opened(images) as found:
        connections = Connections(address_of(first.url))
        measured = target.Server(connections, "", found, is_loopback=True)
        assert measured.detect(0).error == ""
        assert first.connections == 1
        connections._own.connection.sock.shutdown(socket.SHUT_WR)  # the server closes what its client has closed
        assert connections._own.connection.sock.recv(1) == b""
        assert measured.detect(0).error == ""
        assert first.connections == 2
        connections.close()


@pytest.mark.parametrize(
    ("header", "stages"),
    [
        ("", {}),
        ("queue;dur=1.5, run;dur=20, worker;dur=21", {"queue": 1.5, "run": 20, "worker": 21}),
        ('run;desc="the model";dur="2.25",decode;dur=7', {"decode": 7, "run": 2.25}),
        ("run;dur=1, total;dur=9, miss, cdn;desc=x", {"run": 1}),
        ("run;dur=, decode;dur=x, resize;dur", {}),
    ],
)
def test_the_header_server_timing(header, stages):
    assert target.server_timing(header) == stages


def test_urls_of_servers():
    address = address_of("https://[::1]:8443/faces/")
    assert (address.scheme, address.host, address.port, address.path) == ("https", "::1", 8443, "/faces")
    loopback = {"http://localhost": True, "http://127.3.2.1:80": True, "http://[::1]": True, "http://10.0.0.1": False}
    assert {url: address_of(url).is_loopback for url in loopback} == loopback
    for url in (
        "",
        "localhost:8000",
        "ftp://a",
        "http://",
        "http://a:port",
        "http://u:p@a",
        "http://a?b",
        "http://a#b",
    ):
        with pytest.raises(UsageError, match="is not the URL of a server"):
            address_of(url)


def test_a_real_server_of_mlcycle_is_measured(mlcycle, images, request):
    pytest.importorskip("uvicorn")
    server = request.getfixturevalue("server")
    command = ("bench", "--url", server.url, "--data", images, "--warmup", "0", "--json")
    outcome = mlcycle(*command, "--duration", "0.5", "--concurrency", "8")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["model"]["name"] == "face-nano"
    assert document["settings"]["workers"] >= 1
    assert list(document["stages_ms"]) == ["queue", "decode", "resize", "run", "select", "network"]
    assert (document["requests"]["failed"], document["requests"]["rejected"]) == (0, 0)
    assert document["requests"]["completed"] >= 8
    assert len(document["service_ms"]) == document["requests"]["completed"]
    if document["settings"]["workers"] <= 4:  # images wait while others are in work
        assert document["stages_ms"]["queue"]["p50"] > min(document["service_ms"])
