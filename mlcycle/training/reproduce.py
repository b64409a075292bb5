"""The conductor of `mlcycle model reproduce`: a run → the bytes that its file must have. Read it top to bottom.

Floating-point results may differ in their last bits on another processor: the self-test's expected output, the
thresholds and their metrics. If the file's values are close enough to those computed here, they are used instead, so
that the bytes can be identical. So are the versions that the file was frozen with, if other versions give the same
graph.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlcycle.artifact import contract as contracts
from mlcycle.artifact import self_test
from mlcycle.artifact.admission import admit
from mlcycle.artifact.contract import CONTRACT_KEY, Contract
from mlcycle.artifact.dotted_names import differing_names
from mlcycle.artifact.seal import SealedBytes, read_sealed
from mlcycle.artifact.self_test import EXACT, SELF_TEST_KEY, SelfTest, Tolerance
from mlcycle.artifact.structure import section_digests
from mlcycle.errors import DataError, ModelFileError, UsageError
from mlcycle.training.export.graph import build_model
from mlcycle.training.export.operating_points import Points, Rates, given
from mlcycle.training.freeze import Started, choose_points, compute_self_test, make_contract, snapshot_run
from mlcycle.training.model.network import FaceNetwork
from mlcycle.training.model.predict import predict
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.run.checkpoint import Progress
from mlcycle.training.run.run_folder import RunFolder
from mlcycle.training.trace import load_trained

# How far the results of two processors can differ; for the self-test, a hundredth of the tolerance of inference.
NEAR = Tolerance(EXACT.pixels / 100, EXACT.score / 100)
NEAR_THRESHOLD, NEAR_METRIC = 0.002, 0.01


@dataclass(slots=True)
class Reproduction:
    """The result of a reproduction.

    Attributes:
        file: the existing file.
        data: the bytes that the run gives.
        taken_over: in words, which values of the file were used because they are close enough.
        another_run: which of recipe, data and step differ from those in the file; empty if the file comes from this
            run.
    """

    file: SealedBytes
    data: bytes = b""
    taken_over: list[str] = field(default_factory=list)
    another_run: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Run:
    """What a file is built from."""

    recipe: Recipe
    network: FaceNetwork
    progress: Progress
    environment: dict[str, Any]

    def contract(self, chosen: Points) -> Contract:
        return make_contract(self.recipe, self.progress, self.environment, chosen)


def reproduce(file: Path, run: Path, started: Started) -> Reproduction:
    """Builds a run's model file again, without writing it.

    Args:
        file: a model file that `mlcycle freeze` wrote.
        run: the run folder that it came from.
        started: as for `freeze`.

    Raises:
        ModelFileError: the file cannot be used.
        UsageError: it is an exported variant.
        InputError, DataError: the run cannot be used, or its validation images are needed and missing.
    """
    sealed = read_sealed(file)
    theirs, file_test = _contract_and_test(sealed)
    with tempfile.TemporaryDirectory(prefix="mlcycle-reproduce-") as scratch:
        snapshot = snapshot_run(run, Path(scratch) / "run")
        made_from = _Run(*load_trained(snapshot), RunFolder(snapshot).environment())
    done = Reproduction(sealed)
    done.another_run = _other_origin(theirs, made_from)
    mine = made_from.contract(_points(theirs, made_from, started, done))
    test = _self_test(file_test, made_from, done)
    done.data = build_model(made_from.network, mine, test)
    if noted := _other_versions_same_graph(sealed.data, done.data, theirs, mine):
        done.taken_over.append("the versions that it was frozen with, because those installed here give the same graph")
        mine = replace(mine, training=mine.training | {"frozen_with": noted})
        done.data = build_model(made_from.network, mine, test)
    return done


def _contract_and_test(sealed: SealedBytes) -> tuple[Contract, SelfTest | None]:
    """Returns the contract and the self-test of a file."""
    texts = admit(sealed).metadata
    if CONTRACT_KEY not in texts:
        raise ModelFileError(f"{sealed.path} has no contract", "use a file written by mlcycle freeze")
    contract = contracts.from_json(texts[CONTRACT_KEY])
    if contract.parent:
        raise UsageError(
            f"{sealed.path} was not frozen from a run, but exported from the file with the sha256 {contract.parent}",
            "reproduce that file",
        )
    if not isinstance(contract.training, dict) or not isinstance(contract.thresholds, dict):
        raise ModelFileError(f"{sealed.path} does not record its run", "use a file written by mlcycle freeze")
    return contract, self_test.from_json(texts[SELF_TEST_KEY]) if SELF_TEST_KEY in texts else None


def _other_origin(theirs: Contract, made_from: _Run) -> list[str]:
    here = made_from.contract(Points({})).training
    there = theirs.training
    others = differing_names({"recipe": there.get("recipe")}, {"recipe": here["recipe"]})
    if _fingerprint(there) != _fingerprint(here):
        others.append("data.fingerprint")
    return others + (["step"] if there.get("step") != here["step"] else [])


def _fingerprint(training: dict[str, Any]) -> Any:
    data = training.get("data")
    return data.get("fingerprint") if isinstance(data, dict) else None


def _points(theirs: Contract, made_from: _Run, started: Started, done: Reproduction) -> Points:
    """Returns the run's thresholds: chosen again at the file's rates, or the file's own if they are close enough."""
    measured: dict[str, Any] = theirs.training.get("operating_points") or {}
    if done.another_run:
        done.taken_over.append("its thresholds, which are not chosen again for another run")
        return Points(theirs.thresholds, measured)
    if not measured:
        return given(made_from.recipe.inference, "none was chosen for the file either")
    chosen = choose_points(made_from.recipe, made_from.network, made_from.environment, _rates(measured), started)
    if chosen.why_not:
        raise DataError(
            f"thresholds cannot be chosen as they were for the file: {chosen.why_not}",
            "put the images back where the run's recipe.yaml expects them",
        )
    own = Points(theirs.thresholds, measured)
    if chosen == own or not _near(chosen, own):
        return chosen
    done.taken_over.append("its thresholds and their metrics, which differ in their last digits or words")
    return own


def _rates(measured: Any) -> Rates:
    try:
        return Rates(**{name: float(value) for name, value in measured["false_alarms_allowed"].items()})
    except (KeyError, TypeError, ValueError, AttributeError, UsageError):
        raise ModelFileError("the file's record of its operating points cannot be read", "freeze it again") from None


def _near(one: Points, other: Points) -> bool:
    """Returns whether thresholds and their metrics are equal up to rounding and the wording of their rules."""
    return _within(one.thresholds, other.thresholds, NEAR_THRESHOLD) and _within(
        one.measured, other.measured, NEAR_METRIC
    )


def _within(one: Any, other: Any, most: float) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        # An earlier mlcycle described the same rule in other words; the rates that it follows from are compared.
        names = one.keys() - {"rule"}
        return one.keys() == other.keys() and all(_within(one[name], other[name], most) for name in names)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= most + 1e-9
    return bool(one == other)


def _self_test(theirs: SelfTest | None, made_from: _Run, done: Reproduction) -> SelfTest:
    """Returns the run's self-test, or the file's own if its expected output is close enough to the run's."""
    mine = compute_self_test(made_from.recipe, made_from.network)
    if theirs is None or theirs == mine:
        return mine
    taken = replace(mine, boxes=theirs.boxes, scores=theirs.scores, landmarks=theirs.landmarks)
    boxes, scores, landmarks = predict(made_from.network, made_from.recipe.inference, mine.image())
    distance = theirs.distance(boxes.numpy(), scores.numpy(), landmarks.numpy() if mine.landmarks else None)
    if taken != theirs or not distance.within(NEAR):
        return mine
    done.taken_over.append("its self-test, whose expected output differs in its last digits")
    return theirs


def _other_versions_same_graph(theirs: bytes, mine: bytes, contract: Contract, own: Contract) -> dict[str, Any] | None:
    """Returns the versions that a file was frozen with, if other versions gave the same graph and weights here."""
    noted = contract.training.get("frozen_with")
    if not isinstance(noted, dict) or noted == own.training["frozen_with"]:
        return None
    there, here = section_digests(theirs), section_digests(mine)
    return noted if all(there[part] == here[part] for part in ("graph", "weights")) else None
