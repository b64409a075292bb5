"""The training benchmark: its plain loop trains on the same labels, and its contestants alternate."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from conftest import environment  # noqa: E402

from mlcycle.training.data.training_data import load_training_data  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
if not FOLDER.is_dir():
    pytest.skip("the benchmarks are not here, only the tests", allow_module_level=True)
sys.path.append(str(FOLDER))
plain_loop = importlib.import_module("plain_loop")

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


@pytest.mark.slow
def test_the_plain_loop_trains(recipe_path: Path) -> None:
    recipe = load(recipe_path, ["model.landmarks=false"])
    torch.manual_seed(0)
    loop = plain_loop.PlainLoop(recipe, load_training_data(recipe.data).train, workers=0)
    losses = []
    for _ in range(60):
        loop.running_loss = 0.0
        loop.step()
        losses.append(loop.running_loss)
    assert sum(losses[-20:]) < 0.95 * sum(losses[:20])


def test_labels_of_the_plain_loop_stay_on_the_faces(recipe_path: Path) -> None:
    recipe = load(recipe_path)
    torch.manual_seed(0)
    samples = plain_loop.Images(load_training_data(recipe.data).train, 96)
    images, boxes = plain_loop.collate([samples[index] for index in range(len(samples))])
    batch = plain_loop.labels(images, boxes)
    assert images.shape == (len(samples), 3, 96, 96)
    assert images.dtype == torch.float32
    assert len(batch.faces_M4) == len(batch.image_M) == sum(map(len, boxes)) > 0
    assert batch.faces_M4.min() >= 0
    assert batch.faces_M4.max() <= 96


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="processes are stopped by signals")
def test_contestants_take_turns_and_end(recipe_path: Path) -> None:
    words = [sys.executable, FOLDER / "training.py", recipe_path, "model.landmarks=false", "--rounds", "2"]
    done = subprocess.run(
        [*map(str, words), "--steps", "1"], capture_output=True, text=True, check=False, timeout=300, env=environment()
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["round 1", "round 2", "of the bare step", "of a plain loop"]
