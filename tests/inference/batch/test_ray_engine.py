"""`mlcycle infer dir --engine ray`: refused options, results of a worker, and real clusters with killed workers."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
from conftest import Outcome, environment
from PIL import Image

from mlcycle.distribution import install_command
from mlcycle.errors import InputError, ModelFileError, UsageError
from mlcycle.inference.detect import DEFAULT, Detector
from mlcycle.inference.pages_and_frames import split_pages
from mlcycle.inference.record import Source
from mlcycle.ray_engine import detect, driving
from mlcycle.ray_engine.cluster import Cluster
from mlcycle.ray_engine.worker import Worker, WorkerResult, WorkerSetup

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]
needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "ray"), "--out RUN"),
        (("--engine", "ray", "--out", "faces.csv"), "--out RUN"),
        (("--engine", "ray", "--out", "run", "--provider", "cuda"), "runs on CPUs"),
        (("--engine", "ray", "--out", "run", "--address", "ray://there:10001"), "HOST:PORT"),
        (("--address", "auto", "--out", "run"), "--engine ray"),
        (("--engine", "ray", "--out", "run", "--private"), "does not support --private"),
        (("--engine", "ray", "--out", "run", "--videos"), "does not support --videos"),
    ],
)
def test_unsupported_options_are_refused(options: tuple[str, ...], words: str, mlcycle: Run, album: Path) -> None:
    outcome = mlcycle("infer", "dir", album, *options)
    assert outcome.code == 2
    assert words in outcome.err


def test_without_the_extra_the_hint_installs_it(process: Run, album: Path, tiny: Path) -> None:
    (album / "ray").mkdir()
    (album / "ray" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\", name='ray')\n")
    env = {"PYTHONPATH": os.pathsep.join([str(album), environment()["PYTHONPATH"]])}
    outcome = process("infer", "dir", album, "--model", tiny, "--out", album / "run", "--engine", "ray", env=env)
    assert outcome.code == 2
    assert install_command("ray") in outcome.err
    assert not (album / "run").exists()


@pytest.fixture
def setup(detector: Detector, album: Path) -> WorkerSetup:
    return WorkerSetup(detector.path, detector.sha256, "cpu", DEFAULT, None, album / "one.jpg")


def result_of(setup: WorkerSetup, album: Path, earlier_attempts: int = 0) -> WorkerResult:
    """Returns a worker's result for two images, with setup, images and result pickled as by Ray."""
    sources = [Source(album / name, name) for name in ("one.jpg", "broken.jpg")]
    attempts = Counter({("all from", sources[0].identity): earlier_attempts})

    def count(key: Hashable) -> int:
        attempts[key] += 1
        return attempts[key]

    worker = Worker(pickle.loads(pickle.dumps(setup)), count)
    return pickle.loads(worker({"sources": pickle.dumps(sources)})["result"])


@pytest.mark.parametrize("earlier_attempts", [0, 1, 3])
def test_a_worker_returns_records_even_after_others_died(
    earlier_attempts: int, setup: WorkerSetup, album: Path
) -> None:
    result = result_of(setup, album, earlier_attempts)
    assert isinstance(result, list)
    assert [(each.input, each.status) for each in result] == [("one.jpg", "ok"), ("broken.jpg", "error")]


def test_a_worker_accepts_pages_and_unreadable_sources(setup: WorkerSetup, album: Path) -> None:
    pages = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    pages[0].save(album / "two.tif", save_all=True, append_images=pages[1:])
    (album / "none.tif").mkdir()
    sources = list(split_pages([Source(album / name, name) for name in ("two.tif", "none.tif")]))
    result = pickle.loads(
        Worker(setup, lambda key: 1)(pickle.loads(pickle.dumps({"sources": pickle.dumps(sources)})))["result"]
    )
    assert [(each.input, each.part and each.part.number) for each in result] == [
        ("two.tif", 1),
        ("two.tif", 2),
        ("none.tif", None),
    ]
    assert result[2].error[0] == "not-a-file"


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"sha256": "0" * 64}, ModelFileError, "was 000000000000 here"),
        ({"model": Path("/nowhere/face.onnx")}, ModelFileError, "/nowhere/face.onnx"),
        ({"visible_image": Path("/nowhere/one.jpg")}, InputError, "no such image: /nowhere/one.jpg"),
        ({"folder": Path("/nowhere")}, InputError, "/nowhere cannot be opened"),
        ({"version": "0.0.1"}, UsageError, "0.0.1 here"),
    ],
)
def test_a_worker_that_cannot_start_returns_the_error(
    changes: dict[str, object], kind: type, words: str, setup: WorkerSetup, album: Path
) -> None:
    error = result_of(replace(setup, **changes), album)
    assert type(error) is kind
    assert words in str(error)
    assert "on the node " in str(error)
    assert error.hint


class LocalCluster:
    """A stand-in for a cluster: its worker is in this process and returns results in reverse order."""

    workers = 2

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []

    def map(self, setup: WorkerSetup, rows: list[dict[str, bytes]]) -> Iterator[bytes]:
        self.rounds.append([len(pickle.loads(row["sources"])) for row in rows])
        worker = Worker(setup, lambda key: 1)
        for row in reversed(rows):
            yield worker(row)["result"]


def test_images_are_sent_in_rounds_and_each_gives_one_record(
    detector: Detector, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect, "IMAGES_PER_WORKER", 10)
    sources = [Source(album / "one.jpg", f"{number:02}.jpg") for number in range(47)]
    cluster = LocalCluster()
    records = list(detect.detect_on_cluster(cast(Cluster, cluster), detector, iter(sources), DEFAULT))
    assert sorted(record.input for record in records) == [source.key for source in sources]
    assert [sum(sizes) for sizes in cluster.rounds] == [20, 20, 7]
    assert max(cluster.rounds[0]) == 1  # few images are sent one by one, so that both workers are busy until the end


@pytest.fixture
def archive(album: Path) -> Path:
    """A folder with 480 images: about 300 with one face, the others with two, with none, or broken."""
    for name, count in (("one.jpg", 300), ("inside/two.png", 60), ("none.jpg", 60), ("broken.jpg", 56)):
        for number in range(count):
            base, dot, suffix = name.partition(".")
            (album / f"{base}-{number:03d}{dot}{suffix}").hardlink_to(album / name)
    return album


@pytest.fixture
def local_run(archive: Path, tiny: Path, tmp_path: Path, process: Run) -> dict[str, bytes]:
    """The files of a run of the archive without Ray."""
    (tmp_path / "local").mkdir()
    assert process(*words(archive, tiny), cwd=tmp_path / "local").code == 3
    files = files_of(tmp_path / "local")
    assert len(files) == 1 + 480 - 57
    return files


@contextmanager
def running(arguments: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs mlcycle in a folder in its own process group, as a terminal does; ends it if the test fails."""
    folder.mkdir()
    command = [sys.executable, "-m", "mlcycle", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=environment(), start_new_session=True, **pipes) as run:
        try:
            yield run
        finally:
            run.terminate()


def words(archive: Path, tiny: Path, *more: str) -> list[str]:
    """Returns a command that writes results to ./run and copies to ./copies."""
    given = ("infer", "dir", archive, "--model", tiny, "--out", "run", "--redact", "fill", "copies", *more)
    return [str(each) for each in given]


def files_of(folder: Path) -> dict[str, bytes]:
    """Returns name → bytes of the records and copies below a folder."""
    files = [folder / "run" / "records.jsonl", *(folder / "copies").rglob("*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.is_file()}


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


def workers_of(ancestor: int) -> list[int]:
    return [each for each, line in family(ancestor).items() if line.startswith(b"ray::") and b"Map(Worker)" in line]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.02)


def wait_for_some_copies(folder: Path) -> None:
    """Waits until some of the copies are written, and checks that some are not."""
    wait_for(lambda: len(copies_in(folder)) >= 120)
    assert len(copies_in(folder)) < 400


def copies_in(folder: Path) -> list[Path]:
    return list((folder / "copies").rglob("*.*g")) if (folder / "copies").exists() else []


@needs_proc
@pytest.mark.slow
def test_a_killed_worker_neither_loses_nor_repeats_records(
    archive: Path, local_run: dict[str, bytes], tiny: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray.data")
    with running(words(archive, tiny, "--engine", "ray", "--threads", "2"), tmp_path / "rayed") as run:
        wait_for_some_copies(tmp_path / "rayed")
        processes = family(run.pid)
        first, second = workers_of(run.pid)
        assert b"RAY_USAGE_STATS_ENABLED=0" in Path(f"/proc/{second}/environ").read_bytes().split(b"\0")
        nodes = [line for line in processes.values() if b"--node_ip_address=" in line]
        assert nodes
        assert all(b"--node_ip_address=127.0.0.1" in line for line in nodes)
        os.kill(first, signal.SIGKILL)
        out, messages = run.communicate(timeout=300)
    assert run.returncode == 3
    assert files_of(tmp_path / "rayed") == local_run
    assert out == ""
    broken = b"".join(local_run.values()).count(b'"status": "error"')
    # Three failed images are named, and a fourth line counts the others.
    failed = ["failed:", "failed:", "failed:", str(broken - 3)]
    assert [line.split(" ")[0] for line in messages.splitlines()] == ["1", "model", "2", "480", *failed, "no", "480"]
    assert not [line for each in processes for line in family(each).values()]


@needs_proc
@pytest.mark.slow
def test_ctrl_c_leaves_a_resumable_run_and_no_process(
    archive: Path, local_run: dict[str, bytes], tiny: Path, tmp_path: Path, process: Run
) -> None:
    pytest.importorskip("ray.data")
    with running(words(archive, tiny, "--engine", "ray", "--threads", "2"), tmp_path / "rayed") as run:
        wait_for_some_copies(tmp_path / "rayed")
        processes = family(run.pid)
        os.killpg(run.pid, signal.SIGINT)
        out, messages = run.communicate(timeout=300)
    assert (run.returncode, out) == (130, "")
    assert "stopped by Ctrl-C" in messages
    assert not [line for each in processes for line in family(each).values()]
    resumed = process(*words(archive, tiny, "--resume"), cwd=tmp_path / "rayed")
    assert resumed.code == 3
    assert "already finished" in resumed.err
    assert files_of(tmp_path / "rayed") == local_run


# Kills any process that opens a certain image, as a decoder that crashes would.
DEADLY = """
import os, signal, sys
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith("deadly.jpg"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
"""


@needs_proc
@pytest.mark.slow
def test_an_image_that_kills_workers_ends_the_run(album: Path, tiny: Path, tmp_path: Path, process: Run) -> None:
    pytest.importorskip("ray.data")
    (album / "inside" / "deadly.jpg").hardlink_to(album / "one.jpg")
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(DEADLY)
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "hook"), environment()["PYTHONPATH"]])}
    arguments = words(album, tiny, "--engine", "ray", "--threads", "1")
    outcome = process(*arguments, cwd=tmp_path, env=env)
    assert outcome.code == 1
    assert "3 workers in a row died on the image inside/deadly.jpg" in outcome.err
    (album / "inside" / "deadly.jpg").unlink()
    assert process(*arguments, "--resume", cwd=tmp_path, env=env).code == 3
    assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) == 4


# A stand-in for a cluster of three machines: a head without cores, where mlcycle runs, and two nodes with one core
# each. Each has its own address, so that mlcycle connects through the head and not through the node that dies.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
small = {"object_store_memory": 100 << 20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
small = {"object_store_memory": 100 << 20, "num_cpus": 1}
nodes = [cluster.add_node(node_ip_address=f"127.0.0.{each}", **small) for each in (2, 3)]
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(nodes[0], allow_graceful=False)
sys.stdin.readline()
cluster.shutdown()
"""


@needs_proc
@pytest.mark.slow
def test_a_node_that_dies_neither_loses_nor_repeats_records(
    archive: Path, local_run: dict[str, bytes], tiny: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray.data")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with (
        TemporaryDirectory(prefix="mlcycle-", dir="/tmp", ignore_cleanup_errors=True) as short,
        subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            cwd=tmp_path,
            env=environment({"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": short}),  # its sockets must have short names
            **pipes,
        ) as cluster,
    ):
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        assert address
        arguments = words(archive, tiny, "--engine", "ray", "--address", address)
        with running(arguments, tmp_path / "rayed") as run:
            wait_for_some_copies(tmp_path / "rayed")
            assert len(workers_of(cluster.pid)) == 2
            cluster.stdin.write("\n")
            cluster.stdin.flush()
            out, messages = run.communicate(timeout=300)
        cluster.communicate("\n", timeout=60)
    assert run.returncode == 3, messages
    assert files_of(tmp_path / "rayed") == local_run
    assert f"2 Ray workers at {address}" in messages
    assert out == ""


def test_a_cluster_on_the_loopback_alone_is_told_from_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert driving._is_on_loopback_only(f"127.0.0.1:{port}")
        assert not driving._is_on_loopback_only(f"127.0.0.2:{port}")
        assert not driving._is_on_loopback_only("auto")
