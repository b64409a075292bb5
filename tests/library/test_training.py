"""From a recipe to a variant of its model file, in Python alone; and what it leaves of the process around it."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from quick_gate import trace_training_here  # noqa: E402

import mlcycle  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


@pytest.fixture(scope="module")
def run(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> mlcycle.Run:
    out = tmp_path_factory.mktemp("runs") / "a"
    return mlcycle.train(recipe_path, {"schedule.steps": 4, "schedule.workers": 0}, out, device="cpu", quiet=True)


@pytest.fixture(scope="module")
def frozen(run: mlcycle.Run, tmp_path_factory: pytest.TempPathFactory) -> mlcycle.Frozen:
    with pytest.MonkeyPatch.context() as patch:
        trace_training_here(patch)
        return mlcycle.freeze(run, tmp_path_factory.mktemp("models") / "a.onnx", count=2)


@pytest.mark.slow
def test_a_run_says_what_became_of_it(run: mlcycle.Run) -> None:
    assert run.steps == 4
    assert run.best_step in (3, 4)
    assert run.metrics()[-1]["step"] == 4
    assert run.report.is_file()
    assert (Path(run) / "recipe.yaml").is_file()


@pytest.mark.slow
def test_the_frozen_file_is_a_model(run: mlcycle.Run, frozen: mlcycle.Frozen, astronaut: Path) -> None:
    model = mlcycle.load(frozen)
    assert (model.name, model.sha256, model.thresholds) == ("tiny", frozen.sha256, frozen.thresholds)
    assert model.contract.training["step"] == run.best_step
    assert model(astronaut, threshold=0.0).image_size == (512, 512)


@pytest.mark.slow
def test_another_file_is_not_overwritten(
    run: mlcycle.Run, frozen: mlcycle.Frozen, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlcycle.training import freeze

    monkeypatch.setattr(
        freeze, "build_model", lambda *_: frozen.path.read_bytes()
    )  # as it would be, without the export
    with pytest.raises(mlcycle.InputError, match="exists"):
        mlcycle.freeze(run, Path(__file__), count=2)


@pytest.mark.slow
def test_the_same_run_freezes_to_the_same_bytes(run: mlcycle.Run, frozen: mlcycle.Frozen, tmp_path: Path) -> None:
    assert mlcycle.freeze(str(run.path), tmp_path / "again.onnx", count=1).sha256 == frozen.sha256


@pytest.mark.parametrize("images", ["missing.jpg", Path("missing.jpg"), ["missing.jpg"]])
def test_images_are_one_path_or_several(run: mlcycle.Run, images) -> None:
    with pytest.raises(mlcycle.InputError, match=r"no such image or folder: missing\.jpg"):
        mlcycle.freeze(run, images=images)
    with pytest.raises(mlcycle.InputError, match=r"no such image or folder: missing\.jpg"):
        mlcycle.export("face-nano", images=images)


@pytest.mark.slow
def test_a_variant_is_a_model_too(frozen: mlcycle.Frozen, tmp_path: Path, labelled_set: Path) -> None:
    pytest.importorskip("onnx")
    variant = mlcycle.export(
        frozen, tmp_path / "fixed.onnx", input_size=(192, 192), data=labelled_set, split="val", max_drop=100
    )
    model = mlcycle.load(variant)
    assert model.sha256 == variant.sha256
    assert (model.contract.input_size.width, model.contract.parent) == (192, frozen.sha256)
    with pytest.raises(mlcycle.UsageError, match="two steps"):
        mlcycle.export(frozen, input_size=(192, 192), format="triton")
    folder = mlcycle.export(frozen, tmp_path / "repository", format="triton")
    assert sorted(each.name for each in Path(folder).iterdir()) == ["SHA256SUMS", "tiny"]


@pytest.mark.slow
def test_evaluation_takes_a_file_or_a_model(frozen: mlcycle.Frozen, labelled_set: Path) -> None:
    by_file = mlcycle.evaluate(frozen, labelled_set, split="val", workers=2)
    by_model = mlcycle.evaluate(mlcycle.load(frozen), labelled_set, split="val", workers=1)
    assert by_file.to_dict()["coco"] == by_model.to_dict()["coco"]
    assert by_file.to_dict()["data"]["images"] == 6
    assert "AP" in str(by_file)
    with pytest.raises(mlcycle.DataError):
        mlcycle.evaluate(frozen, labelled_set / "nowhere")


def test_a_run_is_resumed_by_its_folder(recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is the process's own business: it raises KeyboardInterrupt, and the run resumes from its checkpoint."""
    from mlcycle.training import fit

    steps = fit._Run._after_step

    def interrupted(self, *arguments):
        yield from steps(self, *arguments)
        if self.progress.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit._Run, "_after_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mlcycle.train(recipe_path, {"schedule.workers": 0}, tmp_path / "a", device="cpu", quiet=True)
    monkeypatch.undo()
    resumed = mlcycle.train(tmp_path / "a", resume=True, device="cpu", quiet=True)
    assert resumed.steps == 6
    assert [each["step"] for each in resumed.metrics() if "average_precision" in each] == [3, 6]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"schedule.stps": 1}, "did you mean steps"),
        ({"schedule.steps": "many"}, "whole number"),
        ({"seed": {1}}, "cannot be the value"),
    ],
)
def test_a_wrong_override_is_refused(recipe_path: Path, tmp_path: Path, overrides, words) -> None:
    with pytest.raises(mlcycle.UsageError) as caught:
        mlcycle.train(recipe_path, overrides, tmp_path / "a")
    assert words in str(caught.value) + caught.value.hint
    assert not (tmp_path / "a").exists()


def test_an_override_is_a_value_of_python(recipe_path: Path, tmp_path: Path) -> None:
    overrides = {"schedule.steps": 1, "schedule.workers": 0, "model.landmarks": False, "about.intended_use": "a: b # c"}
    run = mlcycle.train(recipe_path, overrides, tmp_path / "a", device="cpu", quiet=True)
    from mlcycle.training.recipes.recipe_file import load

    recipe = load(run.path / "recipe.yaml")
    assert (recipe.schedule.steps, recipe.model.landmarks, recipe.about.intended_use) == (1, False, "a: b # c")


def test_a_training_leaves_the_process_as_it_was(recipe_path: Path, tmp_path: Path, monkeypatch) -> None:
    """Signals, threads and random numbers; also with reader processes, for which torch sets a handler."""
    from mlcycle.training import fit

    monkeypatch.setattr(fit, "keep_memory", lambda: pytest.fail("the allocator is the process's own"))
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD")]
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    handlers = [signal.getsignal(each) for each in numbers]
    monkeypatch.delenv("OMP_NUM_THREADS")
    overrides = {"schedule.steps": 1, "schedule.workers": 1}
    mlcycle.train(recipe_path, overrides, tmp_path / "a", device="cpu", quiet=True)
    assert [signal.getsignal(each) for each in numbers] == handlers
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_training_works_in_any_thread(recipe_path: Path, tmp_path: Path) -> None:
    done: list[mlcycle.Run] = []

    def work() -> None:
        overrides = {"schedule.steps": 1, "schedule.workers": 1}
        done.append(mlcycle.train(recipe_path, overrides, tmp_path / "a", device="cpu", quiet=True))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done[0].steps == 1


@pytest.mark.slow
def test_quiet_is_quiet(recipe_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    overrides = {"schedule.steps": 1, "schedule.workers": 0}
    mlcycle.train(recipe_path, overrides, tmp_path / "a", device="cpu", quiet=True)
    assert capfd.readouterr() == ("", "")
    mlcycle.train(recipe_path, overrides, tmp_path / "b", device="cpu")
    out, err = capfd.readouterr()
    assert out == ""
    assert "tiny" in err
