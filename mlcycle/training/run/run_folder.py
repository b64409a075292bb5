"""The run folder: everything that one training writes, and the lock on it.

runs/NAME/
  recipe.yaml         the resolved recipe, overrides included
  environment.json    versions, device, git commit, data fingerprint
  metrics.jsonl       one line per report: losses, rate, time spent waiting for data; scores when evaluated
  checkpoints/        step-00001000.safetensors …, and best.safetensors
  report.html         curves, metrics and the worst mistakes; written at the end of the run or by mlcycle train report
  tensorboard/        TensorBoard event files, if requested
  lock                locked while a process trains here
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import mlcycle
from mlcycle import files
from mlcycle.errors import DataError, InputError
from mlcycle.training.run import tensor_file

RECIPE, ENVIRONMENT, METRICS, REPORT = "recipe.yaml", "environment.json", "metrics.jsonl", "report.html"
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "onnx", "onnxscript", "safetensors")
BEST = "best.safetensors"
CHECKPOINTS = Path("checkpoints")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a training that do not affect its weights.

    Attributes:
        tensorboard: write TensorBoard event files.
        images: include images in the report.
        own_process: whether the process runs only this training. Then signals save the run and end it, and the C
            library keeps freed memory; otherwise the process's signal handlers and allocator stay as they are.
    """

    tensorboard: bool = False
    images: bool = True
    own_process: bool = True


class RunFolder:
    """The paths and small files of one run.

    Args:
        path: the folder; `create` makes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / CHECKPOINTS

    def remove_if_untrained(self) -> None:
        """Removes the folder of a run that failed before its first report and checkpoint, so it can start again."""
        metrics = self.path / METRICS
        if not self.checkpoint_paths() and not (metrics.exists() and metrics.stat().st_size):
            shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the folder against other processes; the lock is released however the process ends.

        Raises:
            InputError: another process trains here.
        """
        lock = FileLock(self.path / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"{self.path} is in use by another process", "wait for it, or choose another with --out"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def is_new(self) -> bool:
        """Returns whether nothing exists here, or only what a process killed before it wrote a recipe has left."""
        if not self.path.is_dir():
            return not self.path.exists()
        names = {each.name for each in {*self.path.iterdir()} - {*files.drafts(self.path)}} - {"lock"}
        return not names or (names == {CHECKPOINTS.name} and not any(self.checkpoints.iterdir()))

    def was_started_with(self, recipe: str) -> bool:
        """Returns whether a run with exactly this recipe text exists here."""
        try:
            return (self.path / RECIPE).read_text(encoding="utf-8") == recipe
        except OSError:
            return False

    def create(self) -> None:
        """Creates a new run folder.

        Raises:
            InputError: it exists and is not empty, or cannot be created.
        """
        try:
            if not self.is_new():
                raise InputError(
                    f"the run folder {self.path} already exists",
                    "resume it with --resume, or choose another with --out",
                )
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            files.sync(self.path.parent)
        except OSError as problem:
            raise InputError(f"the run folder {self.path} cannot be created: {problem.strerror}") from None

    def must_exist(self) -> None:
        """Raises InputError unless this is a run folder."""
        if not (self.path / RECIPE).is_file():
            raise InputError(f"{self.path} is not a run folder: it has no {RECIPE}", "start one: mlcycle train RECIPE")

    def write(self, name: str, text: str) -> None:
        """Writes one of the small files atomically.

        Raises:
            InputError: it cannot be written.
        """
        files.write(self.path / name, text, overwrite=True, hint=tensor_file.HINT)

    def remove_drafts(self) -> None:
        """Removes the incomplete files of a killed process; only for the process that has locked the folder."""
        for folder in (self.path, self.checkpoints):
            for draft in files.drafts(folder):
                draft.unlink(missing_ok=True)

    def checkpoint_path(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}.safetensors"

    def checkpoint_paths(self) -> list[Path]:
        """Returns the step checkpoints, newest first."""
        return sorted(self.checkpoints.glob("step-*.safetensors"), reverse=True)

    def drop_old_checkpoints(self, keep: int, step: int) -> None:
        """Keeps the newest `keep` checkpoints up to this step. Later ones could not be read and are not counted."""
        newest = self.checkpoint_path(step)
        for path in [each for each in self.checkpoint_paths() if each.name <= newest.name][keep:]:
            path.unlink()

    def append_metrics(self, entry: dict[str, Any]) -> None:
        """Appends a line to metrics.jsonl.

        Raises:
            InputError: it cannot be written.
        """
        path = self.path / METRICS
        with files.attributed(path, tensor_file.HINT), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())  # before the checkpoint from which a resumed run would not write it again

    def metrics(self) -> list[dict[str, Any]]:
        """Returns the metrics so far; a last line cut short by a crash is left out."""
        try:
            lines = (self.path / METRICS).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        entries = []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
        return entries

    def forget_metrics_after(self, step: int, evaluated_step: int) -> None:
        """Removes lines written after the checkpoint that a run resumes from, so that no step appears twice."""
        kept = [
            entry
            for entry in self.metrics()
            if entry["step"] <= (evaluated_step if "average_precision" in entry else step)
        ]
        self.write(METRICS, "".join(json.dumps(entry) + "\n" for entry in kept))

    def environment(self) -> dict[str, Any]:
        """Returns environment.json.

        Raises:
            DataError: it is missing or damaged.
        """
        try:
            return json.loads((self.path / ENVIRONMENT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise DataError(f"{self.path / ENVIRONMENT} is missing or damaged", "train again") from None

    def note_environment(self, now: dict[str, Any], resumed_at: int | None) -> list[str]:
        """Writes environment.json; a resumed run appends its environment to the first one.

        Args:
            resumed_at: the step that the run resumes from; None at its start.

        Returns:
            in words, what has changed since the start of the run.

        Raises:
            DataError: the data or the teacher has changed.
        """
        others: list[str] = []
        if resumed_at is not None:
            first = self.environment()
            if first["data"]["fingerprint"] != now["data"]["fingerprint"]:
                raise DataError(
                    f"images or labels have changed since {self.path} was started",
                    "restore them, or start another run",
                )
            if first.get("teacher") != now["teacher"]:
                raise DataError(
                    f"the teacher's weights have changed since {self.path} was started",
                    "restore them, or start another run",
                )
            others = _changes(first, now)
            now = first | {"resumed": [*first.get("resumed", []), {"step": resumed_at, **now}]}
        self.write(ENVIRONMENT, json.dumps(now, indent=2) + "\n")
        return others


def _changes(first: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns in words the changes of an environment that can affect the numbers."""
    values = [
        (name, before.get(name), after.get(name))
        for before, after in ((first, now), (first["data"], now["data"]), (first.get("packages", {}), now["packages"]))
        for name in ("device", "instructions", "accumulation", "packing", "git_commit", "mlcycle", *PACKAGES[:4])
    ]
    words = [f"{name} {before}, now {after}" for name, before, after in values if before and before != after]
    # A run of an earlier mlcycle does not record its recipe's digest.
    if first.get("recipe_sha256", now["recipe_sha256"]) != now["recipe_sha256"]:
        words.append(f"another {RECIPE}")
    return words


def describe_environment(device: str, data: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of environment.json: versions, machine, git commit of the code, and a summary of the data."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "device": device,
        "packages": {"mlcycle": mlcycle.__version__} | {name: _version(name) for name in PACKAGES},
        "git_commit": _git_commit(),
        "data": data,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Returns the commit of the checkout that this code runs from, "-dirty" if changed; None without a checkout."""
    here = Path(mlcycle.__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout

    try:
        if Path(git("rev-parse", "--show-toplevel").strip()) != here.parent:
            return None
        return git("rev-parse", "HEAD").strip() + (
            "-dirty" if git("status", "--porcelain", "--", str(here)).strip() else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None
