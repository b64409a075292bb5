"""Checkpoints: all tensors are restored, damage is detected, and no code in a file can run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mlcycle.artifact.bundled import FOLDER as BUNDLED  # noqa: E402
from mlcycle.errors import DataError  # noqa: E402
from mlcycle.training.model.network import FaceNetwork  # noqa: E402
from mlcycle.training.model.optimisation import make_optimizer  # noqa: E402
from mlcycle.training.recipes.recipe import Schedule  # noqa: E402
from mlcycle.training.recipes.recipe_file import find, load  # noqa: E402
from mlcycle.training.run import checkpoint, tensor_file  # noqa: E402
from mlcycle.training.run.checkpoint import Progress  # noqa: E402

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


def test_all_tensors_are_restored(tmp_path: Path) -> None:
    model, ema, optimizer = parts(0)
    step(model, optimizer)
    path = tmp_path / "step.safetensors"
    checkpoint.save(path, checkpoint.collect(model, ema, optimizer), Progress(7, 1.5, 0.25, 4))
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
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "step.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        checkpoint.load(path)


def test_another_network_is_refused(tmp_path: Path) -> None:
    model, ema, optimizer = parts(0)
    path = tmp_path / "step.safetensors"
    checkpoint.save(path, checkpoint.collect(model, ema, optimizer), Progress())
    tensors, _ = checkpoint.load(path)
    with pytest.raises(DataError, match="does not fit"):
        checkpoint.load_weights(tensors, FaceNetwork(8, 1, True), "average")


@pytest.mark.parametrize("other", [FaceNetwork(8, 1, True), FaceNetwork(8, 2, True), FaceNetwork(8, 1, True, stride=4)])
def test_weights_of_another_network_cannot_be_started_from(tmp_path: Path, other: FaceNetwork) -> None:
    path = tmp_path / "weights.safetensors"
    network = FaceNetwork(4, 1, False)
    # Weights of a coarser grid or of less depth start these, but not the other way round.
    finer, deeper = FaceNetwork(4, 1, False, stride=4), FaceNetwork(4, 2, False)
    for kept, taken in ((network, other), (other, network), (finer, network), (deeper, network)):
        checkpoint.save_weights(path, kept)
        with pytest.raises(DataError, match="do not fit the recipe's network"):
            checkpoint.start(checkpoint.load(path)[0], taken, path)


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.safetensors")), ids=lambda path: path.stem)
def test_bundled_weights_start_the_recipe_of_their_name(path: Path) -> None:
    recipe = load(find(path.stem))
    checkpoint.start(checkpoint.load(path)[0], FaceNetwork(**recipe.model.model_dump()), path)


def test_a_flipped_bit_is_detected_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "step.safetensors"
    checkpoint.save(path, checkpoint.collect(*parts(0)), Progress(7))
    whole = path.read_bytes()
    for at in range(3, len(whole), len(whole) // 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(DataError, match="cannot be read"):
            checkpoint.load(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="damaged"):
        checkpoint.load(path)


def test_a_checkpoint_of_an_earlier_mlcycle_is_read(tmp_path: Path) -> None:
    model, _, _ = parts(0)
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    texts = {tensor_file.PROGRESS_KEY: json.dumps({"step": 3, "seconds": 1.0, "best_score": 0.5, "best_step": 3})}
    checkpoint.safetensors.torch.save_file(tensors, tmp_path / "old.safetensors", texts)
    loaded, progress = checkpoint.load(tmp_path / "old.safetensors")
    assert progress == Progress(3, 1.0, 0.5, 3)
    assert loaded.keys() == tensors.keys()


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX")
def test_the_new_checkpoint_is_synced_before_an_old_one_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    checkpoint.save(tmp_path / "step.safetensors", checkpoint.collect(*parts(0)), Progress())
    assert synced == [(tmp_path / "step.safetensors").stat().st_ino, tmp_path.stat().st_ino]


def test_a_folder_does_not_replace_bundled_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    planted = tmp_path / "face-nano" / "checkpoints" / "best.safetensors"
    planted.parent.mkdir(parents=True)
    planted.touch()
    assert checkpoint.find_weights("face-nano") == BUNDLED / "face-nano.safetensors"
    assert checkpoint.find_weights("./face-nano") == Path("face-nano/checkpoints/best.safetensors")
