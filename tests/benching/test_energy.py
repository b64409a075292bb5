"""Energy from counters in a folder that looks like the kernel's, and from an NVML that stands in for the real one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlcycle.benching.energy import Counters, Meter, of_gpu, of_processors


def zone(powercap: Path, place: str, name: str, microjoules: int, around: int = 262_143_328_850) -> Path:
    folder = powercap / place
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{around}\n")
    return folder / "energy_uj"


def test_the_packages_are_added_up_and_what_lies_inside_or_around_them_is_not(tmp_path):
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 5), zone(tmp_path, "intel-rapl:1", "package-1", 7)
    cores, whole = zone(tmp_path, "intel-rapl:0:0", "core", 5), zone(tmp_path, "intel-rapl:2", "psys", 5)
    with Meter(of_processors(tmp_path)) as meter:
        first.write_text("40000005\n")
        second.write_text("20000007\n")
        cores.write_text("30000005\n")
        whole.write_text("90000005\n")
    assert meter.result(seconds=30, answered=100) == {
        "source": "RAPL package-0, RAPL package-1",
        "joules": 60,
        "watts": 2,
        "joules_per_image": 0.6,
        "note": "of the whole of it, with all else that ran, and idling",
    }


def test_a_counter_that_begins_anew_is_followed(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 99_000_000, around=100_000_000)
    with Meter(of_processors(tmp_path)) as meter:
        counter.write_text("500000")  # 1.5 J on
        meter.sample()
        counter.write_text("99500000")
        meter.sample()
        counter.write_text("250000")  # and around once more
    assert meter.result(1, 1)["joules"] == pytest.approx(1.5 + 99 + 0.75)


def test_without_a_counter_it_is_not_measured_and_said_why(tmp_path):
    with Meter(of_processors(tmp_path)) as meter:
        pass
    result = meter.result(1, 1)
    assert result["note"] == f"not measured: there is no RAPL counter in {tmp_path}"
    assert [result[key] for key in ("source", "joules", "watts", "joules_per_image")] == [None] * 4


def test_a_counter_for_root_alone_is_not_measured(tmp_path, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    allowed = Path.read_text

    def read(path: Path, *arguments: str) -> str:
        if path.name == "energy_uj":  # root, who may run the tests, may read whatever its mode says
            raise PermissionError(13, "Permission denied")
        return allowed(path, *arguments)

    monkeypatch.setattr(Path, "read_text", read)
    assert of_processors(tmp_path) == Counters(why=f"the RAPL counters in {tmp_path} may be read by root alone")


def test_a_counter_that_fails_on_the_way_leaves_nothing_measured(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    with Meter(of_processors(tmp_path)) as meter:
        counter.unlink()
    result = meter.result(1, 1)
    assert result["joules"] is None
    assert result["note"].startswith("not measured: a counter could not be read")


def nvml(count: int, millijoules: list[int]) -> SimpleNamespace:
    """Stands in for pynvml; it gives one figure of the list after the other."""
    return SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=lambda place: place,
        nvmlDeviceGetTotalEnergyConsumption=lambda gpu: millijoules.pop(0),
    )


def test_a_gpu_is_measured_by_nvml_where_the_model_runs_on_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml(1, [1000, 2000, 9500]))  # a trial, the beginning, the end
    with Meter(of_gpu("cuda")) as meter:
        pass
    assert meter.result(seconds=1, answered=3)["joules"] == 7.5


@pytest.mark.parametrize(
    ("provider", "module", "why"),
    [
        ("cpu", nvml(1, [1]), "the provider cpu uses no GPU that NVML knows"),
        ("cuda", nvml(2, [1]), "there are 2 GPUs, and NVML does not say which one answers"),
        ("cuda", None, "pynvml is not installed"),
    ],
)
def test_a_gpu_is_not_measured_where_its_counter_is_in_doubt(provider, module, why, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert of_gpu(provider) == Counters(why=why)
