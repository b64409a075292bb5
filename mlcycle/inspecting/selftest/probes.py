"""The conductor of `mlcycle model selftest`: a model file → its self-test on each provider. Read it top to bottom."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mlcycle.artifact.self_test import Distance, Tolerance
from mlcycle.errors import DeviceError, MlcycleError, ModelFileError
from mlcycle.inspecting import self_test_image
from mlcycle.inspecting.opened import Opened
from mlcycle.inspecting.selftest.probe import OPTIMISED, UNOPTIMISED
from mlcycle.machine.child_process import ProcessResult, run_in_subprocess

SCHEMA_VERSION = 2
CPU = "cpu"
# Seconds. A requested provider can take minutes to compile the graph, as TensorRT does.
TIMEOUT, TIMEOUT_REQUESTED = 60, 600
# What a process does after its last reported stage.
_NEXT_STEP = {
    "": "importing onnxruntime",
    "imported": "loading the model",
    "loaded": "running the self-test",
    "tested": "running an image without faces",
    "finished": "exiting, after the self-test",
}


def run(opened: Opened, requested: Sequence[str]) -> dict[str, Any]:
    """Runs the self-test of a model file on providers, each in its own process.

    On the CPU it runs twice: with onnxruntime's graph optimisations, and without.

    Args:
        requested: providers by their short names; empty for all that this onnxruntime has.

    Returns the JSON document: the file, its self-test, and the probes.

    Raises:
        ModelFileError: the file has no self-test.
    """
    if opened.self_test is None:
        raise ModelFileError(
            f"{opened.sealed.path} has no self-test",
            "freeze the run again with this mlcycle: mlcycle freeze RUN",
        )
    probes = list(_probes(opened, list(dict.fromkeys(requested))))
    return {
        "schema_version": SCHEMA_VERSION,
        **opened.as_dict(),
        "self_test": self_test_image.facts(opened.self_test),
        "onnxruntime": next((each["onnxruntime"] for each in probes if each["onnxruntime"]), None),
        "probes": probes,
    }


def error(document: dict[str, Any]) -> MlcycleError | None:
    """Returns the error of a document, or None: first failed self-tests, then files and providers that do not run."""
    file, probes = document["file"], document["probes"]
    failed = [_name(each) for each in probes if each["within"] is False]
    if failed:
        cpu = any(each["provider"] == CPU for each in probes if each["within"] is False)
        hint = "download the file again, or install another onnxruntime" if cpu else "use --provider cpu"
        return ModelFileError(f"{file} fails its self-test on {' and '.join(failed)}", hint)
    for each in probes:
        if each["error"] and each["blames"] == "model":
            return ModelFileError(each["error"], each["hint"])
    for each in probes:
        if each["error"] and (each["requested"] or each["blames"] == "packages"):
            return DeviceError(each["error"], each["hint"])
    return None


def _name(probe: dict[str, Any]) -> str:
    return f"{probe['provider']} ({probe['graph']})"


def _probes(opened: Opened, requested: list[str]) -> Iterator[dict[str, Any]]:
    """Yields the result of each probe. If no provider is requested, the first probe finds the available ones."""
    pending = requested or [CPU]
    while pending:
        provider, *pending = pending
        result, available = _probe(opened, provider, OPTIMISED, requested=provider in requested)
        yield result
        if provider == CPU:
            yield _probe(opened, provider, UNOPTIMISED, requested=provider in requested)[0]
            pending += [] if requested else [each for each in available if each != CPU]


def _probe(opened: Opened, provider: str, graph: str, *, requested: bool) -> tuple[dict[str, Any], list[str]]:
    """Returns the result of one probe, and the available providers."""
    seconds = TIMEOUT_REQUESTED if requested else TIMEOUT
    arguments = [os.fspath(opened.sealed.path), opened.sealed.sha256, provider, graph]
    ended = run_in_subprocess("mlcycle.inspecting.selftest.probe", arguments, seconds)
    imported = ended.stages.get("imported", {})
    probe = {"provider": provider, "graph": graph, "requested": requested, "onnxruntime": imported.get("version")}
    result = _failure(ended, provider) if ended.end else _difference(ended)
    return probe | result, imported.get("available", [])


def _difference(ended: ProcessResult) -> dict[str, Any]:
    finished = ended.stages["finished"]
    distance, tolerance = Distance(*finished["distance"]), Tolerance(*finished["tolerance"])
    return {
        "distance": self_test_image.distance_as_dict(distance),
        "tolerance": self_test_image.tolerance_as_dict(tolerance),
        "within": distance.within(tolerance),
        "blames": None,
        "error": None,
        "hint": None,
    }


def _failure(ended: ProcessResult, provider: str) -> dict[str, Any]:
    """Returns the error and its cause: the packages, or on the CPU the model, because the CPU runs every model."""
    failed = ended.stages.get("failed", {})
    last = ended.last("imported", "loaded", "tested", "finished")
    error_message = failed.get("message") or f"the process {ended.end} while {_NEXT_STEP[last]} on {provider}"
    hint = failed.get("hint") or f"for details, run mlcycle doctor --provider {provider}"
    blames = "packages" if not last else "model" if provider == CPU else "provider"
    return {"distance": None, "tolerance": None, "within": None, "blames": blames, "error": error_message, "hint": hint}
