"""Training from packed shards: the same weights as from files, and a streamed order that a resumed run continues."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402

from mlcycle.datasets.member import Member  # noqa: E402
from mlcycle.datasets.packing import PackOptions, pack  # noqa: E402
from mlcycle.datasets.reading import read, read_parts  # noqa: E402
from mlcycle.errors import DataError, Interrupted, RecipeError  # noqa: E402
from mlcycle.library.gate import compare_pipelines, images_for  # noqa: E402
from mlcycle.training.data import samples  # noqa: E402
from mlcycle.training.data.decoded_cache import decode_all  # noqa: E402
from mlcycle.training.data.image_input import open_image, stored_rgb  # noqa: E402
from mlcycle.training.data.training_data import load_training_data  # noqa: E402
from mlcycle.training.fit import fit  # noqa: E402
from mlcycle.training.freeze import freeze  # noqa: E402
from mlcycle.training.progress.display import Display  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.run.run_folder import RunFolder, describe_environment  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


@pytest.fixture(scope="module")
def packed(labelled_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "packed"
    done = pack(read_parts(labelled_set), folder, PackOptions(shard_bytes=60_000))
    assert len(done.shards["train"]) > 3
    return folder


def from_shards(packed: Path, *more: str) -> list[str]:
    return [f"data.train.0.path={packed}", f"data.validation.0.path={packed}", "schedule.workers=0", *more]


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "checkpoints" / "step-00000006.safetensors")


def assert_same(run: Path, other: Path) -> None:
    one, two = tensors(run), tensors(other)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_files_and_shards_give_the_same_weights(
    recipe_path: Path, packed: Path, finished_run: Path, tmp_path: Path
) -> None:
    recipe = load(recipe_path, from_shards(packed))
    assert load_training_data(recipe.data).fingerprint == load_training_data(load(recipe_path).data).fingerprint
    fit(recipe, tmp_path / "run", device="cpu", quiet=True)
    assert_same(tmp_path / "run", finished_run)


@pytest.mark.slow
def test_a_resumed_streamed_run_ends_like_an_uninterrupted_one(
    recipe_path: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load(recipe_path, from_shards(packed, "data.order=streamed", "augment.large=0.4", "augment.mosaic=0.3"))
    fit(recipe, tmp_path / "whole", device="cpu", quiet=True)
    with monkeypatch.context() as stopped:
        stop = lambda self, done: os.kill(os.getpid(), signal.SIGTERM) if done == 4 else None  # noqa: E731
        stopped.setattr(Display, "step", stop)
        with pytest.raises(Interrupted):
            fit(recipe, tmp_path / "stopped", device="cpu", quiet=True)
    # A worker process changes nothing either.
    two = load(recipe_path, from_shards(packed, "data.order=streamed", "augment.large=0.4", "augment.mosaic=0.3"))
    two = two.model_copy(update={"schedule": two.schedule.model_copy(update={"workers": 1})})
    fit(two, tmp_path / "stopped", device="cpu", resume=True, quiet=True)
    assert_same(tmp_path / "whole", tmp_path / "stopped")


def test_a_resumed_streamed_run_reports_another_packing(
    recipe_path: Path, packed: Path, labelled_set: Path, tmp_path: Path
) -> None:
    pack(read_parts(labelled_set), tmp_path / "again", PackOptions(shard_bytes=60_000))
    pack(read_parts(labelled_set), tmp_path / "other", PackOptions(shard_bytes=60_000, seed=1))
    first, again, other = (
        load_training_data(load(recipe_path, from_shards(folder, "data.order=streamed")).data).summary()
        for folder in (packed, tmp_path / "again", tmp_path / "other")
    )
    assert first == again
    assert first["fingerprint"] == other["fingerprint"]
    run = RunFolder(tmp_path)
    run.note_environment(describe_environment("cpu", first) | {"teacher": None, "recipe_sha256": ""}, None)
    now = describe_environment("cpu", other) | {"teacher": None, "recipe_sha256": ""}
    assert run.note_environment(now, 4) == [f"packing {first['packing']}, now {other['packing']}"]
    assert "packing" not in load_training_data(load(recipe_path, from_shards(packed)).data).summary()


@pytest.mark.slow
def test_a_streamed_epoch_uses_each_image_once(
    recipe_path: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    cut = samples.cut

    def note(image, *more):
        looked_at.append(image.name)
        return cut(image, *more)

    monkeypatch.setattr(samples, "cut", note)
    # Six steps of four samples are twelve images twice.
    fit(load(recipe_path, from_shards(packed, "data.order=streamed")), tmp_path / "run", device="cpu", quiet=True)
    names = sorted(each.name for each in read(packed, "train"))
    assert sorted(looked_at[:12]) == sorted(looked_at[12:24]) == names
    assert looked_at[:12] != looked_at[12:24]


def test_streaming_an_unpacked_set_or_with_fractional_weights_is_refused(recipe_path: Path, packed: Path) -> None:
    with pytest.raises(DataError, match=r"is not a packed set, but data\.order is streamed") as problem:
        load_training_data(load(recipe_path, ["data.order=streamed"]).data)
    assert "mlcycle data pack" in problem.value.hint
    for weight in ("1.5", "3.0e+9"):
        with pytest.raises(RecipeError, match="weight must be a whole number up to 1000, not"):
            load(recipe_path, from_shards(packed, "data.order=streamed", f"data.train.0.weight={weight}"))


def test_images_in_shards_are_decoded_once_too(packed: Path, tmp_path: Path) -> None:
    paths = [each.path for each in read(packed, "val")]
    found = decode_all(tmp_path, paths, lambda done, whole: None)
    assert len({each.file for each in found.values()}) == len(paths)
    for path in paths:
        whole, window = found[path].part(1.0, (0, 0, *found[path].size), found[path].size)
        assert whole.tobytes() == stored_rgb(open_image(path)).tobytes()
        assert window == (0, 0, *found[path].size)


def test_a_member_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(bytes(600))
    with pytest.raises(DataError, match=r"x\.tar/000000001\.jpg cannot be read"):
        open_image(Member(tmp_path / "x.tar", "000000001.jpg", 512, 80))


@pytest.mark.slow
def test_a_run_on_shards_is_frozen_with_the_gate_on_its_validation_images(
    recipe_path: Path, packed: Path, tmp_path: Path
) -> None:
    fit(load(recipe_path, from_shards(packed)), tmp_path / "run", device="cpu", quiet=True)
    images = images_for(tmp_path / "run", [], 2)
    assert all(isinstance(each, Member) for each in images)

    def gate(still: Path, candidate: Path) -> None:
        compare_pipelines(still, candidate, images)

    freeze(tmp_path / "run", tmp_path / "model.onnx", gate, lambda many: lambda done: None)
    assert (tmp_path / "model.onnx").is_file()
