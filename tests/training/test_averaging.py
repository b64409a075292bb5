"""The mean of several runs' weights: `mlcycle train average`."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
skimage = pytest.importorskip("skimage")

from mlcycle.errors import DataError  # noqa: E402
from mlcycle.training import averaging  # noqa: E402
from mlcycle.training.model.predict import predict  # noqa: E402
from mlcycle.training.model.teacher import network_of  # noqa: E402
from mlcycle.training.recipes.recipe import Inference  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.run import checkpoint  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


def nothing(done: int) -> None:
    """Progress that nobody looks at."""


def test_the_mean_is_of_each_weight_and_a_name_that_is_given_twice_counts_twice() -> None:
    one = {"kernel": torch.tensor([1.0, 2.0]), "count": torch.tensor(3)}
    other = {"kernel": torch.tensor([4.0, 8.0]), "count": torch.tensor(9)}
    mean = averaging.mean_of([("a", one), ("b", other), ("a", one)])
    assert mean["kernel"].tolist() == [2.0, 4.0]
    assert mean["count"].tolist() == 3


def test_different_networks_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="runs/a and runs/b have different networks"):
        averaging.mean_of([("runs/a", {"kernel": torch.ones(2)}), ("runs/b", {"kernel": torch.ones(3)})])


def test_weights_of_no_network_are_refused(recipe_path: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.safetensors"
    checkpoint.save(odd, {"average.kernel": torch.ones(2)}, checkpoint.Progress())
    with pytest.raises(DataError, match="do not fit a network of this mlcycle"):
        averaging.average([str(odd), "face-nano"], load(recipe_path), tmp_path / "mean.safetensors", "cpu", nothing)


@pytest.mark.slow
def test_the_mean_of_a_model_with_itself_still_finds_faces(recipe_path: Path, tmp_path: Path) -> None:
    recipe = load(recipe_path, ["model.width=16", "augment.crop=320", "augment.zoom=[0.3, 1.5]"])
    target = tmp_path / "averaged.safetensors"
    averaging.average(["face-nano", "face-nano"], recipe, target, "cpu", nothing)
    before = network_of(checkpoint.load(checkpoint.find_weights("face-nano"))[0])
    after = network_of(checkpoint.load(target)[0])
    assert torch.equal(after.stem.convolution.weight, before.stem.convolution.weight)
    assert not torch.equal(after.stem.normalisation.running_mean, before.stem.normalisation.running_mean)
    boxes, scores, _ = predict(after, Inference(score_floor=0.3), skimage.data.astronaut())
    assert len(scores) == 1
    x1, y1, x2, y2 = boxes[0].tolist()
    assert abs((x1 + x2) / 2 - 225) < 15
    assert abs((y1 + y2) / 2 - 130) < 20


def test_statistics_that_all_runs_kept_are_averaged(recipe_path: Path, finished_run: Path, tmp_path: Path) -> None:
    start, end = (finished_run / "checkpoints" / f"step-0000000{step}.safetensors" for step in (3, 6))
    recipe, target = load(recipe_path, ["schedule.frozen_normalisation=1"]), tmp_path / "averaged.safetensors"
    averaging.average([str(start), str(end)], recipe, target, "cpu", nothing)
    first, last, mean = (
        network_of(checkpoint.load(path)[0]).stem.normalisation.running_mean for path in (start, end, target)
    )
    assert not torch.equal(first, last)
    assert torch.allclose(mean, (first + last) / 2, rtol=1e-2)  # saved in 16 bits, or less exactly than computed


def test_statistics_are_means_over_all_batches_since() -> None:
    layer = torch.nn.BatchNorm2d(1)
    layer(torch.full((2, 1, 1, 1), 100.0))
    averaging.forget_statistics(layer)
    for value in (1.0, 2.0, 6.0):
        layer(torch.full((2, 1, 1, 1), value))
    assert layer.running_mean.tolist() == [3.0]


def test_a_run_starts_from_the_mean_by_the_commands_of_the_help(
    mlcycle, recipe_path: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(averaging, "BATCHES", 2)
    target = tmp_path / "averaged.safetensors"
    words = ("train", "average", finished_run, finished_run, "--device", "cpu", "--out", target)
    made = mlcycle(*words)
    assert (made.code, made.out.strip()) == (0, str(target))
    again = mlcycle(*words)
    assert (again.code, "already exists" in again.err) == (3, True)
    still = ("schedule.steps=0", "finish={score_layer: {}}", "--out", tmp_path / "run", "--device", "cpu")
    done = mlcycle("train", recipe_path, f"start_from={target}", *still)
    assert done.code == 0, done.err


def test_too_little_to_average_is_refused(mlcycle, finished_run: Path, tmp_path: Path) -> None:
    one = mlcycle("train", "average", finished_run)
    assert (one.code, "needs two weights or more" in one.err) == (2, True)
    target = tmp_path / "averaged.safetensors"
    bundled = mlcycle("train", "average", "face-nano", "face-nano", "--out", target)
    assert (bundled.code, "--recipe" in bundled.err) == (2, True)
    mixed = mlcycle("train", "average", finished_run, "face-nano", "--out", target, "--device", "cpu")
    assert (mixed.code, "have different networks" in mixed.err) == (3, True), mixed.err
    assert not target.exists()
