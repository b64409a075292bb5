"""Probes one provider, in a process that mlcycle.doctor.providers starts, because a provider can crash or hang."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.machine import own_process
from mlcycle.machine.child_process import report_stage

if TYPE_CHECKING:
    from mlcycle.artifact.seal import SealedBytes

# Small, and without a face: the graph then has empty outputs, which some providers cannot handle.
SIDE = 64


def main() -> int:
    """Loads a model file on a provider, runs it on a blank image, and reports each stage; returns the exit code.

    The arguments on the command line are the file and the provider.
    """
    own_process.claim()
    model, provider = sys.argv[1:3]
    try:
        _import()
        from mlcycle.artifact.seal import read_sealed

        sealed = read_sealed(Path(model))
        _load_and_run(sealed, provider)
    except Exception as problem:
        report_stage(
            "failed",
            kind=type(problem).__name__,
            message=getattr(problem, "message", None) or " ".join(str(problem).split())[:300],
            hint=getattr(problem, "hint", ""),
        )
        if type(problem).__name__ == "DeviceError":
            _print_load_error(sealed, provider)
        return 1
    return 0


def _import() -> None:
    """Imports the modules of `mlcycle infer`, and reports the onnxruntime."""
    import onnxruntime

    import mlcycle.inference.detect  # noqa: F401
    from mlcycle.inference.session import PROVIDERS

    available = onnxruntime.get_available_providers()
    report_stage(
        "imported",
        version=onnxruntime.__version__,
        available=[name for name, long in PROVIDERS.items() if long in available],
        **_build(),
    )


def _build() -> dict[str, str | None]:
    """Returns the package that the files are from, and the version of CUDA that they were built for."""
    try:
        from onnxruntime.capi import build_and_package_info as build
    except ImportError:
        return {"package": None, "cuda": None}
    return {"package": getattr(build, "package_name", None), "cuda": getattr(build, "cuda_version", None)}


def _load_and_run(sealed: SealedBytes, provider: str) -> None:
    import numpy as np

    from mlcycle.inference.detect import run_self_test
    from mlcycle.inference.session import open_session, padded

    before = _threads()
    session = open_session(sealed, provider=provider)
    after = _threads()
    report_stage(
        "loaded",
        loaded_on=session.provider,
        name=session.contract.name,
        precision=session.contract.precision,
        # The calling thread computes too.
        threads=after - before + 1 if after else None,
    )
    size = session.contract.input_size
    width, height = (size.width, size.height) if size else (SIDE, SIDE)
    session.run(padded(np.zeros((SIDE, SIDE, 3), np.uint8), width, height)[None])
    run_self_test(session, sealed.path)
    report_stage("ran")


def _threads() -> int:
    """Returns the number of threads of this process, 0 if unknown."""
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208
    except OSError:
        return 0


def _print_load_error(sealed: SealedBytes, provider: str) -> None:
    """Loads the same bytes again with logging, so that onnxruntime names the missing library or device on stderr."""
    import onnxruntime

    from mlcycle.inference.session import PROVIDERS

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if PROVIDERS.get(provider) in onnxruntime.get_available_providers():
        onnxruntime.InferenceSession(sealed.data, options, providers=[PROVIDERS[provider]])
