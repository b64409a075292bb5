"""The memory budget of decoding: requests that do not fit wait, and none waits forever."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest
from conftest import environment

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import images
from mlcycle.inference.decoding.memory import MemoryBudget, release_free_memory
from mlcycle.inference.detect import DetectOptions, Detector
from mlcycle.inference.record import Source

pytest_plugins = ("tiny_album",)


def test_a_request_that_does_not_fit_waits() -> None:
    budget, started, entered = MemoryBudget(10), Event(), Event()

    def another() -> None:
        started.set()
        with budget.take(4):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with budget.take(6), budget.take(2):
            done = pool.submit(another)
            started.wait()
            assert not entered.wait(0.1)
        done.result(timeout=10)
    assert entered.is_set()


def test_a_request_larger_than_the_budget_gets_all_of_it() -> None:
    budget, started, entered = MemoryBudget(10), Event(), Event()

    def small() -> None:
        started.set()
        with budget.take(1):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with budget.take(1000):
            done = pool.submit(small)
            started.wait()
            assert not entered.wait(0.1)
        done.result(timeout=10)
    assert entered.is_set()


def test_an_error_releases_the_memory() -> None:
    budget = MemoryBudget(10)
    with pytest.raises(ValueError, match="broken"), budget.take(10):
        raise ValueError("broken")
    entered = Event()

    def enter() -> None:
        with budget.take(10):
            entered.set()

    Thread(
        target=enter, daemon=True
    ).start()  # a daemon, so that memory that is not released fails the test instead of hanging it
    assert entered.wait(10)


def test_files_of_several_threads_share_their_memory(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, most = set(), []

    def read(path: Path, max_pixels: int) -> bytes:
        held.add(path)
        most.append(len(held))
        return path.read_bytes()

    def decode(data: bytes, *_: object) -> None:
        Event().wait(0.02)  # another thread could read meanwhile
        held.clear()
        raise UnreadableError("damaged", "it is read, and no more")

    monkeypatch.setattr(images, "_FILE_BUDGET", MemoryBudget(1000))
    monkeypatch.setattr(images, "read", read)
    monkeypatch.setattr(images, "decode", decode)
    paths = [tmp_path / f"{number}.jpg" for number in range(4)]
    for path in paths:
        path.write_bytes(bytes(600))
    records = list(detector.detect_all([Source(path, path.name) for path in paths], DetectOptions(workers=4)))
    assert [record.error and record.error[0] for record in records] == ["damaged"] * 4
    assert most == [1, 1, 1, 1]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no malloc_trim in this C library")
def test_freed_memory_is_returned_to_the_system() -> None:
    # Blocks too small to be mapped separately, and one above them that stays: glibc keeps the memory freed below it.
    program = """
    from pathlib import Path
    from mlcycle.inference.decoding.memory import release_free_memory

    def megabytes():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    blocks = [bytearray(b"1") * 100_000 for _ in range(1000)]
    last = bytearray(b"1") * 100_000
    full = megabytes()
    del blocks
    kept = megabytes()
    release_free_memory()
    print(full - kept, full - megabytes())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment(), capture_output=True, text=True, check=True
    )
    freed_before, freed = map(float, done.stdout.split())
    assert freed_before < 20
    assert freed > 80


def test_a_c_library_without_malloc_trim_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: opened.append(name) or object())
    release_free_memory()
    assert opened == [None]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc keeps the memory only if it is told to")
def test_the_memory_of_an_image_is_used_for_the_next_one(tmp_path: Path) -> None:
    script = """
        import resource, sys
        from mlcycle.machine import own_process
        own_process.claim()
        from mlcycle.inference import letterbox
        from mlcycle.inference.decoding import images
        data = open(sys.argv[1], "rb").read()
        def faults(count):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(count):
                letterbox.shrink(images.decode(data).upright(), 640)
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        faults(5)
        print(faults(10))
    """
    from PIL import Image

    Image.effect_noise((1600, 1200), 50).convert("RGB").save(tmp_path / "noise.jpg")
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "noise.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    # An image of 1600 x 1200 has 1,900 pages of memory, which would be touched anew for each.
    assert int(done.stdout) < 1000
