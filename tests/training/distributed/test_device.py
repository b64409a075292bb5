"""Devices: the requested one or an error, and a division of the processors without overlap."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from mlcycle.training.distributed import device  # noqa: E402
from mlcycle.training.distributed.device import keep_memory, share_processors  # noqa: E402

pytestmark = pytest.mark.training


@pytest.fixture(autouse=True)
def four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "available_processors", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_a_cpu_alternates_training_and_reading_on_all_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    assert share_processors(torch.device("cpu"), None) == (0, 4)
    assert share_processors(torch.device("cpu"), 1) == (1, 3)
    assert threads == [4, 3]


def test_omp_num_threads_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: pytest.fail("it was set"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert share_processors(torch.device("cpu"), None) == (0, 1)


def test_for_a_gpu_all_processors_but_one_read() -> None:
    assert share_processors(torch.device("meta"), None) == (3, 4)
    assert share_processors(torch.device("meta"), 0) == (0, 4)


def test_keeping_memory_prints_nothing() -> None:
    keep_memory()
    assert torch.zeros(1 << 24).sum() == 0
