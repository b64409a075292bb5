"""The model file in service, and its replacement by a new one without a gap."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from mlcycle.errors import MlcycleError
from mlcycle.inference.detect import Detector, load_sealed, read_model

if TYPE_CHECKING:
    from mlcycle.artifact.signing.keys import PublicKey

# What tells that a file, or its signature, has changed: numbers, sizes in bytes and times of the last change.
_State = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model file is read from, and how.

    Attributes:
        path: of the model file.
        name: under which it is served; "" takes the name in its contract.
        provider: that runs it.
        threads: of the model for one image; one, if workers share the cores.
        signed_by: the key that must have signed it, or None.
    """

    path: Path
    name: str = ""
    provider: str = "auto"
    threads: int | None = 1
    signed_by: PublicKey | None = None

    def load(self) -> Detector:
        """Reads and verifies the file, loads it and runs its self-test.

        Raises:
            ModelFileError: missing, damaged, not signed by the key, not loadable, or its self-test fails.
            DeviceError: the provider is not available, or the self-test fails on it.
        """
        return load_sealed(read_model(self.path, self.signed_by), provider=self.provider, threads=self.threads)


@dataclass(slots=True)
class ServedModel:
    """A model in service: requests use `detector`, which a reload replaces.

    Attributes:
        name: under which clients know it; a reload does not change it.
        problem: why the last reload was refused, or "".
        reloads: outcome ("loaded", "unchanged", "refused") → number.
    """

    source: ModelSource
    detector: Detector
    name: str
    problem: str = ""
    reloads: dict[str, int] = field(default_factory=lambda: {"loaded": 0, "unchanged": 0, "refused": 0})
    _seen: _State = None
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def open(cls, source: ModelSource) -> ServedModel:
        """Loads a model; errors as ModelSource.load."""
        seen = _state_of(source)
        detector = source.load()
        return cls(source, detector, source.name or detector.contract.name, _seen=seen)

    def has_changed(self) -> bool:
        """Returns whether the file, or its signature, is another one than at the last attempt to load it."""
        return _state_of(self.source) != self._seen

    def reload(self) -> str:
        """Loads the file again and swaps it in, or keeps the one in service; returns the outcome.

        The new file is read, verified and tested beside the one in service, which answers meanwhile.
        """
        with self._lock:
            self._seen = _state_of(self.source)
            try:
                detector = self.source.load()
            except MlcycleError as problem:
                self.problem, outcome = problem.message, "refused"
            except Exception as problem:  # whatever is wrong with the new file, the old one must stay in service
                self.problem, outcome = f"{type(problem).__name__}: {problem}", "refused"
            else:
                outcome = "unchanged" if detector.sha256 == self.detector.sha256 else "loaded"
                self.detector, self.problem = detector, ""
            self.reloads[outcome] += 1
            return outcome


def _state_of(source: ModelSource) -> _State:
    state: list[int] = []
    for path in (source.path, *([Path(f"{source.path}.sig")] if source.signed_by else [])):
        try:
            status = os.stat(path)  # noqa: PTH116 (one call, each second)
        except OSError:
            return None
        state += [status.st_ino, status.st_size, status.st_mtime_ns]
    return tuple(state)
