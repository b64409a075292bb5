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
from mlcycle.training.data.training_data import load_training_data
from mlcycle.training.distributed.device import one_thread
from mlcycle.training.export import operating_points
from mlcycle.training.export.graph import build_model
from mlcycle.training.export.operating_points import Points, Rates
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.model.predict import predict, predict_all
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.recipes.recipe_file import dump
from mlcycle.training.run.checkpoint import Progress
from mlcycle.training.run.run_folder import BEST, ENVIRONMENT, RECIPE, RunFolder
from mlcycle.training.trace import load_trained

# The packages of a run's environment that the file records. Nothing in it names a machine or a date, so that freezing
# the same run with the same versions gives the same bytes anywhere.
RECORDED_PACKAGES = ("mlcycle", "torch")
# The packages that export the graph: another version may write it differently.
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
        gate: called with a copy of the run as it is frozen and the finished but unpublished file; raises GateError if
            the file must not be published.
        started: called with the number of validation images before thresholds are chosen on them; its result is
            called with 1 after each image.
        rates: for the thresholds; None means the default ones.

    Raises:
        InputError, DataError: the run cannot be used, no threshold can be chosen, or the target exists.
        GateError: raised by the gate; then nothing was written.
    """
    must_be_writable(target.parent if target else Path("models"))
    with tempfile.TemporaryDirectory(prefix="mlcycle-freeze-") as scratch:
        # The run may still be training: the frozen weights and those that the gate compares must be the same.
        snapshot = snapshot_run(run, Path(scratch) / "run")
        recipe, network, progress = load_trained(snapshot)
        environment = RunFolder(snapshot).environment()
        chosen = choose_points(recipe, network, environment, rates or Rates(), started)
        contract = make_contract(recipe, progress, environment, chosen)
        data = build_model(network, contract, compute_self_test(recipe, network))
        candidate = Path(scratch) / "candidate.onnx"
        digest = write_sealed(data, candidate)
        path = target or Path("models") / f"{recipe.name}-{digest[:12]}.onnx"
        must_be_free(data, path)
        RunFolder(snapshot).write(RECIPE, dump(_with_threshold(recipe, chosen)))
        verdict = gate(snapshot, candidate)
    write_sealed(data, path)
    return Frozen(path, digest, len(data), chosen, str(verdict))


def snapshot_run(run: Path, copy: Path) -> Path:
    """Copies the files that a model file is built from out of a run folder; returns the copy.

    Raises:
        InputError, DataError: not a run folder, or it has no checkpoint yet.
    """
    folder = RunFolder(run)
    folder.must_exist()
    (copy / folder.checkpoints.name).mkdir(parents=True)
    for name in (RECIPE, ENVIRONMENT, f"{folder.checkpoints.name}/{BEST}"):
        try:
            shutil.copyfile(run / name, copy / name)
        except FileNotFoundError:
            raise DataError(
                f"{run} has no {name} yet, so there is nothing to freeze", "train until the first evaluation"
            ) from None
        except OSError as problem:
            what = f"{name} of the run {run} cannot be copied: {problem.strerror}"
            raise InputError(what, "check its permissions and the free space for temporary files") from None
    return copy


def choose_points(
    recipe: Recipe, network: FaceNetwork, environment: dict[str, Any], rates: Rates, started: Started
) -> Points:
    """Chooses the thresholds on the run's validation images, from the network's predictions.

    If the images are missing or have changed, the recipe's own threshold is used.

    Raises:
        DataError: an image cannot be read, or no threshold can be chosen and the recipe has none.
    """
    try:
        training_data = load_training_data(recipe.data)
        training_data.check_fingerprint(environment.get("data", {}).get("fingerprint"))
    except DataError as problem:
        return operating_points.given(recipe.inference, problem.message)
    advance, found = started(len(training_data.val)), []
    with one_thread():
        for boxes_and_scores in predict_all(network, recipe.inference, training_data.val):
            found.append(boxes_and_scores)
            advance(1)
    truths = [(each.boxes_N4, each.ignore_N) for each in training_data.val]
    return operating_points.choose(truths, found, recipe.inference, rates)


def _with_threshold(recipe: Recipe, chosen: Points) -> Recipe:
    """Returns the recipe that the training pipeline uses in the gate."""
    inference = recipe.inference.model_copy(update={"threshold": chosen.thresholds[operating_points.BALANCED]})
    return recipe.model_copy(update={"inference": inference})


def make_contract(recipe: Recipe, progress: Progress, environment: dict[str, Any], chosen: Points) -> Contract:
    """Returns the file's contract; it depends on the run, and on the versions of the exporting packages."""
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
            "recipe": _without_paths(recipe.model_dump(mode="json", exclude={"about"})),
            "step": progress.best_step,
            "held_out_average_precision_50": round(progress.best_score, 6),
            "operating_points": chosen.measured or None,
            "started_from": environment.get("started_from"),
            "teacher": environment.get("teacher"),
            "data": environment.get("data", {}),
            "git_commit": _distinct([part.get("git_commit") for part in parts]),
            "versions": {
                name: _distinct([part.get("packages", {}).get(name) for part in parts]) for name in RECORDED_PACKAGES
            },
            "frozen_with": versions_here(),
        },
    )


def versions_here() -> dict[str, str]:
    """Returns the versions of the exporting packages, without the local part that names a build (+cpu)."""
    return {"mlcycle": __version__} | {name: metadata.version(name).partition("+")[0] for name in EXPORTERS}


def compute_self_test(recipe: Recipe, network: FaceNetwork) -> SelfTest:
    """Returns the self-test: what the network, run by torch, predicts on a drawing of faces."""
    with one_thread():
        boxes, scores, landmarks = predict(network, recipe.inference, image(HEIGHT, WIDTH, 0))
    return make_self_test(boxes.numpy(), scores.numpy(), landmarks.numpy() if recipe.model.landmarks else None)


def _without_paths(recipe: dict[str, Any]) -> dict[str, Any]:
    """Keeps only the last part of each path: the folders of the training machine do not belong in a published file."""
    data = recipe["data"] | {"decoded": None}
    for part in ("train", "validation"):
        data[part] = [source | {"path": PurePath(source["path"]).name} for source in data[part]]
    started_from = recipe["start_from"] and PurePath(recipe["start_from"]).name
    teacher = recipe["teacher"] and recipe["teacher"] | {"weights": PurePath(recipe["teacher"]["weights"]).name}
    finish, layer = recipe["finish"], recipe["finish"]["score_layer"]
    if layer:
        finish = finish | {"score_layer": layer | {"sets": [PurePath(each).name for each in layer["sets"]]}}
    return recipe | {"data": data, "start_from": started_from, "teacher": teacher, "finish": finish}


def _distinct(values: list[str | None]) -> str | None:
    """Returns the distinct values of a run's parts in order: one value, unless it changed when the run was resumed."""
    return " ".join(dict.fromkeys(filter(None, values))) or None
