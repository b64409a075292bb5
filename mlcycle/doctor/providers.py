"""Which providers run the model here: each is tried in a process of its own, by mlcycle.doctor.trial."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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

# The child imports from where this process does, so that it finds what `mlcycle infer` would find.
_BEGIN = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from mlcycle.doctor.trial import main
sys.exit(main())
"""
# What a process was doing that had said this last.
_DOING = {
    "": "importing onnxruntime",
    "imported": "loading the model on {}",
    "loaded": "running the model on {}",
    "ran": "ending, after it had run the model on {}",
}
_LIBRARY = re.compile(r"Failed to load library \S+ with error: (.+)")
_LOGGED = re.compile(r"\[E:onnxruntime[^\]]*\] (.+)")
_ORIGIN = re.compile(r"^.*\[ONNXRuntimeError\] : \d+ : \w+ : ")


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
    command = [sys.executable, "-P", "-c", _BEGIN, json.dumps(sys.path), os.fspath(model), provider]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as late:
        end = f"had not ended after {seconds:g} seconds"
        hint = f"mlcycle doctor --provider {provider} waits longer" if seconds < PATIENCE_ASKED else ""
        return _trial(provider, _stages(late.stdout), end, late.stderr, hint)
    return _trial(provider, _stages(done.stdout), _end(done.returncode, done.stderr), done.stderr)


def _trial(provider: str, stages: dict[str, dict[str, Any]], end: str, stderr: bytes | None, hint: str = "") -> Trial:
    imported, loaded = stages.get("imported"), stages.get("loaded", {})
    runtime = None
    if imported:
        facts = {key: imported[key] for key in ("version", "package", "cuda")}
        runtime = Runtime(available=tuple(imported["available"]), **facts)
    facts = {key: loaded.get(key) for key in ("took", "name", "precision", "threads")}
    failure = _died(provider, stages, end, hint) if end else None
    if "failed" in stages:
        failure = _told("imported" in stages, stages["failed"], _text(stderr))
    return Trial(provider, runtime, failure=failure, **facts)


def _told(imported: bool, told: dict[str, Any], stderr: str) -> Failure:
    """Makes a failure of what the process said of it."""
    kind, message = told["kind"], told["message"]
    if not imported:
        return Failure("packages", f"what mlcycle infer needs cannot be imported: {kind}: {message}")
    if kind == "ModelFileError":
        return Failure("model", message, told["hint"])
    if kind != "DeviceError":
        message = f"the model failed on a blank picture: {message}"
    return Failure("provider", message, told["hint"], _own_words(stderr))


def _died(provider: str, stages: dict[str, dict[str, Any]], end: str, hint: str) -> Failure:
    last = next((stage for stage in ("ran", "loaded", "imported") if stage in stages), "")
    doing = _DOING[last].format(stages.get("loaded", {}).get("took") or provider)
    return Failure("provider" if last else "packages", f"the process {end} while {doing}", hint)


def _end(code: int, stderr: bytes) -> str:
    """Returns how a process ended that did not say so itself, "" if it ended well."""
    if code == 0:
        return ""
    if code > 0:
        last = (_text(stderr).strip().splitlines() or ["it said nothing"])[-1]
        return f"ended with code {code}: {last[:300]}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")


def _own_words(stderr: str) -> str:
    """Returns the first thing that onnxruntime logged as an error, without its own source's places."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", stderr)
    if library := _LIBRARY.search(plain):
        return library[1].strip()
    logged = _LOGGED.search(plain)
    return _ORIGIN.sub("", logged[1]).strip()[:300] if logged else ""


def _stages(stdout: bytes | None) -> dict[str, dict[str, Any]]:
    return {facts["stage"]: facts for facts in _documents(_text(stdout))}


def _documents(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith('{"stage"'):
            try:
                yield json.loads(line)
            except ValueError:  # broken off
                continue


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")
