"""Which providers run the model here: each is tried in a process of its own, by mlcycle.doctor.probe."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from mlcycle.machine.child_process import ProcessResult, run_in_subprocess

# The providers that mlcycle knows, and the package that brings each; mlcycle.inference.session has the same names.
BRINGS = {
    "cpu": "onnxruntime",
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "coreml": "onnxruntime on macOS",
}
# Seconds that a provider may take. TensorRT says at once what it lacks, and else compiles for minutes.
PATIENCE = {"tensorrt": 10}
PATIENCE_ELSE = 60
PATIENCE_ASKED = 600

# What a process was doing that had said this last.
_DOING = {
    "": "importing onnxruntime",
    "imported": "loading the model on {}",
    "loaded": "running the model on {}",
    "ran": "ending, after it had run the model on {}",
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """The onnxruntime that is imported.

    Attributes:
        version: its own, which need not be that of a package's metadata.
        available: the providers in it that mlcycle knows.
        package: the package that its files are from, where it says so.
        cuda: the version of CUDA that it was built for, where it says so.
    """

    version: str
    available: tuple[str, ...]
    package: str | None
    cuda: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial failed.

    Attributes:
        blames: "model", "provider" or "packages".
        message, hint: as an error of mlcycle's has them.
        detail: what onnxruntime itself said of it, or "".
    """

    blames: str
    message: str
    hint: str = ""
    detail: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.message}: {self.detail}" if self.detail else self.message


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of trying a provider.

    Attributes:
        asked: the provider's short name, or "auto".
        runtime: None where onnxruntime could not be imported.
        took: the provider that loaded the model; None where none did.
        name, precision: of the model that was loaded, by its contract.
        threads: that load the processor when it runs, None where that is not known.
        failure: None where the model ran.
    """

    asked: str
    runtime: Runtime | None
    took: str | None
    name: str | None
    precision: str | None
    threads: int | None
    failure: Failure | None


def try_all(first: Trial, model: Path, wanted: str) -> dict[str, Trial]:
    """Tries what is in this onnxruntime, "auto", and what is wanted.

    Args:
        first: the trial of "cpu", already done with this model.
        wanted: a provider's short name, or "auto".

    Returns the trials by what was asked for; a provider that is not there and not wanted has none.
    """
    trials = {first.asked: first}
    if first.runtime and first.runtime.available == (first.asked,):
        trials["auto"] = replace(first, asked="auto")  # which has no choice
    for name in ("auto", *(first.runtime.available if first.runtime else ()), wanted):
        if name not in trials:
            seconds = PATIENCE_ASKED if name == wanted else PATIENCE.get(name, PATIENCE_ELSE)
            trials[name] = attempt(name, model, seconds)
    return trials


def attempt(provider: str, model: Path, seconds: float = PATIENCE_ELSE) -> Trial:
    """Tries one provider, or "auto", on a model file, for at most so many seconds."""
    ended = run_in_subprocess("mlcycle.doctor.probe", [os.fspath(model), provider], seconds)
    waits = ended.late and seconds < PATIENCE_ASKED
    return _trial(provider, ended, f"mlcycle doctor --provider {provider} waits longer" if waits else "")


def _trial(provider: str, ended: ProcessResult, hint: str) -> Trial:
    imported, loaded = ended.stages.get("imported"), ended.stages.get("loaded", {})
    runtime = None
    if imported:
        facts = {key: imported[key] for key in ("version", "package", "cuda")}
        runtime = Runtime(available=tuple(imported["available"]), **facts)
    facts = {key: loaded.get(key) for key in ("took", "name", "precision", "threads")}
    failure = _died(provider, ended, hint) if ended.end else None
    if "failed" in ended.stages:
        failure = _told(ended)
    return Trial(provider, runtime, failure=failure, **facts)


def _told(ended: ProcessResult) -> Failure:
    """Makes a failure of what the process said of it."""
    told = ended.stages["failed"]
    kind, message = told["kind"], told["message"]
    if "imported" not in ended.stages:
        return Failure("packages", f"what mlcycle infer needs cannot be imported: {kind}: {message}")
    if kind == "ModelFileError":
        return Failure("model", message, told["hint"])
    if kind != "DeviceError":
        message = f"the model failed on a blank image: {message}"
    return Failure("provider", message, told["hint"], ended.library_error())


def _died(provider: str, ended: ProcessResult, hint: str) -> Failure:
    last = ended.last("imported", "loaded", "ran")
    doing = _DOING[last].format(ended.stages.get("loaded", {}).get("took") or provider)
    return Failure("provider" if last else "packages", f"the process {ended.end} while {doing}", hint)
