"""The machine: cores, memory, cgroup limits, int8 instructions, and the NVIDIA driver."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment

from mlcycle.doctor import nvidia
from mlcycle.machine import cgroup, machine

X86_OLD = (
    "processor\t: 0\nmodel name\t: Old Xeon\nflags\t\t: fpu sse2 avx2 avx512f\n\nprocessor\t: 1\nmodel name\t: B\n"
)
X86_NEW = X86_OLD.replace("avx512f", "avx512f avx512_vnni")
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"
RISC_V = "processor\t: 0\nisa\t\t: rv64imafdc\n"


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_the_cores_respect_the_cpu_affinity():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); \
from mlcycle.machine import machine; found = machine.inspect(); print(found.cores.allowed, found.cores.machine)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True, timeout=60
    )
    assert done.stdout.split() == ["1", str(os.cpu_count())]


@pytest.mark.parametrize(
    ("text", "processor", "instructions"),
    [
        (X86_OLD, "Old Xeon", ()),
        (X86_NEW, "Old Xeon", ("avx512_vnni",)),
        (ARM, "implementer 0x41, part 0xd0c", ("asimddp",)),
        (RISC_V, "", None),
    ],
)
def test_int8_instructions_of_processors(tmp_path, text, processor, instructions):
    found = machine.inspect(written(tmp_path, {"proc/cpuinfo": text}))
    assert processor in found.processor
    assert found.int8_instructions == instructions


def test_the_lowest_limit_of_all_parents_counts_in_cgroup_v2(tmp_path):
    groups = "sys/fs/cgroup"
    root = written(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pods/one\n",
            f"{groups}/pods/one/cpu.max": "max 100000\n",
            f"{groups}/pods/cpu.max": "150000 100000\n",
            f"{groups}/pods/one/memory.max": "2147483648\n",
            f"{groups}/pods/memory.max": "max\n",
        },
    )
    assert cgroup.core_limit(root) == 1.5
    assert cgroup.memory_limit(root) == 2 * 2**30


def test_a_container_has_its_limits_at_the_top_in_cgroup_v1(tmp_path):
    groups = "sys/fs/cgroup"
    root = written(
        tmp_path,
        {
            "proc/self/cgroup": "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
            f"{groups}/cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
            f"{groups}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            f"{groups}/memory/memory.limit_in_bytes": "536870912\n",
        },
    )
    assert cgroup.core_limit(root) == 4
    assert cgroup.memory_limit(root) == 512 * 2**20


def test_a_missing_limit_is_none(tmp_path):
    groups = "sys/fs/cgroup"
    root = written(
        tmp_path,
        {
            "proc/self/cgroup": "4:cpu:/\n3:memory:/\n0::/\n",
            f"{groups}/cpu/cpu.cfs_quota_us": "-1\n",
            f"{groups}/cpu/cpu.cfs_period_us": "100000\n",
            f"{groups}/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert (cgroup.core_limit(root), cgroup.memory_limit(root)) == (None, None)
    assert (cgroup.core_limit(tmp_path / "none"), cgroup.memory_limit(tmp_path / "none")) == (None, None)


def test_a_limit_above_the_total_memory_is_ignored(tmp_path):
    root = written(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/meminfo": "MemTotal:       1048576 kB\nMemAvailable:    524288 kB\n",
            "sys/fs/cgroup/memory.max": str(2 * 2**30),
        },
    )
    assert machine.inspect(root).memory == machine.Memory(2**30, 2**29, None)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n",
         "550.54.15"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n", "570.86.15"),
    ],
)  # fmt: skip
def test_a_driver_with_and_without_a_gpu(tmp_path, text, version, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia.inspect(tmp_path).sentence == "no NVIDIA driver found"
    root = written(tmp_path, {"proc/driver/nvidia/version": text})
    assert nvidia.inspect(root).sentence == f"NVIDIA driver {version} found, but no GPU device"
    written(root, {"dev/nvidia0": "", "dev/nvidiactl": ""})
    assert nvidia.inspect(root) == nvidia.Driver(version, (f"{tmp_path}/dev/nvidia0",), None)
    assert nvidia.inspect(root).sentence == f"NVIDIA driver {version} found"
