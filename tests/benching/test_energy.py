"""Energy from counters in a folder like the kernel's, and from a fake NVML."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlcycle.benching.energy import Counters, Meter, of_gpu, of_processors


def zone(powercap: Path, place: str, name: str, microjoules: int, wraps_at: int = 262_143_328_850) -> Path:
    folder = powercap / place
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{wraps_at}\n")
    return folder / "energy_uj"


def test_only_processor_packages_are_added_up(tmp_path):
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 5), zone(tmp_path, "intel-rapl:1", "package-1", 7)
    cores, whole = zone(tmp_path, "intel-rapl:0:0", "core", 5), zone(tmp_path, "intel-rapl:2", "psys", 5)
    with Meter(of_processors(tmp_path)) as meter:
        first.write_text("40000005\n")
        second.write_text("20000007\n")
        cores.write_text("30000005\n")
        whole.write_text("90000005\n")
    assert meter.result(seconds=30, completed=100) == {
        "source": "RAPL package-0, RAPL package-1",
        "joules": 60,
        "watts": 2,
        "joules_per_image": 0.6,
        "note": "of the whole device, with other programs and idle power",
    }


def test_a_counter_that_wraps_around_is_followed(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 99_000_000, wraps_at=100_000_000)
    with Meter(of_processors(tmp_path)) as meter:
        counter.write_text("500000")  # 1.5 J later
        meter.sample()
        counter.write_text("99500000")
        meter.sample()
        counter.write_text("250000")  # wraps around again
    assert meter.result(1, 1)["joules"] == pytest.approx(1.5 + 99 + 0.75)


def test_without_a_counter_the_note_gives_the_reason(tmp_path):
    with Meter(of_processors(tmp_path)) as meter:
        pass
    result = meter.result(1, 1)
    assert result["note"] == f"not measured: no RAPL counter in {tmp_path}"
    assert [result[key] for key in ("source", "joules", "watts", "joules_per_image")] == [None] * 4


def test_a_counter_that_only_root_can_read_is_not_measured(tmp_path, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    allowed = Path.read_text

    def read(path: Path, *arguments: str) -> str:
        if path.name == "energy_uj":  # the tests can run as root, who can read every file
            raise PermissionError(13, "Permission denied")
        return allowed(path, *arguments)

    monkeypatch.setattr(Path, "read_text", read)
    assert of_processors(tmp_path) == Counters(why=f"the RAPL counters in {tmp_path} can be read only by root")


def test_a_counter_that_fails_during_the_run_measures_nothing(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    with Meter(of_processors(tmp_path)) as meter:
        counter.unlink()
    result = meter.result(1, 1)
    assert result["joules"] is None
    assert result["note"].startswith("not measured: a counter could not be read")


def nvml(count: int, millijoules: list[int]) -> SimpleNamespace:
    """A fake pynvml, whose counter returns the given values in turn."""
    return SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=lambda place: place,
        nvmlDeviceGetTotalEnergyConsumption=lambda gpu: millijoules.pop(0),
    )


def test_nvml_measures_the_gpu_that_runs_the_model(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml(1, [1000, 2000, 9500]))  # a check, the start, the end
    with Meter(of_gpu("cuda")) as meter:
        pass
    assert meter.result(seconds=1, completed=3)["joules"] == 7.5


@pytest.mark.parametrize(
    ("provider", "module", "why"),
    [
        ("cpu", nvml(1, [1]), "the provider cpu uses no GPU that NVML knows"),
        ("cuda", nvml(2, [1]), "there are 2 GPUs, and NVML does not report which one runs the model"),
        ("cuda", None, "pynvml is not installed"),
    ],
)
def test_a_gpu_is_not_measured_if_its_counter_is_uncertain(provider, module, why, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert of_gpu(provider) == Counters(why=why)
