"""Detects an NVIDIA driver from its files, without starting a program."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Driver:
    """An NVIDIA driver.

    Attributes:
        version: of the kernel driver, "" if unknown, None if there is no driver.
        devices: device files of GPUs, e.g. "/dev/nvidia0".
        nvidia_smi: path of that program, or None.
    """

    version: str | None
    devices: tuple[str, ...]
    nvidia_smi: str | None

    @property
    def sentence(self) -> str:
        if self.version is not None and not self.devices:
            return f"NVIDIA driver {self.version} found, but no GPU device"
        if self.version is not None:
            return f"NVIDIA driver {self.version} found"
        return "no NVIDIA driver found" + (", but nvidia-smi exists" if self.nvidia_smi else "")

    @property
    def found(self) -> bool:
        return self.version is not None or self.nvidia_smi is not None


def inspect(root: Path = Path("/")) -> Driver:
    """Searches for a driver below `root`, and for nvidia-smi on PATH."""
    devices = sorted(str(path) for path in (root / "dev").glob("nvidia[0-9]*"))
    return Driver(_version(root / "proc/driver/nvidia/version"), tuple(devices), shutil.which("nvidia-smi"))


def _version(path: Path) -> str | None:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return None
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)*\b", text)
    return found[0] if found else ""
