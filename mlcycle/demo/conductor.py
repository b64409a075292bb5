"""The conductor of `mlcycle demo`: trains, freezes and detects with mlcycle's own commands. Read it top to bottom.

The commands run in one folder, as a user would type them there. demo.json records their results: a second run repeats
no finished command, and resumes an interrupted one.
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
from mlcycle.demo.comparison import Frozen, ImageResult, Row, TrainingCost, compare
from mlcycle.demo.learning import look_back
from mlcycle.demo.limits import Limit, LimitResult, write_limits
from mlcycle.demo.operations import PASSES_OF_TRAINING, multiply_adds
from mlcycle.demo.page import DemoResults, render
from mlcycle.demo.source_images import UNSEEN, Box, Unseen, overlap, write_unseen
from mlcycle.errors import DataError, GateError, InputError

LOG, PAGE = "demo.json", "index.html"
DATA, RUN, MODEL, IMAGES, PREDICTIONS = "data/demo", "runs/demo", "models/demo.onnx", "images", "predictions"
INFERENCE = ["infer", IMAGES, "--model", MODEL, "--format", "json", "--annotate", PREDICTIONS]
STEPS = ("data", "train", "freeze", "infer")
# Everything that the demo writes, and so everything that --overwrite removes.
OURS = (LOG, PAGE, DATA, RUN, MODEL, f"{MODEL}.sha256", IMAGES, PREDICTIONS)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """The result of the demo: its page, the comparison, the frozen file, and the result for each unseen image."""

    page: Path
    rows: list[Row]
    frozen: Frozen
    results: list[ImageResult]


def run_demo(folder: Path, *, overwrite: bool, say: Say, quiet: bool = False) -> DemoSummary:
    """Trains a small detector, freezes it, and detects faces in images that were not used for training.

    Args:
        folder: receives all files; created if it does not exist.
        overwrite: start again and remove the files of an earlier demo.
        say: called with each line of text for the user.

    Raises:
        InputError: the folder holds other files.
        CommandFailedError: a command failed; its message is on stderr.
    """
    _prepare(folder, overwrite)
    log = _Log(folder, quiet, say)
    say("Training: the weights change, the images stay the same.")
    log.step("data", ["data", "demo"], DATA)
    log.step("train", _training(folder), f"{RUN}/report.html")
    say("Freezing: from here on the model is one file that does not change.")
    log.step("freeze", ["freeze", RUN, "-o", MODEL], MODEL, stale=(MODEL, f"{MODEL}.sha256"))
    say("Inference: the model stays the same, the images are new.")
    write_unseen(folder / IMAGES)
    limits = write_limits(folder / IMAGES)
    log.step("infer", INFERENCE, PREDICTIONS, stale=(PREDICTIONS,))
    return _conclude(folder, log.outcomes, limits)


def check(summary: DemoSummary) -> None:
    """Raises GateError if the face in an unseen image was not found."""
    missed = [each.image for each in summary.results if each.box_4 is not None and not each.is_right]
    if missed:
        raise GateError(
            f"the model did not find the face in {', '.join(missed)}",
            f"see {summary.page}; to try again: mlcycle demo --folder {summary.page.parent} --overwrite",
        )


def _prepare(folder: Path, overwrite: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_foreign = any(folder.iterdir()) and not (folder / LOG).exists()
        if not is_foreign and not (folder / LOG).exists():
            (folder / LOG).write_text("{}\n", "utf-8")
    except OSError as problem:
        raise InputError(
            f"{folder} cannot be used: {problem.strerror}", "choose another folder with --folder"
        ) from None
    if is_foreign:
        raise InputError(f"{folder} holds files that are not of a demo", "choose another folder with --folder")
    if overwrite:
        for name in OURS:
            _remove(folder / name)
        (folder / LOG).write_text("{}\n", "utf-8")


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _training(folder: Path) -> list[str]:
    return ["train", "--resume", RUN] if (folder / RUN / "recipe.yaml").exists() else ["train", "demo"]


class _Log:
    """The results of the finished commands, stored in the folder's demo.json."""

    def __init__(self, folder: Path, quiet: bool, say: Say) -> None:
        self.folder, self.quiet, self.say = folder, quiet, say
        kept = _read_json(folder / LOG)
        try:
            self.outcomes = {name: Outcome(**each) for name, each in kept.items()}
        except TypeError:
            raise _cannot_be_read(folder / LOG, "it was written by another version") from None

    def step(self, name: str, words: list[str], made: str, stale: Sequence[str] = ()) -> None:
        """Runs a command, unless it has finished before and its output still exists.

        `stale` is removed first. The results of the following steps are dropped, so that they run again.
        """
        if name in self.outcomes and (self.folder / made).exists():
            self.say(f"  $ {self.outcomes[name].line}   (done before)")
            return
        self.say(f"  $ {commands.command_line(words)}")
        for each in stale:
            _remove(self.folder / each)
        outcome = commands.run([*words, "-q"] if self.quiet else words, self.folder)
        before = STEPS[: STEPS.index(name)]
        self.outcomes = {each: self.outcomes[each] for each in before if each in self.outcomes} | {name: outcome}
        kept = {each: asdict(outcome) for each, outcome in self.outcomes.items()}
        files.write(self.folder / LOG, json.dumps(kept, indent=1) + "\n", overwrite=True)


def _conclude(folder: Path, outcomes: dict[str, Outcome], limits: Sequence[Limit]) -> DemoSummary:
    """Collects the measurements from the files of the commands, and writes the page."""
    metrics = [json.loads(line) for line in (folder / RUN / "metrics.jsonl").read_text("utf-8").splitlines()]
    recipe = _read_yaml(folder / RUN / "recipe.yaml")
    training = _training_cost(folder, outcomes["train"], metrics, recipe)
    frozen = _frozen(folder / MODEL, outcomes["freeze"])
    names = [*(each.name for each in UNSEEN), *(each.name for each in limits)]
    records = _records(folder, outcomes["infer"], names)
    results = [_result(unseen, records[unseen.name]) for unseen in UNSEEN]
    tried = [LimitResult(each, _boxes(records[each.name])) for each in limits]
    first = _read_size(folder / IMAGES / UNSEEN[0].name, recipe["inference"]["long_side"])
    inference = multiply_adds(folder / MODEL, *first), outcomes["infer"].peak_bytes
    rows = compare(training, results[0], inference)
    learning = look_back(folder / RUN, folder / IMAGES / UNSEEN[0].name, recipe["inference"]["threshold"])
    lines = [outcomes[name].line for name in STEPS]
    demo = DemoResults(
        training, frozen, tuple(results), tuple(rows), tuple(lines), tuple(metrics), learning, tuple(tried)
    )
    page = folder / PAGE
    files.write(page, render(demo, page, folder / DATA / "images" / "train", folder / PREDICTIONS), overwrite=True)
    return DemoSummary(page, rows, frozen, results)


def _training_cost(
    folder: Path, outcome: Outcome, metrics: list[dict[str, Any]], recipe: dict[str, Any]
) -> TrainingCost:
    steps, batch, crop = recipe["schedule"]["steps"], recipe["schedule"]["batch"], recipe["augment"]["crop"]
    data = _read_json(folder / RUN / "environment.json")["data"]
    return TrainingCost(
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


def _records(folder: Path, outcome: Outcome, names: Sequence[str]) -> dict[str, Any]:
    """Returns the records of `mlcycle infer` by the name of the image."""
    records = {Path(each["input"]).name: each for each in json.loads(outcome.output)["records"]}
    if not records.keys() >= set(names):
        raise _cannot_be_read(folder / LOG, "it was written by another version")
    return records


def _result(unseen: Unseen, record: dict[str, Any]) -> ImageResult:
    found = tuple(zip(_boxes(record), (face["score"] for face in record["faces"]), strict=True))
    best = max((overlap(box_4, unseen.box_4) for box_4, _ in found if unseen.box_4), default=0.0)
    return ImageResult(unseen.name, unseen.box_4, found, best, sum(record["milliseconds"].values()))


def _boxes(record: dict[str, Any]) -> tuple[Box, ...]:
    return tuple(tuple(face["box"]) for face in record["faces"])


def _read_size(path: Path, long_side: int) -> tuple[int, int]:
    """Returns height and width of the network input for an image."""
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
    return DataError(f"{path} cannot be read: {why}", f"start again: mlcycle demo --folder {path.parent} --overwrite")


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    return yaml.safe_load(path.read_text("utf-8"))
