"""What a measurement was made on: the processor, the cores that may be used, and the versions of what ran."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def describe() -> dict[str, Any]:
    """Returns cpu, cores, system and load_average (how many processes wanted to run in the last minute)."""
    return {
        "cpu": cpu_model(),
        "cores": cores_allowed(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Returns the versions of mlcycle, Python and the packages that answer."""
    import numpy
    import onnxruntime
    import PIL

    import mlcycle

    return {
        "mlcycle": mlcycle.__version__,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
    }


def cpu_model(cpuinfo: Path = CPUINFO) -> str:
    """Returns the processor's name as the system knows it, else its architecture."""
    if sys.platform == "darwin":
        asked = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    else:
        name = _model_name(cpuinfo)
    return " ".join(name.split()) or platform.processor() or platform.machine()


def cores_allowed(quota: Path = QUOTA) -> float:
    """Returns how many cores this process may use: those it is bound to, or what its container grants, if less."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        granted, period = quota.read_text("ascii").split()
        return min(bound, round(int(granted) / int(period), 2))
    except (OSError, ValueError, ZeroDivisionError):  # no container, no limit ("max")
        return bound


def _model_name(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")
