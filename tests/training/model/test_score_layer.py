"""The score layer, refitted after the last step on what inference computes; nothing else changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mlcycle.errors import DataError, RecipeError  # noqa: E402
from mlcycle.training.data.training_data import load_training_data  # noqa: E402
from mlcycle.training.fit import _must_have_images_to_fit, fit  # noqa: E402
from mlcycle.training.model.network import FaceNetwork  # noqa: E402
from mlcycle.training.model.score_boxes import Boxes, Faces, boxes_of  # noqa: E402
from mlcycle.training.model.score_layer import fit_score_layer  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.run import checkpoint  # noqa: E402

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("without_reports")]
pytest_plugins = ("small_run",)

FINISH = "finish.score_layer.long_sides=[0, 128]"
SCORE = ("average.answer.weight", "average.answer.bias")


def best(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(run / "checkpoints" / "best.safetensors")[0]


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("fitted") / "run"
    fit(load(recipe_path, [FINISH]), run, device="cpu", quiet=True)
    return run


def test_only_the_score_weights_of_the_best_checkpoint_change(finished_run: Path, finished: Path) -> None:
    before, after = best(finished_run), best(finished)
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == set(SCORE)
    for name in SCORE:  # the other outputs of the layer are boxes and landmarks
        assert torch.equal(before[name][1:], after[name][1:])


def test_the_loss_falls_and_is_reported(finished: Path) -> None:
    fitted = [each for each in lines(finished) if "score_layer_loss" in each]
    assert [each["step"] for each in fitted] == [6]
    by_height = [name for name in fitted[0] if name.startswith("average_precision_50_")]
    assert by_height == ["average_precision_50_32_to_96", "average_precision_50_from_96"]  # no smaller face is labelled
    assert fitted[0]["score_layer_loss"] < 0.9 * fitted[0]["score_layer_loss_before"]
    assert (
        fitted[0]["average_precision_50"]
        == checkpoint.load(finished / "checkpoints" / "best.safetensors")[1].best_score
    )


@pytest.mark.slow
def test_the_same_seed_gives_the_same_layer(recipe_path: Path, finished: Path, tmp_path: Path) -> None:
    fit(load(recipe_path, [FINISH]), tmp_path / "again", device="cpu", quiet=True)
    for name in SCORE:
        assert torch.equal(best(finished)[name], best(tmp_path / "again")[name])


def test_existing_weights_are_fitted_without_a_step(recipe_path: Path, finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "only"
    recipe = load(recipe_path, [FINISH, "schedule.steps=0", f"start_from={finished_run}"])
    result = fit(recipe, run, device="cpu", quiet=True)
    before, after = best(finished_run), best(run)
    changed = {name for name, value in before.items() if "average." in name and not torch.equal(value, after[name])}
    assert changed == set(SCORE)
    assert (result.steps, len(lines(run))) == (0, 2)
    again = fit(recipe, run, device="cpu", resume=True, quiet=True)  # nothing is left to do
    assert again.average_precision_50 == result.average_precision_50
    assert len(lines(run)) == 2


@pytest.mark.slow
def test_a_fit_that_was_killed_before_it_saved_is_repeated(recipe_path: Path, finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "killed"))
    (run / "checkpoints" / "best.safetensors").unlink()
    (run / "checkpoints" / "step-00000006.safetensors").unlink()
    fit(load(recipe_path, [FINISH]), run, device="cpu", resume=True, quiet=True)
    assert [each["step"] for each in lines(run) if "average_precision" in each] == [3, 6, 6]
    assert sum("score_layer_loss" in each for each in lines(run)) == 1


def test_what_the_fitted_layer_finds_is_fitted_too(
    recipe_path: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[list[Boxes]] = []

    def fit_and_keep(network: FaceNetwork, parts: Sequence[Boxes]) -> tuple[float, float]:
        fits.append(list(parts))
        return fit_score_layer(network, parts)

    monkeypatch.setattr("mlcycle.training.model.score_layer.fit_score_layer", fit_and_keep)
    recipe = load(recipe_path, [FINISH, "schedule.steps=0", f"start_from={finished_run}"])
    fit(recipe, tmp_path / "run", device="cpu", quiet=True)
    first, second = fits
    assert all(old is kept for old, kept in zip(first, second, strict=False))
    added = second[len(first) :]
    assert len(added) == len(first)  # of the same images
    assert any(not torch.equal(old.features_NC, new.features_NC) for old, new in zip(first, added, strict=True))


def test_sets_that_the_recipe_does_not_train_on_are_refused(recipe_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"finish\.score_layer\.sets names elsewhere"):
        load(recipe_path, ["finish.score_layer.sets=[elsewhere]"])


def test_sets_without_a_training_image_are_refused_before_the_training(recipe_path: Path) -> None:
    recipe = load(recipe_path)
    data = load_training_data(recipe.data)
    named = load(recipe_path, [f"finish.score_layer.sets=[{recipe.data.train[0].path}]"])
    _must_have_images_to_fit(named, data)
    with pytest.raises(DataError, match="no training image"):
        _must_have_images_to_fit(named, replace(data, sets=("elsewhere",) * len(data.train)))


def test_zero_steps_are_refused_without_start_weights_and_finish(recipe_path: Path) -> None:
    for overrides in ([FINISH], ["start_from=face-nano"], []):
        with pytest.raises(RecipeError, match="trains nothing"):
            load(recipe_path, ["schedule.steps=0", *overrides])


def test_boxes_are_labelled_by_the_faces_that_they_match() -> None:
    torch.manual_seed(1)
    network = FaceNetwork(width=4, depth=1, landmarks=False).eval()
    image_HW3 = np.random.default_rng(1).integers(0, 256, (96, 128, 3), np.uint8)
    network.answer.bias.data[3:5] = 1.5  # boxes that overlap
    with torch.no_grad():
        logits, boxes, _ = network(torch.from_numpy(image_HW3).permute(2, 0, 1)[None].float())
    best = boxes[0, logits[0].argmax()].view(1, 4)  # no suppression takes it
    found = boxes_of(network, image_HW3, Faces(best, torch.tensor([3.0])), 0.45)
    nothing = boxes_of(network, image_HW3, Faces(best[:0], torch.zeros(0)), 0.45)
    finds = found.target_N > 0
    assert found.target_N.max() == pytest.approx(1)  # without a miss
    assert found.weight_N[finds].sum() == pytest.approx(3)
    assert (found.weight_N[~finds] == 1).all()
    assert (nothing.target_N == 0).all()
    assert (nothing.weight_N == 1).all()
    assert 1 < len(nothing.target_N) < logits.numel()  # each is left by non-maximum suppression
    ignored = boxes_of(network, image_HW3, Faces(best, torch.zeros(1)), 0.45)
    assert ignored.weight_N[finds].sum() == 0  # neither a face nor background


def test_the_layer_recovers_the_logistic_regression_behind_the_labels() -> None:
    network = FaceNetwork(width=4, depth=1, landmarks=False).eval()
    generator = torch.Generator().manual_seed(2)
    features = 3 + torch.randn(20000, 12, generator=generator) * torch.linspace(0.1, 5, 12)
    truth, bias = torch.linspace(-0.5, 0.5, 12), -0.7
    labels = (features @ truth + bias).sigmoid()
    half = [slice(0, 10000), slice(10000, None)]
    parts = [Boxes(features[each], labels[each], torch.ones(10000)) for each in half]
    before, after = fit_score_layer(network, parts)
    assert torch.allclose(network.answer.weight[0].flatten(), truth, atol=0.02)
    assert network.answer.bias[0].item() == pytest.approx(bias, abs=0.05)
    assert after < before
