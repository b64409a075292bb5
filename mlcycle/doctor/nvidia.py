"""Whether an NVIDIA driver is here, from what it leaves in the file system; nothing is started."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Driver:
    """What was found of an NVIDIA driver.

    Attributes:
        version: of the driver in the kernel, "" if it does not say, None if there is none.
        devices: GPUs that this process may open, e.g. "/dev/nvidia0".
        nvidia_smi: where that program is, or None.
    """

    version: str | None
    devices: tuple[str, ...]
    nvidia_smi: str | None

    @property
    def sentence(self) -> str:
        if self.version is not None and not self.devices:
            return f"the NVIDIA driver {self.version} is here, but no GPU is handed to this process"
        if self.version is not None:
            return f"the NVIDIA driver {self.version} is here"
        return "no NVIDIA driver was found" + (", but nvidia-smi is here" if self.nvidia_smi else "")

    @property
    def here(self) -> bool:
        return self.version is not None or self.nvidia_smi is not None


def look(root: Path = Path("/")) -> Driver:
    """Looks below `root` for a driver, and on PATH for its program."""
    devices = sorted(str(path) for path in (root / "dev").glob("nvidia[0-9]*"))
    return Driver(_version(root / "proc/driver/nvidia/version"), tuple(devices), shutil.which("nvidia-smi"))


def _version(path: Path) -> str | None:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return None
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)*\b", text)
    return found[0] if found else ""
