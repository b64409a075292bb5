"""Replicas and nodes of a real Ray Serve are killed under load: every request is answered, and rightly."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest
from conftest import environment
from live_server import LiveServer, serving
from retrying_load import Load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc"),
]

REQUESTS, CLIENTS = 300, 4


@pytest.fixture(autouse=True)
def ray_serve() -> None:
    pytest.importorskip("ray.serve")


@pytest.fixture
def expected(astronaut: Path) -> Any:
    """The faces that `mlcycle infer` finds."""
    command = [sys.executable, "-m", "mlcycle", "infer", str(astronaut), "--format", "json"]
    done = subprocess.run(command, capture_output=True, check=True, env=environment())
    return json.loads(done.stdout)["records"][0]["faces"]


def family(ancestor: int) -> dict[int, bytes]:
    """Returns a process and its descendants with their command lines."""
    parents, lines = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
    found = {ancestor}
    for _ in range(8):
        found |= {child for child, parent in parents.items() if parent in found}
    return {each: lines[each] for each in found if lines.get(each)}


def replicas_of(ancestor: int) -> list[int]:
    return [each for each, line in family(ancestor).items() if line.startswith(b"ray::ServeReplica")]


def open_addresses(processes: dict[int, bytes]) -> set[str]:
    """Returns the addresses, not ports, at which processes listen, as /proc has them."""
    sockets = set()
    for process in processes:
        for link in Path(f"/proc/{process}/fd").glob("*"):
            try:
                sockets.add(str(link.readlink()))
            except OSError:
                continue
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return {each[1].partition(":")[0] for each in lines if each[3] == "0A" and f"socket:[{each[9]}]" in sockets}


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.1)


@contextmanager
def under_load(server: LiveServer, image: bytes) -> Iterator[Load]:
    """Yields while clients send requests, and some have been answered; waits for the last answer."""
    load = Load(server.host, server.port, image)
    thread = Thread(target=load.run, args=(REQUESTS, CLIENTS))
    thread.start()
    try:
        wait_for(lambda: len(load.answers) >= 40)
        yield load
    finally:
        thread.join(240)
    print(load.summary())


def must_be_right(load: Load, expected: Any) -> None:
    assert len(load.answers) == REQUESTS
    assert all(answer is not None and answer["faces"] == expected for answer in load.answers), load.summary()


def test_a_killed_replica_costs_no_request_and_is_replaced(astronaut: Path, expected: Any) -> None:
    image = astronaut.read_bytes()
    with serving("--engine", "ray", "--replicas", "2") as server:
        before = replicas_of(server.process.pid)
        assert len(before) == 2
        processes = family(server.process.pid)
        assert open_addresses(processes) <= {"0100007F", "0000000000000000FFFF00000100007F"}, "not only the loopback"
        assert b"RAY_USAGE_STATS_ENABLED=0" in Path(f"/proc/{before[0]}/environ").read_bytes().split(b"\0")
        with under_load(server, image) as load:
            os.kill(before[0], signal.SIGKILL)
        must_be_right(load, expected)
        wait_for(lambda: len(set(replicas_of(server.process.pid)) - {before[0]}) == 2)
        with under_load(server, image) as load:
            os.kill(server.process.pid, signal.SIGHUP)
        must_be_right(load, expected)
        assert not load.failures
        assert b'replica="' in server.request("GET", "/metrics").body
        assert server.request("POST", "/v1/detect?name=secret-name.jpg", b"secret-bytes").status == 415
        folder = next(
            Path(each.decode()) for line in processes.values() for each in re.findall(rb"/tmp/mlcycle-\w+", line)
        )
        written = [each.read_bytes() for each in folder.rglob("*") if each.is_file()]
        assert len(written) > 10
        assert not [text for text in written if b"secret-" in text], "in a file of Ray"
        assert server.stop(timeout=60) == 0
    assert any("loads no new model file" in line for line in server.lines)
    wait_for(lambda: not [line for each in processes for line in family(each).values()])


# Two machines: the head and a node, each with one core and an address of its own, which share one port.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
small = {"object_store_memory": 100 << 20, "include_dashboard": False, "num_cpus": 1}
cluster = Cluster()
for address in ("127.0.0.1", "127.0.0.2"):
    cluster.add_node(node_ip_address=address, **small)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@contextmanager
def cluster_of_two() -> Iterator[tuple[str, int]]:
    """Yields the address of a cluster and the process of which its processes are children."""
    with TemporaryDirectory(prefix="mlcycle-", dir="/tmp", ignore_cleanup_errors=True) as short:
        for _ in range(3):  # Ray gives a node 30 seconds to start, which are too few on a busy machine
            cluster = started_cluster(short)
            assert cluster.stdout is not None
            if address := cluster.stdout.readline().strip():
                break
            os.killpg(cluster.pid, signal.SIGKILL)
            cluster.wait()
        assert address
        try:
            yield address, cluster.pid
        finally:
            cluster.communicate("\n", timeout=60)


def started_cluster(short: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        cwd=short,
        env=environment(
            {
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # or the head would be at the machine's own address
                "RAY_TMPDIR": short,  # its sockets must have short names
                "RAY_USAGE_STATS_ENABLED": "0",
            }
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def test_a_killed_node_costs_no_request(astronaut: Path, expected: Any) -> None:
    with (
        cluster_of_two() as (address, cluster),
        serving("--engine", "ray", "--address", address, "--replicas", "2", "--port", "8631") as server,
    ):
        assert len(replicas_of(cluster)) == 2
        [raylet] = [each for each, line in family(cluster).items() if b"--node_ip_address=127.0.0.2" in line
                    and b"raylet/raylet" in line]  # fmt: skip
        lost = family(raylet)
        assert len([line for line in lost.values() if line.startswith(b"ray::ServeReplica")]) == 1
        with under_load(server, astronaut.read_bytes()) as load:
            for each in lost:
                os.kill(each, signal.SIGKILL)
        must_be_right(load, expected)
        assert server.stop(timeout=60) == 0


def test_a_cluster_that_serves_already_is_left_alone(process: Callable[..., Any]) -> None:
    with (
        cluster_of_two() as (address, cluster),
        serving("--engine", "ray", "--address", address, "--replicas", "1", "--port", "8632") as server,
    ):
        second = process("serve", "--engine", "ray", "--address", address, "--port", "8633")
        assert second.code == 6
        assert "runs Ray Serve already" in second.err
        assert server.request("GET", "/v2/health/ready").status == 200
        server.process.kill()  # its driver process ends the application all the same
        wait_for(lambda: not replicas_of(cluster))
