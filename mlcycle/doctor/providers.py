"""Finds the providers that run the model: mlcycle.doctor.probe probes each in its own process."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from mlcycle.machine.child_process import ProcessResult, run_in_subprocess

# The providers that mlcycle supports, and their packages; mlcycle.inference.session has the same names.
PACKAGES = {
    "cpu": "onnxruntime",
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "coreml": "onnxruntime on macOS",
}
# Seconds. TensorRT reports missing libraries at once, and otherwise compiles for minutes.
TIMEOUTS = {"tensorrt": 10}
DEFAULT_TIMEOUT = 60
TIMEOUT_REQUESTED = 600

# What a process does after its last reported stage.
_NEXT_STEP = {
    "": "importing onnxruntime",
    "imported": "loading the model on {}",
    "loaded": "running the model on {}",
    "ran": "exiting, after it ran the model on {}",
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """The imported onnxruntime.

    Attributes:
        version: its own, which can differ from the metadata of a package.
        available: its providers that mlcycle supports.
        package: the package that its files are from, None if unknown.
        cuda: the version of CUDA that it was built for, None if unknown.
    """

    version: str
    available: tuple[str, ...]
    package: str | None
    cuda: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a probe failed.

    Attributes:
        blames: "model", "provider" or "packages".
        message, hint: as in an error of mlcycle.
        detail: the error message of onnxruntime, or "".
    """

    blames: str
    message: str
    hint: str = ""
    detail: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.message}: {self.detail}" if self.detail else self.message


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of probing a provider.

    Attributes:
        requested: the provider's short name, or "auto".
        runtime: None if onnxruntime could not be imported.
        loaded_on: the provider that loaded the model; None if none did.
        name, precision: of the loaded model.
        threads: threads that run the model, None if unknown.
        failure: None if the model ran.
    """

    requested: str
    runtime: Runtime | None
    loaded_on: str | None
    name: str | None
    precision: str | None
    threads: int | None
    failure: Failure | None


def probe_all(first: Probe, model: Path, requested: str) -> dict[str, Probe]:
    """Probes the providers of this onnxruntime, "auto", and the requested one.

    Args:
        first: the finished probe of "cpu" with this model.
        requested: a provider's short name, or "auto".

    Returns the probes by requested provider; one that is neither available nor requested is missing.
    """
    probes = {first.requested: first}
    if first.runtime and first.runtime.available == (first.requested,):
        probes["auto"] = replace(first, requested="auto")  # there is only one provider
    for name in ("auto", *(first.runtime.available if first.runtime else ()), requested):
        if name not in probes:
            seconds = TIMEOUT_REQUESTED if name == requested else TIMEOUTS.get(name, DEFAULT_TIMEOUT)
            probes[name] = probe(name, model, seconds)
    return probes


def probe(provider: str, model: Path, seconds: float = DEFAULT_TIMEOUT) -> Probe:
    """Probes one provider, or "auto", with a model file, for at most `seconds`."""
    ended = run_in_subprocess("mlcycle.doctor.probe", [os.fspath(model), provider], seconds)
    waits = ended.late and seconds < TIMEOUT_REQUESTED
    return _result(provider, ended, f"for a longer timeout, run mlcycle doctor --provider {provider}" if waits else "")


def _result(provider: str, ended: ProcessResult, hint: str) -> Probe:
    imported, loaded = ended.stages.get("imported"), ended.stages.get("loaded", {})
    runtime = None
    if imported:
        facts = {key: imported[key] for key in ("version", "package", "cuda")}
        runtime = Runtime(available=tuple(imported["available"]), **facts)
    facts = {key: loaded.get(key) for key in ("loaded_on", "name", "precision", "threads")}
    failure = _crash(provider, ended, hint) if ended.end else None
    if "failed" in ended.stages:
        failure = _reported(ended)
    return Probe(provider, runtime, failure=failure, **facts)


def _reported(ended: ProcessResult) -> Failure:
    """Returns the failure that the process reported."""
    failed = ended.stages["failed"]
    kind, message = failed["kind"], failed["message"]
    if "imported" not in ended.stages:
        return Failure("packages", f"the packages of mlcycle infer cannot be imported: {kind}: {message}")
    if kind == "ModelFileError":
        return Failure("model", message, failed["hint"])
    if kind != "DeviceError":
        message = f"the model failed on a blank image: {message}"
    return Failure("provider", message, failed["hint"], ended.library_error())


def _crash(provider: str, ended: ProcessResult, hint: str) -> Failure:
    last = ended.last("imported", "loaded", "ran")
    step = _NEXT_STEP[last].format(ended.stages.get("loaded", {}).get("loaded_on") or provider)
    return Failure("provider" if last else "packages", f"the process {ended.end} while {step}", hint)
