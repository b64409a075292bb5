"""The real onnxruntime with something changed, for processes that find a folder of ours before it."""

from __future__ import annotations

from pathlib import Path

# Imports the real one from behind this folder, and changes it; `import onnxruntime` then gives the real one.
_STAND_IN = """
import importlib, sys
from pathlib import Path
here = str(Path(__file__).parent.parent)
places = list(sys.path)
sys.path[:] = [place for place in places if place != here]
del sys.modules["onnxruntime"]
onnxruntime = importlib.import_module("onnxruntime")
sys.path[:] = places
plain = onnxruntime.InferenceSession
onnxruntime.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]

def session(data, options, providers, **others):
    if providers == ["CPUExecutionProvider"]:
        return plain(data, options, providers=providers)
    return on_cuda(data, options)

onnxruntime.InferenceSession = session
"""

# As onnxruntime-gpu does where CUDA's libraries are missing: it logs why, if it may, and takes the CPU.
WITHOUT_LIBRARIES = """
def on_cuda(data, options):
    if options.log_severity_level <= 3:
        sys.stderr.write(
            "\\x1b[1;31m2026-01-01 12:00:00.0 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] "
            "/src/x.cc:2 Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library /lib/libonnx_cuda.so "
            "with error: libcublasLt.so.13: cannot open shared object file: No such file or directory\\n\\x1b[m"
        )
    return plain(data, options, providers=["CPUExecutionProvider"])
"""
DIES_WHEN_IT_LOADS = """
import os, signal
def on_cuda(data, options):
    os.kill(os.getpid(), signal.SIGSEGV)
"""
FAILS_WHEN_IT_RUNS = """
def on_cuda(data, options):
    loaded = plain(data, options, providers=["CPUExecutionProvider"])
    loaded.get_providers = lambda: ["CUDAExecutionProvider"]
    def run(*arguments):
        raise RuntimeError("CUDA failure 209: no kernel image is available")
    loaded.run = run
    return loaded
"""
REFUSES_THE_FILE = """
def on_cuda(data, options):
    raise RuntimeError("no kernel for this operator")
"""
WRONG_OUTPUTS = """
def on_cuda(data, options):
    loaded = plain(data, options, providers=["CPUExecutionProvider"])
    loaded.get_providers = lambda: ["CUDAExecutionProvider"]
    right = loaded.run
    def run(*arguments):
        boxes, *rest = right(*arguments)
        return [boxes + 3, *rest]
    loaded.run = run
    return loaded
"""
# As OpenVINO does with outputs that would have no rows.
KEEPS_FACES = """
def on_cuda(data, options):
    loaded = plain(data, options, providers=["CPUExecutionProvider"])
    loaded.get_providers = lambda: ["CUDAExecutionProvider"]
    right, kept = loaded.run, []
    def run(names, feeds):
        if feeds["images"].any():
            kept[:] = right(names, feeds)
        return list(kept)
    loaded.run = run
    return loaded
"""
DIES_WITHOUT_FACES = """
import os, signal
def on_cuda(data, options):
    loaded = plain(data, options, providers=["CPUExecutionProvider"])
    loaded.get_providers = lambda: ["CUDAExecutionProvider"]
    right = loaded.run
    def run(names, feeds):
        if not feeds["images"].any():
            os.kill(os.getpid(), signal.SIGSEGV)
        return right(names, feeds)
    loaded.run = run
    return loaded
"""
DIES_AT_ITS_END = """
import atexit, os, signal
def on_cuda(data, options):
    loaded = plain(data, options, providers=["CPUExecutionProvider"])
    loaded.get_providers = lambda: ["CUDAExecutionProvider"]
    atexit.register(os.kill, os.getpid(), signal.SIGSEGV)
    return loaded
"""
NEVER_LOADS = """
import time
def on_cuda(data, options):
    time.sleep(600)
"""


def write_odd_onnxruntime(folder: Path, change: str) -> Path:
    """Writes a package onnxruntime that lists CUDA and loads as `change` says; returns the folder to import it from."""
    (folder / "onnxruntime").mkdir(parents=True)
    (folder / "onnxruntime/__init__.py").write_text(f"{_STAND_IN}\n{change}", "utf-8")
    return folder


def write_broken_onnxruntime(folder: Path) -> Path:
    """Writes one whose libraries do not load."""
    (folder / "onnxruntime").mkdir(parents=True)
    (folder / "onnxruntime/__init__.py").write_text('raise ImportError("libfoo.so.1: cannot open")\n', "utf-8")
    return folder


def write_metadata(
    folder: Path, name: str, version: str, files: tuple[str, ...] = ("onnxruntime/__init__.py",)
) -> None:
    """Writes what pip leaves of a package of this name that has written these files."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    (place / "RECORD").write_text("".join(f"{file},,\n" for file in files), "utf-8")
