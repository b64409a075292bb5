"""Checkpoints: everything comes back, and nothing that is read can execute."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mlcycle.artifact.bundled import FOLDER as BUNDLED  # noqa: E402
from mlcycle.errors import DataError  # noqa: E402
from mlcycle.training import checkpoint  # noqa: E402
from mlcycle.training.checkpoint import Progress  # noqa: E402
from mlcycle.training.network import FaceNetwork  # noqa: E402
from mlcycle.training.optimisation import make_optimizer  # noqa: E402
from mlcycle.training.recipe import Schedule  # noqa: E402
from mlcycle.training.recipe_file import find, load  # noqa: E402

pytestmark = pytest.mark.training


def parts(seed: int) -> tuple[FaceNetwork, FaceNetwork, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = FaceNetwork(4, 1, True).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, Schedule(steps=1))
    return model, FaceNetwork(4, 1, True), optimizer


def step(model: FaceNetwork, optimizer: torch.optim.Optimizer) -> None:
    logits, boxes, points = model(torch.ones(2, 3, 64, 64) * 100)
    (logits.sum() + boxes.sum() + points.sum()).backward()
    optimizer.step()
    optimizer.zero_grad()


def test_everything_comes_back(tmp_path: Path) -> None:
    model, average, optimizer = parts(0)
    step(model, optimizer)
    path = tmp_path / "step.safetensors"
    checkpoint.save(path, model, average, optimizer, Progress(7, 1.5, 0.25, 4))
    twin = parts(1)
    loaded, progress = checkpoint.load(path)
    checkpoint.restore(loaded, *twin)
    assert progress == Progress(7, 1.5, 0.25, 4)
    for each in ((model, optimizer), (twin[0], twin[2])):
        step(*each)
    for one, other in zip(model.state_dict().values(), twin[0].state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert [each.name for each in tmp_path.iterdir()] == ["step.safetensors"]


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "step.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        checkpoint.load(path)


def test_another_network_is_refused(tmp_path: Path) -> None:
    model, average, optimizer = parts(0)
    path = tmp_path / "step.safetensors"
    checkpoint.save(path, model, average, optimizer, Progress())
    tensors, _ = checkpoint.load(path)
    with pytest.raises(DataError, match="does not fit"):
        checkpoint.load_weights(tensors, FaceNetwork(8, 1, True), "average")


@pytest.mark.parametrize("other", [FaceNetwork(8, 1, True), FaceNetwork(4, 2, True), FaceNetwork(4, 1, True, stride=4)])
def test_weights_of_another_network_are_no_start(tmp_path: Path, other: FaceNetwork) -> None:
    path = tmp_path / "weights.safetensors"
    network = FaceNetwork(4, 1, False)
    for kept, taken in ((network, other), (other, network)):
        checkpoint.save_weights(path, kept)
        with pytest.raises(DataError, match="not of the recipe's network"):
            checkpoint.start(checkpoint.load(path)[0], taken, path)


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.safetensors")), ids=lambda path: path.stem)
def test_bundled_weights_start_the_recipe_of_their_name(path: Path) -> None:
    recipe = load(find(path.stem))
    checkpoint.start(checkpoint.load(path)[0], FaceNetwork(**recipe.model.model_dump()), path)
