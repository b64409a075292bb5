"""`mlcycle infer dir --engine ray`: what it refuses, what a worker says, and real clusters whose workers are killed."""

from __future__ import annotations

import os
import pickle
import signal
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

from mlcycle.errors import InputError, ModelFileError, UsageError
from mlcycle.inference.detect import DEFAULT, Detector
from mlcycle.inference.parts import split
from mlcycle.inference.record import Source
from mlcycle.ray_engine import detect
from mlcycle.ray_engine.cluster import Cluster
from mlcycle.ray_engine.worker import Answer, Orders, Worker

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]
real = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--engine", "ray"), "--out RUN"),
        (("--engine", "ray", "--out", "faces.csv"), "--out RUN"),
        (("--engine", "ray", "--out", "run", "--provider", "cuda"), "works on CPUs"),
        (("--engine", "ray", "--out", "run", "--address", "ray://there:10001"), "HOST:PORT"),
        (("--address", "auto", "--out", "run"), "--engine ray"),
        (("--engine", "ray", "--out", "run", "--private"), "does not know --private"),
        (("--engine", "ray", "--out", "run", "--videos"), "does not know --videos"),
    ],
)
def test_what_ray_cannot_do_is_refused(options: tuple[str, ...], said: str, mlcycle: Run, album: Path) -> None:
    outcome = mlcycle("infer", "dir", album, *options)
    assert outcome.code == 2
    assert said in outcome.err


def test_without_the_extra_the_line_that_installs_it_is_said(process: Run, album: Path, tiny: Path) -> None:
    (album / "ray").mkdir()
    (album / "ray" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\", name='ray')\n")
    env = {"PYTHONPATH": os.pathsep.join([str(album), environment()["PYTHONPATH"]])}
    outcome = process("infer", "dir", album, "--model", tiny, "--out", album / "run", "--engine", "ray", env=env)
    assert outcome.code == 2
    assert "pip install 'mlcycle[ray]'" in outcome.err
    assert not (album / "run").exists()


@pytest.fixture
def orders(detector: Detector, album: Path) -> Orders:
    return Orders(detector.path, detector.sha256, "cpu", DEFAULT, None, album / "one.jpg")


def asked(orders: Orders, album: Path, begun_before: int = 0) -> Answer:
    """Returns what a worker with these orders answers about two images, pickled there and back as by Ray."""
    sources = [Source(album / name, name) for name in ("one.jpg", "broken.jpg")]
    begun = Counter({("all from", sources[0].identity): begun_before})

    def count(thing: Hashable) -> int:
        begun[thing] += 1
        return begun[thing]

    worker = Worker(pickle.loads(pickle.dumps(orders)), count)
    return pickle.loads(worker({"sources": pickle.dumps(sources)})["answer"])


@pytest.mark.parametrize("begun_before", [0, 1, 3])
def test_a_worker_answers_with_records_also_after_others_died(begun_before: int, orders: Orders, album: Path) -> None:
    answer = asked(orders, album, begun_before)
    assert isinstance(answer, list)
    assert [(each.input, each.status) for each in answer] == [("one.jpg", "ok"), ("broken.jpg", "error")]


def test_a_worker_takes_pages_and_what_could_not_be_counted(orders: Orders, album: Path) -> None:
    pages = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    pages[0].save(album / "two.tif", save_all=True, append_images=pages[1:])
    (album / "none.tif").mkdir()
    sources = list(split([Source(album / name, name) for name in ("two.tif", "none.tif")]))
    answer = pickle.loads(
        Worker(orders, lambda thing: 1)(pickle.loads(pickle.dumps({"sources": pickle.dumps(sources)})))["answer"]
    )
    assert [(each.input, each.part and each.part.number) for each in answer] == [
        ("two.tif", 1),
        ("two.tif", 2),
        ("none.tif", None),
    ]
    assert answer[2].error[0] == "not-a-file"


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"sha256": "0" * 64}, ModelFileError, "was 000000000000 here"),
        ({"model": Path("/nowhere/face.onnx")}, ModelFileError, "/nowhere/face.onnx"),
        ({"witness": Path("/nowhere/one.jpg")}, InputError, "/nowhere/one.jpg is not there"),
        ({"folder": Path("/nowhere")}, InputError, "/nowhere cannot be entered"),
        ({"version": "0.0.1"}, UsageError, "0.0.1 here"),
    ],
)
def test_a_worker_that_cannot_begin_says_why(
    changes: dict[str, object], kind: type, said: str, orders: Orders, album: Path
) -> None:
    answer = asked(replace(orders, **changes), album)
    assert type(answer) is kind
    assert said in str(answer)
    assert "says a worker on " in str(answer)
    assert answer.hint


class Here:
    """Stands in for a cluster: its workers are in this process, and answer in another order."""

    workers = 2

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []

    def answers(self, orders: Orders, rows: list[dict[str, bytes]]) -> Iterator[bytes]:
        self.rounds.append([len(pickle.loads(row["sources"])) for row in rows])
        worker = Worker(orders, lambda thing: 1)
        for row in reversed(rows):
            yield worker(row)["answer"]


def test_images_go_out_in_rounds_and_each_comes_back_once(
    detector: Detector, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect, "ROUND", 10)
    sources = [Source(album / "one.jpg", f"{number:02}.jpg") for number in range(47)]
    cluster = Here()
    records = list(detect.detect_all(iter(sources), detector, DEFAULT, cast(Cluster, cluster)))
    assert sorted(record.input for record in records) == [source.key for source in sources]
    assert [sum(sizes) for sizes in cluster.rounds] == [20, 20, 7]
    assert max(cluster.rounds[0]) == 1  # few for two workers: one by one, so that both are busy until the end


@pytest.fixture
def archive(album: Path) -> Path:
    """A folder with 480 images: three hundred of one face, and some of two, of none, and broken."""
    for name, count in (("one.jpg", 300), ("inside/two.png", 60), ("none.jpg", 60), ("broken.jpg", 56)):
        for number in range(count):
            stem, dot, suffix = name.partition(".")
            (album / f"{stem}-{number:03d}{dot}{suffix}").hardlink_to(album / name)
    return album


@pytest.fixture
def alone(archive: Path, tiny: Path, tmp_path: Path, process: Run) -> dict[str, bytes]:
    """What a run of the archive leaves that does without Ray."""
    (tmp_path / "alone").mkdir()
    assert process(*words(archive, tiny), cwd=tmp_path / "alone").code == 3
    left = what_is_left(tmp_path / "alone")
    assert len(left) == 1 + 480 - 57
    return left


@contextmanager
def running(arguments: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs mlcycle in a folder, with its own process group, as a terminal would; ends it if the test fails."""
    folder.mkdir()
    command = [sys.executable, "-m", "mlcycle", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=environment(), start_new_session=True, **pipes) as run:
        try:
            yield run
        finally:
            run.terminate()


def words(archive: Path, tiny: Path, *more: str) -> list[str]:
    """Returns a command that writes to ./run, and copies to ./copies."""
    given = ("infer", "dir", archive, "--model", tiny, "--out", "run", "--redact", "fill", "copies", *more)
    return [str(each) for each in given]


def what_is_left(folder: Path) -> dict[str, bytes]:
    """Returns the records and copies below a folder by their names."""
    files = [folder / "run" / "records.jsonl", *(folder / "copies").rglob("*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.is_file()}


def family(ancestor: int) -> dict[int, bytes]:
    """Returns the processes that descend from one, with their command lines."""
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


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def midway(folder: Path) -> None:
    """Waits until some of the copies are written, and checks that most are not."""
    wait_for(lambda: len(what_copies(folder)) >= 120)
    assert len(what_copies(folder)) < 400


def what_copies(folder: Path) -> list[Path]:
    return list((folder / "copies").rglob("*.*g")) if (folder / "copies").exists() else []


@real
@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing(
    archive: Path, alone: dict[str, bytes], tiny: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray.data")
    with running(words(archive, tiny, "--engine", "ray", "--threads", "2"), tmp_path / "rayed") as run:
        midway(tmp_path / "rayed")
        everybody = family(run.pid)
        first, second = workers_of(run.pid)
        assert b"RAY_USAGE_STATS_ENABLED=0" in Path(f"/proc/{second}/environ").read_bytes().split(b"\0")
        nodes = [line for line in everybody.values() if b"--node_ip_address=" in line]
        assert nodes
        assert all(b"--node_ip_address=127.0.0.1" in line for line in nodes)
        os.kill(first, signal.SIGKILL)
        out, said = run.communicate(timeout=300)
    assert run.returncode == 3
    assert what_is_left(tmp_path / "rayed") == alone
    assert out == ""
    assert [line.split(" ")[0] for line in said.splitlines()] == ["1", "model", "2", "480", "480"]
    assert not [line for each in everybody for line in family(each).values()]


@real
@pytest.mark.slow
def test_ctrl_c_leaves_a_run_to_go_on_with_and_no_process(
    archive: Path, alone: dict[str, bytes], tiny: Path, tmp_path: Path, process: Run
) -> None:
    pytest.importorskip("ray.data")
    with running(words(archive, tiny, "--engine", "ray", "--threads", "2"), tmp_path / "rayed") as run:
        midway(tmp_path / "rayed")
        everybody = family(run.pid)
        os.killpg(run.pid, signal.SIGINT)
        out, said = run.communicate(timeout=300)
    assert (run.returncode, out) == (130, "")
    assert "stopped by Ctrl-C" in said
    assert not [line for each in everybody for line in family(each).values()]
    gone_on = process(*words(archive, tiny, "--resume"), cwd=tmp_path / "rayed")
    assert gone_on.code == 3
    assert "of before" in gone_on.err
    assert what_is_left(tmp_path / "rayed") == alone


# Kills whichever process opens a certain image, as a broken decoder might.
DEADLY = """
import os, signal, sys
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith("deadly.jpg"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
"""


@real
@pytest.mark.slow
def test_an_image_that_kills_workers_does_not_do_so_for_ever(
    album: Path, tiny: Path, tmp_path: Path, process: Run
) -> None:
    pytest.importorskip("ray.data")
    (album / "inside" / "deadly.jpg").hardlink_to(album / "one.jpg")
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(DEADLY)
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "hook"), environment()["PYTHONPATH"]])}
    arguments = words(album, tiny, "--engine", "ray", "--threads", "1")
    outcome = process(*arguments, cwd=tmp_path, env=env)
    assert outcome.code == 1
    assert "3 workers in a row died over the image inside/deadly.jpg" in outcome.err
    (album / "inside" / "deadly.jpg").unlink()
    assert process(*arguments, "--resume", cwd=tmp_path, env=env).code == 3
    assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) == 4


# Stands in for a cluster of three machines: a head without a core, on which mlcycle is called, and two nodes of one;
# each with an address of its own, so that mlcycle connects through the head and not through the node that dies.
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


@real
@pytest.mark.slow
def test_a_node_of_a_cluster_that_dies_loses_and_doubles_nothing(
    archive: Path, alone: dict[str, bytes], tiny: Path, tmp_path: Path
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
            midway(tmp_path / "rayed")
            assert len(workers_of(cluster.pid)) == 2
            cluster.stdin.write("\n")
            cluster.stdin.flush()
            out, said = run.communicate(timeout=300)
        cluster.communicate("\n", timeout=60)
    assert run.returncode == 3, said
    assert what_is_left(tmp_path / "rayed") == alone
    assert f"2 workers of Ray, at {address}" in said
    assert out == ""
