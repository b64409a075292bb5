"""The conductor of `mlcycle demo`: the two lives of a model, told with the real commands. Read it top to bottom.

All is done in one folder, in which the commands are run as a person would type them there. What each command took is
kept in story.json: a second telling repeats nothing that is done, and goes on where a broken-off one stopped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlcycle import files
from mlcycle.demo import commands
from mlcycle.demo.commands import Outcome
from mlcycle.demo.comparison import Answer, Frozen, Row, Study, compare
from mlcycle.demo.operations import PASSES_OF_TRAINING, multiply_adds
from mlcycle.demo.page import Story, render
from mlcycle.demo.source_images import UNSEEN, overlap, write_unseen
from mlcycle.errors import DataError, GateError, InputError

LOG, PAGE = "story.json", "index.html"
DATA, RUN, MODEL, IMAGES, ANSWERS = "data/demo", "runs/demo", "models/demo.onnx", "images", "answers"
STEPS = ("data", "train", "freeze", "infer")
# All that is ever made in the folder, and so all that --overwrite may remove.
OURS = (LOG, PAGE, DATA, RUN, MODEL, f"{MODEL}.sha256", IMAGES, ANSWERS)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Told:
    """How the story ended: its page, the comparison, the frozen file, and an answer for each unseen image."""

    page: Path
    rows: list[Row]
    frozen: Frozen
    answers: list[Answer]


def tell(folder: Path, *, overwrite: bool, say: Say, quiet: bool = False) -> Told:
    """Trains a small detector, freezes it, and asks it about images that it never saw.

    Args:
        folder: everything goes in here; made if it is not there.
        overwrite: begin anew, also if the story, or a part of it, is there already.
        say: told each sentence for people.

    Raises:
        InputError: the folder holds something that is not ours.
        CommandFailedError: one of the commands failed; it has said why.
    """
    _prepare(folder, overwrite)
    log = _Log(folder, quiet, say)
    say("First life: training. The model changes, the images stay the same.")
    log.step("data", ["data", "demo"], DATA)
    log.step("train", _training(folder), f"{RUN}/report.html")
    say("Between the lives: freezing. From now on the model is one file, and nothing in it changes any more.")
    log.step("freeze", ["freeze", RUN, "-o", MODEL], MODEL, anew=(MODEL, f"{MODEL}.sha256"))
    say("Second life: inference. The model stays the same, the images change; it never saw these.")
    write_unseen(folder / IMAGES)
    log.step("infer", _inference(), ANSWERS, anew=(ANSWERS,))
    return _conclude(folder, log.outcomes)


def check(told: Told) -> None:
    """Raises GateError if a face was not found in an unseen image."""
    missed = [each.image for each in told.answers if each.box_4 is not None and not each.is_right]
    if missed:
        raise GateError(
            f"the model did not find the face in {', '.join(missed)}",
            f"see {told.page}; then try again: mlcycle demo --folder {told.page.parent} --overwrite",
        )


def _prepare(folder: Path, overwrite: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_strange = any(folder.iterdir()) and not (folder / LOG).exists()
        if not is_strange and not (folder / LOG).exists():
            (folder / LOG).write_text("{}\n", "utf-8")
    except OSError as problem:
        raise InputError(f"{folder} cannot be used: {problem.strerror}", "name another with --folder") from None
    if is_strange:
        raise InputError(f"{folder} holds something else than a demo", "name another with --folder")
    if overwrite:
        for name in OURS:
            _remove(folder / name)
        (folder / LOG).write_text("{}\n", "utf-8")


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _training(folder: Path) -> list[str]:
    return ["train", "--resume", RUN] if (folder / RUN / "recipe.yaml").exists() else ["train", "demo"]


def _inference() -> list[str]:
    images = [f"{IMAGES}/{each.name}" for each in UNSEEN]
    return ["infer", *images, "--model", MODEL, "--format", "json", "--annotate", ANSWERS]


class _Log:
    """What was done so far and what it took, kept in the folder's story.json."""

    def __init__(self, folder: Path, quiet: bool, say: Say) -> None:
        self.folder, self.quiet, self.say = folder, quiet, say
        kept = _read_json(folder / LOG)
        try:
            self.outcomes = {name: Outcome(**each) for name, each in kept.items()}
        except TypeError:
            raise _cannot_be_read(folder / LOG, "it was written by another version") from None

    def step(self, name: str, words: list[str], made: str, anew: Sequence[str] = ()) -> None:
        """Runs a command, unless it is known to be done and what it made is still there.

        `anew` is removed first; the steps that follow are then to be done again as well.
        """
        if name in self.outcomes and (self.folder / made).exists():
            self.say(f"  $ {self.outcomes[name].line}   (done before)")
            return
        self.say(f"  $ {commands.as_typed(words)}")
        for each in anew:
            _remove(self.folder / each)
        outcome = commands.run([*words, "-q"] if self.quiet else words, self.folder)
        before = STEPS[: STEPS.index(name)]
        self.outcomes = {each: self.outcomes[each] for each in before if each in self.outcomes} | {name: outcome}
        kept = {each: asdict(outcome) for each, outcome in self.outcomes.items()}
        files.write(self.folder / LOG, json.dumps(kept, indent=1) + "\n")


def _conclude(folder: Path, outcomes: dict[str, Outcome]) -> Told:
    """Gathers what was measured, from what the commands left behind, and writes the page."""
    metrics = [json.loads(line) for line in (folder / RUN / "metrics.jsonl").read_text("utf-8").splitlines()]
    recipe = _read_yaml(folder / RUN / "recipe.yaml")
    study = _study(folder, outcomes["train"], metrics, recipe)
    frozen = _frozen(folder / MODEL, outcomes["freeze"])
    answers = _answers(outcomes["infer"])
    first = _read_size(folder / IMAGES / UNSEEN[0].name, recipe["inference"]["long_side"])
    looking = multiply_adds(folder / MODEL, *first), outcomes["infer"].peak_bytes
    rows = compare(study, answers[0], looking)
    page = folder / PAGE
    lines = [outcomes[name].line for name in STEPS]
    story = Story(study, frozen, tuple(answers), tuple(rows), tuple(lines), tuple(metrics))
    files.write(page, render(story, folder / DATA / "images" / "train", folder / ANSWERS))
    return Told(page, rows, frozen, answers)


def _study(folder: Path, outcome: Outcome, metrics: list[dict[str, Any]], recipe: dict[str, Any]) -> Study:
    steps, batch, crop = recipe["schedule"]["steps"], recipe["schedule"]["batch"], recipe["augment"]["crop"]
    data = _read_json(folder / RUN / "environment.json")["data"]
    return Study(
        seconds=max(each["seconds"] for each in metrics if "seconds" in each),
        images=steps * batch,
        scenes=data["train_photographs"],
        faces=data["train_faces"],
        multiply_adds=steps * batch * PASSES_OF_TRAINING * multiply_adds(folder / MODEL, crop, crop),
        peak_bytes=outcome.peak_bytes,
        average_precision_50=max(each["average_precision_50"] for each in metrics if "average_precision_50" in each),
    )


def _frozen(model: Path, outcome: Outcome) -> Frozen:
    from mlcycle.artifact.seal import read_sealed

    sealed = read_sealed(model)
    return Frozen(model.name, sealed.sha256, len(sealed.data), outcome.seconds)


def _answers(outcome: Outcome) -> list[Answer]:
    answers = []
    for unseen, record in zip(UNSEEN, json.loads(outcome.output)["records"], strict=True):
        found = tuple((tuple(face["box"]), face["score"]) for face in record["faces"])
        best = max((overlap(box_4, unseen.box_4) for box_4, _ in found if unseen.box_4), default=0.0)
        milliseconds = sum(record["milliseconds"].values())
        answers.append(Answer(unseen.name, unseen.box_4, found, best, milliseconds))
    return answers


def _read_size(path: Path, long_side: int) -> tuple[int, int]:
    """Returns height and width of the input that an image becomes."""
    from PIL import Image

    with Image.open(path) as image:
        scale = min(1.0, long_side / max(image.size))
        return round(image.height * scale), round(image.width * scale)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise _cannot_be_read(path, str(problem)) from None


def _cannot_be_read(path: Path, why: str) -> DataError:
    return DataError(f"{path} cannot be read: {why}", f"begin anew: mlcycle demo --folder {path.parent} --overwrite")


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    return yaml.safe_load(path.read_text("utf-8"))
