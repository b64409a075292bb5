"""One self-test, in a process of its own, which mlcycle.inspecting.selftest.probes starts: a provider may crash."""

from __future__ import annotations

import sys
from pathlib import Path

from mlcycle.machine.child_process import report_stage

OPTIMISED, AS_WRITTEN = "optimised", "as written"


def main() -> int:
    """Loads a model file on a provider, runs its self-test and says how far the answer is; returns the exit code.

    On the command line stand the file, the sha256 that it must have, the provider, and whether onnxruntime may rewrite
    the graph.
    """
    try:
        _answer(Path(sys.argv[1]), *sys.argv[2:5])
    except Exception as problem:
        report_stage(
            "failed",
            kind=type(problem).__name__,
            message=getattr(problem, "message", None) or " ".join(str(problem).split())[:300],
            hint=getattr(problem, "hint", ""),
        )
        return 1
    return 0


def _answer(model: Path, sha256: str, provider: str, graph: str) -> None:
    import onnxruntime

    from mlcycle.artifact.seal import read_sealed
    from mlcycle.errors import ModelFileError
    from mlcycle.inference.session import PROVIDERS, open_session

    there = onnxruntime.get_available_providers()
    names = [name for name, long in PROVIDERS.items() if long in there]
    report_stage("imported", version=onnxruntime.__version__, available=names)
    sealed = read_sealed(model)
    if sealed.sha256 != sha256:
        raise ModelFileError(f"{model} was replaced while it was being tested", "test it again")
    session = open_session(sealed, provider=provider, optimised=graph == OPTIMISED)
    report_stage("loaded")
    distance, tolerance = session.distance(), session.tolerance
    assert distance is not None and tolerance is not None  # whoever started this has seen it  # noqa: PT018
    report_stage(
        "answered",
        distance=(distance.pixels, distance.score),
        tolerance=(tolerance.pixels, tolerance.score),
    )
