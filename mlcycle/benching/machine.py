"""The machine of a measurement: processor, usable cores, and versions."""

from __future__ import annotations

import os
import platform
from typing import Any

from mlcycle.machine import machine


def describe() -> dict[str, Any]:
    """Returns cpu, cores and system of this machine."""
    found = machine.inspect()
    return {
        "cpu": found.processor or platform.machine(),
        "cores": found.cores.usable,
        "system": f"{platform.system()} {platform.machine()}",
    }


def load_average() -> float:
    """Returns the number of runnable processes in the last minute."""
    return round(os.getloadavg()[0], 2)


def versions() -> dict[str, str]:
    """Returns the versions of mlcycle, Python and the packages used by inference."""
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
