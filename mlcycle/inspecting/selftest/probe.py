"""Runs one self-test. mlcycle.inspecting.selftest.probes starts it in its own process, because a provider can crash."""

from __future__ import annotations

import sys
from pathlib import Path

from mlcycle.machine import own_process
from mlcycle.machine.child_process import report_stage

OPTIMISED, UNOPTIMISED = "optimised", "unoptimised"


def main() -> int:
    """Loads a model file on a provider, runs its self-test and reports the difference; returns the exit code.

    The arguments on the command line are the file, its expected sha256, the provider, and whether onnxruntime optimises
    the graph.
    """
    own_process.claim()
    try:
        _run(Path(sys.argv[1]), *sys.argv[2:5])
    except Exception as problem:
        report_stage(
            "failed",
            kind=type(problem).__name__,
            message=getattr(problem, "message", None) or " ".join(str(problem).split())[:300],
            hint=getattr(problem, "hint", ""),
        )
        return 1
    return 0


def _run(model: Path, sha256: str, provider: str, graph: str) -> None:
    import onnxruntime

    from mlcycle.artifact.seal import read_sealed
    from mlcycle.errors import DeviceError, ModelFileError
    from mlcycle.inference.session import PROVIDERS, open_session

    available = onnxruntime.get_available_providers()
    names = [name for name, long in PROVIDERS.items() if long in available]
    report_stage("imported", version=onnxruntime.__version__, available=names)
    sealed = read_sealed(model)
    if sealed.sha256 != sha256:
        raise ModelFileError(f"{model} was replaced during the test", "run the test again")
    session = open_session(sealed, provider=provider, optimised=graph == OPTIMISED)
    report_stage("loaded")
    distance, tolerance = session.distance(), session.tolerance
    assert distance is not None and tolerance is not None  # the parent process has checked it  # noqa: PT018
    report_stage("tested")
    if session.keeps_faces():
        raise DeviceError(
            f"on {provider}, an image without faces gets the faces of the image before it", "use --provider cpu"
        )
    report_stage(
        "finished",
        distance=(distance.pixels, distance.score),
        tolerance=(tolerance.pixels, tolerance.score),
    )
