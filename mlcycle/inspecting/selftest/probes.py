"""The conductor of `mlcycle model selftest`: a model file → its answer on each provider; reads from top to bottom."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mlcycle.artifact.self_test import Distance, Tolerance
from mlcycle.errors import DeviceError, MlcycleError, ModelFileError
from mlcycle.inspecting import known_answer
from mlcycle.inspecting.opened import Opened
from mlcycle.inspecting.selftest.probe import AS_WRITTEN, OPTIMISED
from mlcycle.machine.child_process import ProcessResult, run_in_subprocess

SCHEMA_VERSION = 1
CPU = "cpu"
# Seconds that a provider may take; one that was named may compile for minutes, as TensorRT does.
PATIENCE, PATIENCE_NAMED = 60, 600
# What a process was doing that had said this last.
_DOING = {
    "": "importing onnxruntime",
    "imported": "loading the model",
    "loaded": "running the self-test",
    "answered": "ending, after it had answered",
}


def run(opened: Opened, named: Sequence[str]) -> dict[str, Any]:
    """Runs the self-test of a model file on providers, each in a process of its own.

    On a CPU it runs twice: with the graph as onnxruntime rewrites it, as it does for everybody, and as it is written.

    Args:
        named: providers by their short names; none stands for all that this onnxruntime has.

    Returns the document: the file, its known answer, and the trials, as JSON has them.

    Raises:
        ModelFileError: the file carries no self-test.
    """
    if opened.self_test is None:
        raise ModelFileError(
            f"{opened.sealed.path} carries no self-test, so nothing can be tested",
            "freeze the run again with this mlcycle: mlcycle freeze RUN",
        )
    trials = list(_trials(opened, list(dict.fromkeys(named))))
    return {
        "schema_version": SCHEMA_VERSION,
        **opened.as_dict(),
        "self_test": known_answer.facts(opened.self_test),
        "onnxruntime": next((each["onnxruntime"] for each in trials if each["onnxruntime"]), None),
        "trials": trials,
    }


def error(document: dict[str, Any]) -> MlcycleError | None:
    """Returns what is wrong, or None: first answers that are too far off, then files and providers that do not run."""
    file, trials = document["file"], document["trials"]
    far = [_called(each) for each in trials if each["within"] is False]
    if far:
        cpu = any(each["provider"] == CPU for each in trials if each["within"] is False)
        hint = "fetch the file again, or install another onnxruntime" if cpu else "ask for --provider cpu"
        return ModelFileError(f"{file} does not give its known answer on {' and '.join(far)}", hint)
    for each in trials:
        if each["why_not"] and each["blames"] == "model":
            return ModelFileError(each["why_not"], each["hint"])
    for each in trials:
        if each["why_not"] and (each["named"] or each["blames"] == "packages"):
            return DeviceError(each["why_not"], each["hint"])
    return None


def _called(trial: dict[str, Any]) -> str:
    return f"{trial['provider']} ({trial['graph']})"


def _trials(opened: Opened, named: list[str]) -> Iterator[dict[str, Any]]:
    """Yields what came of each; the first one says which providers there are, if none is named."""
    wanted = named or [CPU]
    while wanted:
        provider, *wanted = wanted
        trial, there = _attempt(opened, provider, OPTIMISED, named=provider in named)
        yield trial
        if provider == CPU:
            yield _attempt(opened, provider, AS_WRITTEN, named=provider in named)[0]
            wanted += [] if named else [each for each in there if each != CPU]


def _attempt(opened: Opened, provider: str, graph: str, *, named: bool) -> tuple[dict[str, Any], list[str]]:
    """Returns what came of one, and which providers there are."""
    seconds = PATIENCE_NAMED if named else PATIENCE
    arguments = [os.fspath(opened.sealed.path), opened.sealed.sha256, provider, graph]
    ended = run_in_subprocess("mlcycle.inspecting.selftest.probe", arguments, seconds)
    imported = ended.stages.get("imported", {})
    which = {"provider": provider, "graph": graph, "named": named, "onnxruntime": imported.get("version")}
    came = _failure(ended, provider) if ended.end else _answer(ended)
    return which | came, imported.get("available", [])


def _answer(ended: ProcessResult) -> dict[str, Any]:
    answered = ended.stages["answered"]
    distance, tolerance = Distance(*answered["distance"]), Tolerance(*answered["tolerance"])
    return {
        "distance": known_answer.distance_as_dict(distance),
        "tolerance": known_answer.tolerance_as_dict(tolerance),
        "within": distance.within(tolerance),
        "blames": None,
        "why_not": None,
        "hint": None,
    }


def _failure(ended: ProcessResult, provider: str) -> dict[str, Any]:
    """Says why there is no answer, and what is to blame: the packages, else on a CPU the model, since CPUs run all."""
    told = ended.stages.get("failed", {})
    last = ended.last("imported", "loaded", "answered")
    why = told.get("message") or f"the process {ended.end} while {_DOING[last]} on {provider}"
    hint = told.get("hint") or f"mlcycle doctor --provider {provider} says more"
    blames = "packages" if not last else "model" if provider == CPU else "provider"
    return {"distance": None, "tolerance": None, "within": None, "blames": blames, "why_not": why, "hint": hint}
