"""The conductor of `mlcycle freeze`: a run → one immutable model file. Read it top to bottom."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlcycle.artifact.contract import LANDMARKS, Contract, Resize, Selection
from mlcycle.artifact.seal import write_sealed
from mlcycle.training.checkpoint import Progress
from mlcycle.training.graph import build_model
from mlcycle.training.recipe import Recipe
from mlcycle.training.run_folder import RunFolder
from mlcycle.training.trace import load_trained

# What of a run's environment travels in the file: nothing that names a machine or a day, so that freezing the same run
# anywhere gives the same bytes.
PACKAGES_TOLD = ("mlcycle", "torch")


@dataclass(frozen=True, slots=True)
class Frozen:
    """A file that was written: its path, sha256 and size in bytes, and what the gate said of it."""

    path: Path
    sha256: str
    size: int
    verdict: Any


def freeze(run: Path, target: Path | None, gate: Callable[[Path], Any]) -> Frozen:
    """Freezes a run's best checkpoint.

    Args:
        run: the run folder.
        target: the file to write; None means models/NAME-DIGEST.onnx, so that two models never share a name.
        gate: is given the path of the finished but unpublished file, and raises GateError if it must not be.

    Raises:
        InputError, DataError: the run cannot be used, or the target is taken.
        GateError: the gate's; then nothing was written.
    """
    recipe, network, progress = load_trained(run)
    environment = RunFolder(run).environment()
    contract = make_contract(recipe, progress, environment)
    data = build_model(network, contract)
    with tempfile.TemporaryDirectory(prefix="mlcycle-freeze-") as scratch:
        candidate = Path(scratch) / "candidate.onnx"
        digest = write_sealed(data, candidate)
        verdict = gate(candidate)
    path = target or Path("models") / f"{recipe.name}-{digest[:12]}.onnx"
    write_sealed(data, path)
    return Frozen(path, digest, len(data), verdict)


def make_contract(recipe: Recipe, progress: Progress, environment: dict[str, Any]) -> Contract:
    """Returns what the file will say of itself; it depends on the run alone."""
    rule = recipe.inference
    return Contract(
        name=recipe.name,
        resize=Resize(long_side=rule.long_side),
        selection=Selection(rule.score_floor, rule.iou_threshold, rule.max_faces),
        thresholds={"balanced": rule.threshold},
        landmarks=LANDMARKS if recipe.model.landmarks else (),
        training={
            "recipe": recipe.model_dump(mode="json"),
            "step": progress.best_step,
            "held_out_average_precision_50": round(progress.best_score, 6),
            "data": environment.get("data", {}),
            "git_commit": environment.get("git_commit"),
            "versions": {name: environment.get("packages", {}).get(name) for name in PACKAGES_TOLD},
        },
    )
