"""Compiles mlcycle/inference/resampling.c while mlcycle is installed, if there is a C compiler.

Without one, or with MLCYCLE_PURE=1 set, the package is pure Python: it gives the same pixels, and resizes more slowly.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "mlcycle/inference/resampling.c"
LIBRARY = "mlcycle/inference/libresampling.so"
FLAGS = ("-O3", "-shared", "-fPIC")


class Compile(BuildHookInterface):
    """Adds the library to a wheel, which is then for this platform alone and for every Python 3."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if os.environ.get("MLCYCLE_PURE", "") not in ("", "0"):
            return
        library = Path(self.root, LIBRARY)
        if not compile_library(Path(self.root, SOURCE), library):
            if version == "editable":
                library.unlink(missing_ok=True)
            self.app.display_warning("no C compiler here: mlcycle resizes with Pillow, which takes three times as long")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        if version != "editable":
            build_data["force_include"][str(library)] = LIBRARY


def compile_library(source: Path, library: Path) -> bool:
    """Compiles a C file to a shared library, and tells whether it could."""
    command = shlex.split(os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), ""))
    if not command or sys.platform == "win32":
        return False
    made = library.with_suffix(f".{os.getpid()}")
    try:
        subprocess.run([*command, *FLAGS, str(source), "-o", str(made)], check=True, capture_output=True, timeout=120)
        made.replace(library)
    except (OSError, subprocess.SubprocessError):
        made.unlink(missing_ok=True)
        return False
    return True
