"""The machine's CPU and memory, and how much of them this process may use."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from mlcycle.machine import cgroup

# The names that /proc/cpuinfo has for int8 dot-product instructions.
_X86, _ARM = ("avx512_vnni", "avx_vnni"), ("asimddp", "i8mm")


@dataclass(frozen=True, slots=True)
class Cores:
    """The machine's cores, those that this process may run on, and its CPU limit in cores (None: no limit)."""

    machine: int
    allowed: int
    quota: float | None

    @property
    def usable(self) -> float:
        """Returns how many cores this process can use at most."""
        return min(self.allowed, self.quota or self.allowed)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory: total, available, and the limit of this process; None for no limit or an unknown value."""

    total_bytes: int | None
    available_bytes: int | None
    limit_bytes: int | None


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine.

    Attributes:
        system: e.g. "Linux 6.8.0 x86_64".
        processor: its model; "" if unknown.
        int8_instructions: its int8 dot-product instructions, by the names of /proc/cpuinfo; None if unknown.
    """

    system: str
    processor: str
    int8_instructions: tuple[str, ...] | None
    cores: Cores
    memory: Memory


def inspect(root: Path = Path("/")) -> Machine:
    """Inspects the machine; `root` is the folder that holds /proc and /sys."""
    rows = _rows(root / "proc/cpuinfo")
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_processor(rows),
        int8_instructions=_int8_instructions(rows),
        cores=cores(root),
        memory=_memory(root),
    )


def _processor(rows: dict[str, str]) -> str:
    if "model name" in rows:
        return rows["model name"]
    if "CPU part" in rows:
        return f"{platform.machine()}, implementer {rows.get('CPU implementer', '?')}, part {rows['CPU part']}"
    return _of_macos() if platform.system() == "Darwin" else platform.processor()


def _of_macos() -> str:
    import subprocess

    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return platform.processor()


def _int8_instructions(rows: dict[str, str]) -> tuple[str, ...] | None:
    for key, names in (("flags", _X86), ("Features", _ARM)):
        if key in rows:
            words = rows[key].split()
            return tuple(name for name in names if name in words)
    return None


def cores(root: Path = Path("/")) -> Cores:
    """Counts the cores; `root` is the folder that holds /proc and /sys."""
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    return Cores(machine, allowed, cgroup.core_limit(root))


def _memory(root: Path) -> Memory:
    rows = _rows(root / "proc/meminfo")
    total, available = (_kilobytes(rows.get(key, "")) for key in ("MemTotal", "MemAvailable"))
    if total is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = cgroup.memory_limit(root)
    return Memory(total, available, limit if limit and limit < (total or limit + 1) else None)


def _kilobytes(text: str) -> int | None:
    number = text.removesuffix(" kB")
    return int(number) * 1024 if number.isdigit() else None


def _rows(path: Path) -> dict[str, str]:
    """Returns the rows "key : value" of a file in /proc; the first of a repeated key."""
    rows: dict[str, str] = {}
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return rows
    for line in lines:
        key, colon, value = line.partition(":")
        if colon:
            rows.setdefault(key.strip(), value.strip())
    return rows
