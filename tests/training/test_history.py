"""The networks of a run's checkpoints: before the first step, in between, and as frozen in the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mlcycle.errors import DataError  # noqa: E402
from mlcycle.training import history  # noqa: E402
from mlcycle.training.distributed.process_group import ProcessGroup  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.run.run_folder import RECIPE  # noqa: E402
from mlcycle.training.trace import trace  # noqa: E402
from mlcycle.training.trainer import Trainer  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return network.state_dict()


@pytest.mark.slow
def test_step_0_is_the_network_that_training_begins_with(finished_run: Path) -> None:
    begun = Trainer(load(finished_run / RECIPE), torch.device("cpu"), ProcessGroup()).ema
    for name, value in weights(history.network_at(finished_run, 0)).items():
        assert torch.equal(value, weights(begun)[name]), name


def test_each_kept_step_has_weights_of_its_own(finished_run: Path) -> None:
    steps = history.kept_steps(finished_run)
    assert steps == [0, 3, 6]
    firsts = [history.network_at(finished_run, step).stem.convolution.weight for step in steps]
    assert not torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[1], firsts[2])
    with pytest.raises(DataError):
        history.network_at(finished_run, 4)


def test_it_finds_what_the_training_pipeline_finds(finished_run: Path, astronaut: Path) -> None:
    network, recipe = history.network_at(finished_run, 6), load(finished_run / RECIPE)
    expected = trace(network, recipe, astronaut)
    found = history.find(network, recipe.inference, astronaut)
    kept = found.scores_N >= expected["least_score"]
    assert kept.any()
    np.testing.assert_array_equal(found.scores_N[kept], expected["scores"])
    np.testing.assert_allclose(found.boxes_N4[kept], expected["boxes"], atol=1e-3)


def test_the_random_numbers_of_the_caller_stay_as_they_are(finished_run: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    history.network_at(finished_run, 0)
    assert torch.equal(torch.rand(3), expected)
