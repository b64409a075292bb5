"""What the lessons practise on: images, labelled scenes, and trainings that are kept for the next time."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import marimo as mo
from PIL import Image

import mlcycle
from mlcycle.demo.scenes import TRAIN_SCENES, build_scenes
from mlcycle.demo.source_images import UNSEEN, write_unseen

WORK = "MLCYCLE_LESSONS"
RECIPE, METRICS, REPORT = "recipe.yaml", "metrics.jsonl", "report.html"
POLL_SECONDS = 0.5
# The training that several lessons share, on the demo's recipe.
LESSON_1 = {
    "schedule.steps": 1000,
    "schedule.checkpoint_every": 20,  # keep the weights after every 20 steps …
    "schedule.keep_checkpoints": 50,  # … all of them
    "schedule.evaluate_every": 500,
}
# Without augmentation: each crop is as it is in the scene.
NO_AUGMENTATION = {
    "augment.zoom": [0.99, 1.01],
    "augment.on_face": 0,
    **dict.fromkeys((f"augment.{each}" for each in ("flip", "grey", "brightness", "contrast")), 0),
    **dict.fromkeys((f"augment.{each}" for each in ("saturation", "noise", "blur")), 0),
}
# Name of an image → the box of its face, x1 y1 x2 y2 in pixels.
FACE_OF = {Path(each.name).stem: each.box_4 for each in UNSEEN if each.box_4}


def folder() -> Path:
    """Returns the folder for everything that the lessons write: docs/lessons/work, or $MLCYCLE_LESSONS."""
    chosen = Path(os.environ.get(WORK) or Path(__file__).parents[1] / "work")
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen.resolve()


def portraits() -> dict[str, Path]:
    """Returns the images that no training here sees, by name: astronaut, grace_hopper, and coffee without a face."""
    return {path.stem: path for path in write_unseen(folder() / "images")}


def enlarged(image: Path, megapixels: float) -> Path:
    """Returns an image as a JPEG of so many megapixels, as a camera would have written it; made once."""
    place = folder() / "images" / f"{image.stem}-{megapixels:g}-megapixels.jpg"
    if not place.exists():
        with Image.open(image) as small:
            scale = (megapixels * 1e6 / (small.width * small.height)) ** 0.5
            size = round(small.width * scale), round(small.height * scale)
            small.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(place, quality=90)
    return place


def scenes() -> Path:
    """Returns the demo's labelled scenes, in COCO layout with the splits train and val; composes them once."""
    place = folder() / "scenes"
    with mo.status.spinner(f"Composing {TRAIN_SCENES} scenes"):
        build_scenes(place)
    return place


def demo_data(data: Path) -> dict[str, Any]:
    """Returns the recipe values that make the demo's recipe read the scenes in `data`."""
    return {
        "data.train": [{"path": str(data), "split": "train"}],
        "data.validation": [{"path": str(data), "split": "val"}],
        "data.decoded": str(folder() / "decoded"),
    }


def more_steps(run: mlcycle.Run, sets: Path, split: str) -> dict[str, Any]:
    """Returns the recipe values of 200 more steps after a run, on a split of the sets of lesson 3."""
    return {
        "start_from": str(run.path),
        "data.train": [{"path": str(sets), "split": split}],
        "data.validation": [{"path": str(sets), "split": "val"}],
        "data.decoded": str(folder() / "decoded"),
        "schedule.steps": 200,
        "schedule.checkpoint_every": 25,
        "schedule.keep_checkpoints": 8,
        "schedule.evaluate_every": 200,
        "inference.long_side": 320,  # the scenes' own size, as in the crops
        **NO_AUGMENTATION,
    }


def command(*words: object) -> mo.Html:
    """Runs `mlcycle WORDS…` and shows it with what it prints, as in a terminal."""
    typed = [str(each) for each in words]
    done = subprocess.run(
        [sys.executable, "-m", "mlcycle", *typed], capture_output=True, text=True, check=False, env=_environment()
    )
    shown = [each.replace(f"{folder()}{os.sep}", "") for each in (shlex.join(typed), done.stdout, done.stderr)]
    return mo.plain_text(f"$ mlcycle {shown[0]}\n{shown[1]}{shown[2]}")


def _environment() -> dict[str, str]:
    """The environment with this mlcycle first on PYTHONPATH."""
    here = str(Path(mlcycle.__file__).parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))}


def photos_to_send() -> Path:
    """Returns a folder of three small photos, to measure with."""
    place = folder() / "photos"
    place.mkdir(exist_ok=True)
    for name, path in portraits().items():
        with Image.open(path) as image:
            image.convert("RGB").save(place / f"{name}.jpg", quality=90)
    return place


def free_folder(name: str) -> Path:
    """Returns where to make a folder; an earlier one is removed."""
    place = folder() / name
    shutil.rmtree(place, ignore_errors=True)
    return place


def free_place(name: str) -> Path:
    """Returns where to write a model file; an earlier one, which is never overwritten, is removed."""
    place = folder() / name
    for each in (place, place.with_name(f"{name}.sha256")):
        each.unlink(missing_ok=True)
    return place


def megabytes(place: Path) -> float:
    """Returns the size of all files in a folder, in megabytes."""
    return sum(each.stat().st_size for each in place.rglob("*") if each.is_file()) / 1e6


def may_train(name: str, button: mo.ui.run_button) -> bool:
    """Returns whether to train now: `may_start`, or the training is there already."""
    is_there = (folder() / "runs" / name / REPORT).is_file()
    return is_there or may_start(button)


def may_start(button: mo.ui.run_button) -> bool:
    """Returns whether to start something now: the button was pressed, or nobody could press it."""
    return button.value or mo.app_meta().mode == "script"


def train(name: str, overrides: Mapping[str, Any]) -> mlcycle.Run:
    """Trains the demo's recipe with some values replaced; a finished training of this name is returned as it is.

    Args:
        name: of the run's folder.
        overrides: values of the recipe by dotted key, as in `mlcycle.train`.
    """
    place = folder() / "runs" / name
    if (place / REPORT).is_file():
        return mlcycle.train(place, resume=True, quiet=True)
    is_begun, steps = (place / RECIPE).is_file(), overrides["schedule.steps"]
    with mo.status.progress_bar(total=steps, title=f"Training, {steps:,} steps", remove_on_exit=True) as bar:
        stop = threading.Event()
        watcher = mo.Thread(target=_watch, args=(place / METRICS, bar, stop), daemon=True)
        watcher.start()
        try:
            if is_begun:
                return mlcycle.train(place, resume=True, quiet=True)
            return mlcycle.train("demo", overrides, place, quiet=True)
        finally:
            stop.set()
            watcher.join()


def _watch(metrics: Path, bar: Any, stop: threading.Event) -> None:
    """Moves a progress bar to the last step of a metrics file, until `stop` is set."""
    shown = 0
    while not stop.wait(POLL_SECONDS):
        try:
            last = json.loads(metrics.read_text("utf-8").splitlines()[-1])
        except (OSError, IndexError, ValueError):  # not written yet, or half a line
            continue
        if last["step"] > shown:
            bar.update(increment=last["step"] - shown, subtitle=f"step {last['step']:,}")
            shown = last["step"]
