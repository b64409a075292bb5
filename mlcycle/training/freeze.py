"""The conductor of `mlcycle freeze`: a run → one immutable model file. Read it top to bottom."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from mlcycle.artifact.contract import LANDMARKS, Contract, Resize, Selection
from mlcycle.artifact.seal import must_be_free, write_sealed
from mlcycle.artifact.self_test import HEIGHT, WIDTH, SelfTest, known_answer, picture
from mlcycle.errors import DataError
from mlcycle.training.checkpoint import Progress
from mlcycle.training.graph import build_model
from mlcycle.training.network import FaceNetwork
from mlcycle.training.recipe import Recipe
from mlcycle.training.run_folder import BEST, ENVIRONMENT, RECIPE, RunFolder
from mlcycle.training.trace import answer, load_trained

# What of a run's environment travels in the file: nothing that names a machine or a day, so that freezing the same run
# with the same versions gives the same bytes anywhere.
PACKAGES_TOLD = ("mlcycle", "torch")


@dataclass(frozen=True, slots=True)
class Frozen:
    """A file that was written: its path, sha256 and size in bytes, and what the gate said of it."""

    path: Path
    sha256: str
    size: int
    verdict: Any


def freeze(run: Path, target: Path | None, gate: Callable[[Path, Path], Any]) -> Frozen:
    """Freezes a run's best checkpoint.

    Args:
        run: the run folder.
        target: the file to write; None means models/NAME-DIGEST.onnx, so that two models never share a name.
        gate: is given a copy of the run as it was frozen and the finished but unpublished file, and raises GateError
            if the file must not be published.

    Raises:
        InputError, DataError: the run cannot be used, or the target is taken.
        GateError: the gate's; then nothing was written.
    """
    with tempfile.TemporaryDirectory(prefix="mlcycle-freeze-") as scratch:
        # The run may still be training: what is frozen and what it is compared with must be the same weights.
        still = _copy(run, Path(scratch) / "run")
        recipe, network, progress = load_trained(still)
        contract = make_contract(recipe, progress, RunFolder(still).environment())
        data = build_model(network, contract, what_it_knows(recipe, network))
        candidate = Path(scratch) / "candidate.onnx"
        digest = write_sealed(data, candidate)
        path = target or Path("models") / f"{recipe.name}-{digest[:12]}.onnx"
        must_be_free(data, path)
        verdict = gate(still, candidate)
    write_sealed(data, path)
    return Frozen(path, digest, len(data), verdict)


def _copy(run: Path, still: Path) -> Path:
    folder = RunFolder(run)
    folder.must_exist()
    (still / folder.checkpoints.name).mkdir(parents=True)
    for name in (RECIPE, ENVIRONMENT, f"{folder.checkpoints.name}/{BEST}"):
        try:
            shutil.copyfile(run / name, still / name)
        except FileNotFoundError:
            raise DataError(
                f"{run} has no {name} yet, so there is nothing to freeze", "train until the first evaluation"
            ) from None
    return still


def make_contract(recipe: Recipe, progress: Progress, environment: dict[str, Any]) -> Contract:
    """Returns what the file will say of itself; it depends on the run alone."""
    rule = recipe.inference
    return Contract(
        name=recipe.name,
        resize=Resize(long_side=rule.long_side),
        selection=Selection(rule.score_floor, rule.iou_threshold, rule.max_faces),
        thresholds={"balanced": rule.threshold},
        landmarks=LANDMARKS if recipe.model.landmarks else (),
        reduced_jpeg=rule.reduced_jpeg,
        training={
            "recipe": _without_places(recipe.model_dump(mode="json")),
            "step": progress.best_step,
            "held_out_average_precision_50": round(progress.best_score, 6),
            "started_from": environment.get("started_from"),
            "data": environment.get("data", {}),
            "git_commit": _commits(environment),
            "versions": {name: environment.get("packages", {}).get(name) for name in PACKAGES_TOLD},
        },
    )


def what_it_knows(recipe: Recipe, network: FaceNetwork) -> SelfTest:
    """Returns the self-test: what training's own arithmetic finds in a drawing of faces."""
    boxes, scores, landmarks = answer(network, recipe, picture(HEIGHT, WIDTH, 0))
    return known_answer(boxes.numpy(), scores.numpy(), landmarks.numpy() if recipe.model.landmarks else None)


def _without_places(recipe: dict[str, Any]) -> dict[str, Any]:
    """Names each set by the last part of its path: where it lay on the machine that trained is nobody's business."""
    data = recipe["data"] | {"decoded": None}
    for part in ("train", "validation"):
        data[part] = [source | {"path": PurePath(source["path"]).name} for source in data[part]]
    started_from = recipe["start_from"] and PurePath(recipe["start_from"]).name
    return recipe | {"data": data, "start_from": started_from}


def _commits(environment: dict[str, Any]) -> str | None:
    """Returns the commit that trained, or all of them in order if the code changed between two parts of the run."""
    parts = [environment, *environment.get("resumed", [])]
    commits = dict.fromkeys(part["git_commit"] for part in parts if part.get("git_commit"))
    return " ".join(commits) or None
