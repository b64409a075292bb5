"""The conductor of `mlcycle freeze`: a run → one immutable model file. Read it top to bottom."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any

from mlcycle import __version__
from mlcycle.artifact.contract import LANDMARKS, Contract, Resize, Selection
from mlcycle.artifact.seal import must_be_free, must_be_writable, write_sealed
from mlcycle.artifact.self_test import HEIGHT, WIDTH, SelfTest, image, make_self_test
from mlcycle.errors import DataError, InputError
from mlcycle.results import Frozen
from mlcycle.training.data.training_data import gather
from mlcycle.training.distributed.device import one_thread
from mlcycle.training.export import operating_points
from mlcycle.training.export.graph import build_model
from mlcycle.training.export.operating_points import Points, Rates
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.model.predict import answer, look
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.recipes.recipe_file import dump
from mlcycle.training.run.checkpoint import Progress
from mlcycle.training.run.run_folder import BEST, ENVIRONMENT, RECIPE, RunFolder
from mlcycle.training.trace import load_trained

# What of a run's environment travels in the file: nothing that names a machine or a day, so that freezing the same run
# with the same versions gives the same bytes anywhere.
PACKAGES_TOLD = ("mlcycle", "torch")
# What writes the graph down: another version may write it down another way.
EXPORTERS = ("torch", "onnx", "onnxscript")

Advance = Callable[[int], None]
Started = Callable[[int], Advance]


def freeze(
    run: Path, target: Path | None, gate: Callable[[Path, Path], Any], started: Started, rates: Rates | None = None
) -> Frozen:
    """Freezes a run's best checkpoint.

    Args:
        run: the run folder.
        target: the file to write; None means models/NAME-DIGEST.onnx, so that two models never share a name.
        gate: is given a copy of the run as it was frozen and the finished but unpublished file, and raises GateError
            if the file must not be published.
        started: called with the number of held-out images before thresholds are chosen on them; what it returns
            is called with 1 after each.
        rates: for the thresholds; None takes the usual ones.

    Raises:
        InputError, DataError: the run cannot be used, no threshold can be chosen, or the target is taken.
        GateError: the gate's; then nothing was written.
    """
    must_be_writable(target.parent if target else Path("models"))
    with tempfile.TemporaryDirectory(prefix="mlcycle-freeze-") as scratch:
        # The run may still be training: what is frozen and what it is compared with must be the same weights.
        still = snapshot_run(run, Path(scratch) / "run")
        recipe, network, progress = load_trained(still)
        environment = RunFolder(still).environment()
        chosen = choose_points(recipe, network, environment, rates or Rates(), started)
        contract = make_contract(recipe, progress, environment, chosen)
        data = build_model(network, contract, compute_self_test(recipe, network))
        candidate = Path(scratch) / "candidate.onnx"
        digest = write_sealed(data, candidate)
        path = target or Path("models") / f"{recipe.name}-{digest[:12]}.onnx"
        must_be_free(data, path)
        RunFolder(still).write(RECIPE, dump(_with_threshold(recipe, chosen)))
        verdict = gate(still, candidate)
    write_sealed(data, path)
    return Frozen(path, digest, len(data), chosen, str(verdict))


def snapshot_run(run: Path, still: Path) -> Path:
    """Copies what a file is made from out of a run folder.

    Raises:
        InputError, DataError: it is no run folder, or has no checkpoint yet.
    """
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
        except OSError as problem:
            what = f"{name} of the run {run} cannot be copied: {problem.strerror}"
            raise InputError(what, "see that you may read it, and that there is room for it") from None
    return still


def choose_points(
    recipe: Recipe, network: FaceNetwork, environment: dict[str, Any], rates: Rates, started: Started
) -> Points:
    """Chooses the thresholds on all images that the run was evaluated on, by what the network finds there.

    Where these are not there any more, or are others than the run's, the recipe's own threshold must do.

    Raises:
        DataError: an image cannot be read, or no threshold can be chosen and the recipe has none.
    """
    try:
        training_data = gather(recipe.data)
        training_data.must_be(environment.get("data", {}).get("fingerprint"))
    except DataError as problem:
        return operating_points.given(recipe.inference, problem.message)
    advance, found = started(len(training_data.val)), []
    with one_thread():
        for boxes_and_scores in look(network, recipe.inference, training_data.val):
            found.append(boxes_and_scores)
            advance(1)
    truths = [(each.boxes_N4, each.ignore_N) for each in training_data.val]
    return operating_points.choose(truths, found, recipe.inference, rates)


def _with_threshold(recipe: Recipe, chosen: Points) -> Recipe:
    """Returns the recipe that training's side of the gate goes by."""
    inference = recipe.inference.model_copy(update={"threshold": chosen.thresholds[operating_points.BALANCED]})
    return recipe.model_copy(update={"inference": inference})


def make_contract(recipe: Recipe, progress: Progress, environment: dict[str, Any], chosen: Points) -> Contract:
    """Returns what the file will say of itself; it depends on the run, and on the versions that write it down."""
    rule = recipe.inference
    about = recipe.about.model_dump(mode="json")
    parts = [environment, *environment.get("resumed", [])]
    return Contract(
        name=recipe.name,
        resize=Resize(long_side=rule.long_side),
        selection=Selection(rule.score_floor, rule.iou_threshold, rule.max_faces),
        thresholds=chosen.thresholds,
        landmarks=LANDMARKS if recipe.model.landmarks else (),
        reduced_jpeg=rule.reduced_jpeg,
        about={name: value for name, value in about.items() if value},
        training={
            "recipe": _without_places(recipe.model_dump(mode="json", exclude={"about"})),
            "step": progress.best_step,
            "held_out_average_precision_50": round(progress.best_score, 6),
            "operating_points": chosen.measured or None,
            "started_from": environment.get("started_from"),
            "teacher": environment.get("teacher"),
            "data": environment.get("data", {}),
            "git_commit": _in_order([part.get("git_commit") for part in parts]),
            "versions": {
                name: _in_order([part.get("packages", {}).get(name) for part in parts]) for name in PACKAGES_TOLD
            },
            "frozen_with": versions_here(),
        },
    )


def versions_here() -> dict[str, str]:
    """Returns the versions of what writes the graph down; of builds of one version for several machines, no matter."""
    return {"mlcycle": __version__} | {name: metadata.version(name).partition("+")[0] for name in EXPORTERS}


def compute_self_test(recipe: Recipe, network: FaceNetwork) -> SelfTest:
    """Returns the self-test: what training's own arithmetic finds in a drawing of faces."""
    with one_thread():
        boxes, scores, landmarks = answer(network, recipe.inference, image(HEIGHT, WIDTH, 0))
    return make_self_test(boxes.numpy(), scores.numpy(), landmarks.numpy() if recipe.model.landmarks else None)


def _without_places(recipe: dict[str, Any]) -> dict[str, Any]:
    """Names each set by the last part of its path: where it lay on the machine that trained is nobody's business."""
    data = recipe["data"] | {"decoded": None}
    for part in ("train", "validation"):
        data[part] = [source | {"path": PurePath(source["path"]).name} for source in data[part]]
    started_from = recipe["start_from"] and PurePath(recipe["start_from"]).name
    teacher = recipe["teacher"] and recipe["teacher"] | {"weights": PurePath(recipe["teacher"]["weights"]).name}
    return recipe | {"data": data, "start_from": started_from, "teacher": teacher}


def _in_order(told: list[str | None]) -> str | None:
    """Returns what the parts of a run tell: once, or all of it in order if it changed between two parts."""
    return " ".join(dict.fromkeys(filter(None, told))) or None
