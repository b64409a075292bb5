"""The conductor of `mlcycle model reproduce`: a run → the bytes that its file must have. Read it top to bottom.

What floating point has a hand in may differ in its last bits on another processor: the known answer, and thresholds
and what is said of them. Where a file's own are as near as that to what is computed here, they are taken over, so that
the bytes can be the same; and so are the versions that it says it was frozen with, where others give the same graph.
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
from mlcycle.training.model.predict import answer
from mlcycle.training.recipes.recipe import Recipe
from mlcycle.training.run.checkpoint import Progress
from mlcycle.training.run.run_folder import RunFolder
from mlcycle.training.trace import load_trained

# As near as another processor brings a number; of the known answer a hundredth of what a machine may be off by.
NEAR = Tolerance(EXACT.pixels / 100, EXACT.score / 100)
NEAR_THRESHOLD, NEAR_FIGURE = 0.002, 0.01


@dataclass(slots=True)
class Reproduction:
    """What came of it.

    Attributes:
        file: the one that is there.
        data: the bytes that the run gives.
        taken_over: what of the file was taken over since it is near enough, in words.
        another_run: which of recipe, data and step are others than the file says; empty if it is the run it comes from.
    """

    file: SealedBytes
    data: bytes = b""
    taken_over: list[str] = field(default_factory=list)
    another_run: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Run:
    """What a file is made from."""

    recipe: Recipe
    network: FaceNetwork
    progress: Progress
    environment: dict[str, Any]

    def contract(self, chosen: Points) -> Contract:
        return make_contract(self.recipe, self.progress, self.environment, chosen)


def reproduce(file: Path, run: Path, started: Started) -> Reproduction:
    """Makes a run's file again, without writing it.

    Args:
        file: a model file that `mlcycle freeze` wrote.
        run: the run folder that it came from.
        started: as for `freeze`.

    Raises:
        ModelFileError: the file cannot be used.
        UsageError: it is an exported variant.
        InputError, DataError: the run cannot be used, or its held-out images are needed and not there.
    """
    sealed = read_sealed(file)
    theirs, known = _said(sealed)
    with tempfile.TemporaryDirectory(prefix="mlcycle-reproduce-") as scratch:
        still = snapshot_run(run, Path(scratch) / "run")
        made_from = _Run(*load_trained(still), RunFolder(still).environment())
    done = Reproduction(sealed)
    done.another_run = _other_origin(theirs, made_from)
    mine = made_from.contract(_points(theirs, made_from, started, done))
    test = _known_answer(known, made_from, done)
    done.data = build_model(made_from.network, mine, test)
    if noted := _other_versions_same_graph(sealed.data, done.data, theirs, mine):
        done.taken_over.append("the versions that it was frozen with, for those of here give the same graph")
        mine = replace(mine, training=mine.training | {"frozen_with": noted})
        done.data = build_model(made_from.network, mine, test)
    return done


def _said(sealed: SealedBytes) -> tuple[Contract, SelfTest | None]:
    """Returns the contract and the known answer of a file."""
    texts = admit(sealed).metadata
    if CONTRACT_KEY not in texts:
        raise ModelFileError(f"{sealed.path} carries no contract", "use a file that mlcycle froze: mlcycle freeze RUN")
    contract = contracts.from_json(texts[CONTRACT_KEY])
    if contract.parent:
        raise UsageError(
            f"{sealed.path} was not frozen from a run, but exported from the file with the sha256 {contract.parent}",
            "reproduce that file",
        )
    if not isinstance(contract.training, dict) or not isinstance(contract.thresholds, dict):
        raise ModelFileError(f"{sealed.path} does not say where it comes from", "use a file that mlcycle froze")
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
    """Returns the thresholds of the run: chosen anew at the file's rates, or the file's where they are near enough."""
    told: dict[str, Any] = theirs.training.get("operating_points") or {}
    if done.another_run:
        done.taken_over.append("its thresholds, which are not chosen anew for another run")
        return Points(theirs.thresholds, told)
    if not told:
        return given(made_from.recipe.inference, "the file says that none was chosen for it either")
    chosen = choose_points(made_from.recipe, made_from.network, made_from.environment, _rates(told), started)
    if chosen.why_not:
        raise DataError(
            f"thresholds cannot be chosen as they were for the file: {chosen.why_not}",
            "put the images back where the run's recipe.yaml says",
        )
    own = Points(theirs.thresholds, told)
    if chosen == own or not _near((chosen.thresholds, chosen.measured), (theirs.thresholds, told)):
        return chosen
    done.taken_over.append("its thresholds and their figures, which are in their last digits off those of here")
    return own


def _rates(told: Any) -> Rates:
    try:
        return Rates(**{name: float(value) for name, value in told["false_alarms_allowed"].items()})
    except (KeyError, TypeError, ValueError, AttributeError, UsageError):
        raise ModelFileError("what the file says of its operating points cannot be read", "freeze it again") from None


def _near(one: tuple[dict[str, float], Any], other: tuple[dict[str, float], Any]) -> bool:
    """Tells whether thresholds and what is said of them are the same but for what floating point does."""
    return _within(one[0], other[0], NEAR_THRESHOLD) and _within(one[1], other[1], NEAR_FIGURE)


def _within(one: Any, other: Any, most: float) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_within(one[name], other[name], most) for name in one)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= most + 1e-9
    return bool(one == other)


def _known_answer(theirs: SelfTest | None, made_from: _Run, done: Reproduction) -> SelfTest:
    """Returns the known answer of the run, or the file's own where what is computed here is near enough to it."""
    mine = compute_self_test(made_from.recipe, made_from.network)
    if theirs is None or theirs == mine:
        return mine
    taken = replace(mine, boxes=theirs.boxes, scores=theirs.scores, landmarks=theirs.landmarks)
    boxes, scores, landmarks = answer(made_from.network, made_from.recipe.inference, mine.image())
    distance = theirs.distance(boxes.numpy(), scores.numpy(), landmarks.numpy() if mine.landmarks else None)
    if taken != theirs or not distance.within(NEAR):
        return mine
    done.taken_over.append("its known answer, which is in its last digits off the one of here")
    return theirs


def _other_versions_same_graph(theirs: bytes, mine: bytes, contract: Contract, own: Contract) -> dict[str, Any] | None:
    """Returns the versions that a file says it was frozen with, where others gave the same graph and weights here."""
    noted = contract.training.get("frozen_with")
    if not isinstance(noted, dict) or noted == own.training["frozen_with"]:
        return None
    there, here = section_digests(theirs), section_digests(mine)
    return noted if all(there[part] == here[part] for part in ("graph", "weights")) else None
