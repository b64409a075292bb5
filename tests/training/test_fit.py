"""Training as a whole: the same seed gives the same weights, and a resumed run ends like an uninterrupted one."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from conftest import environment  # noqa: E402
from filelock import FileLock  # noqa: E402

from mlcycle.errors import DataError, DeviceError, InputError, Interrupted, TrainingDivergedError  # noqa: E402
from mlcycle.training.data.samples import Batch  # noqa: E402
from mlcycle.training.distributed.device import choose_device  # noqa: E402
from mlcycle.training.fit import fit  # noqa: E402
from mlcycle.training.model.grid import grids  # noqa: E402
from mlcycle.training.model.losses import DetectionLoss  # noqa: E402
from mlcycle.training.model.network import FaceNetwork  # noqa: E402
from mlcycle.training.recipes.recipe import Model  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.run import checkpoint, run_summary  # noqa: E402
from mlcycle.training.trace import load_trained  # noqa: E402
from mlcycle.training.trainer import losses_of  # noqa: E402

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("without_reports")]
pytest_plugins = ("small_run",)


def tensors(run: Path, name: str = "step-00000006.safetensors") -> dict[str, torch.Tensor]:
    return checkpoint.load(run / "checkpoints" / name)[0]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name, value in one.items() if not torch.equal(value, other[name])]
    assert different == []


def test_the_same_seed_gives_the_same_weights(recipe_path: Path, finished_run: Path, tmp_path: Path) -> None:
    fit(load(recipe_path), tmp_path / "again", device="cpu", quiet=True)
    assert_equal(tensors(finished_run), tensors(tmp_path / "again"))


@pytest.mark.slow
def test_another_seed_changes_the_weights_and_another_number_of_workers_does_not(
    recipe_path: Path, finished_run: Path, tmp_path: Path
) -> None:
    fit(load(recipe_path, ["schedule.workers=0"]), tmp_path / "alone", device="cpu", quiet=True)
    assert_equal(tensors(finished_run), tensors(tmp_path / "alone"))
    fit(load(recipe_path, ["seed=4"]), tmp_path / "other", device="cpu", quiet=True)
    assert not torch.equal(tensors(finished_run)["model.stem.convolution.weight"],
                           tensors(tmp_path / "other")["model.stem.convolution.weight"])  # fmt: skip


def test_a_run_resumed_from_its_middle_ends_with_the_same_weights(
    recipe_path: Path, finished_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "half"))
    newest = run / "checkpoints" / "step-00000006.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])  # a checkpoint that a crash cut short: the one before counts
    fit(load(recipe_path), run, device="cpu", resume=True, quiet=True)
    assert_equal(tensors(finished_run), tensors(run))
    assert [step for step, _ in evaluations(run)] == [3, 6]


@pytest.mark.parametrize(("signal_number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.slow
def test_a_signal_saves_and_the_run_can_be_resumed(
    recipe_path: Path, tmp_path: Path, signal_number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    words = [sys.executable, "-m", "mlcycle", "train"]
    start = [*words, str(recipe_path), "--device", "cpu", "--out", str(run), "schedule.steps=100000"]
    process = subprocess.Popen(start, env=environment(), stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL)
    for _ in range(600):
        if process.poll() is not None or ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size):
            break
        time.sleep(0.1)
    os.kill(process.pid, signal_number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "the run is saved" in stderr
    assert "--resume" in stderr
    newest = max((run / "checkpoints").glob("step-*.safetensors"))
    stopped_at = checkpoint.load(newest)[1].step
    assert f"at step {stopped_at} of 100000" in stderr
    (run / "recipe.yaml").write_text(
        (run / "recipe.yaml").read_text().replace("steps: 100000", f"steps: {stopped_at + 2}")
    )
    fit(load(run / "recipe.yaml"), run, device="cpu", resume=True, quiet=True)
    assert checkpoint.load(run / "checkpoints" / f"step-{stopped_at + 2:08d}.safetensors")[1].step == stopped_at + 2


def test_the_run_folder_records_its_environment(finished_run: Path, recipe_path: Path) -> None:
    assert load(finished_run / "recipe.yaml") == load(recipe_path)
    environment = json.loads((finished_run / "environment.json").read_text())
    assert environment["data"]["train_photographs"] == 12
    assert environment["data"]["train_faces"] == 8
    assert len(environment["data"]["fingerprint"]) == 64
    assert torch.__version__.startswith(environment["packages"]["torch"])  # with or without "+cpu"
    last = json.loads((finished_run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 6
    page = (finished_run / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_folder_in_use_and_a_folder_that_exists_are_refused(
    recipe_path: Path, finished_run: Path, tmp_path: Path
) -> None:
    recipe = load(recipe_path)
    with pytest.raises(InputError, match="already exists"):
        fit(recipe, finished_run, device="cpu", quiet=True)
    run = tmp_path / "busy"
    (run / "checkpoints").mkdir(parents=True)
    (run / "recipe.yaml").write_text("name: busy")
    with FileLock(run / "lock"), pytest.raises(InputError, match="in use"):
        fit(recipe, run, device="cpu", resume=True, quiet=True)


def test_a_loss_that_is_not_finite_stops_and_names_the_batch(recipe_path: Path, tmp_path: Path) -> None:
    recipe = load(recipe_path, ["schedule.learning_rate=1e+30", "schedule.warmup_steps=0"])
    with pytest.raises(
        TrainingDivergedError, match=r"gradient is not finite at step [1-6] .*samples \d+ to \d+: train/\d+\.jpg, "
    ):
        fit(recipe, tmp_path / "run", device="cpu", quiet=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_device_is_an_error_and_leaves_no_folder(recipe_path: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cuda"):
        fit(load(recipe_path), tmp_path / "run", device="cuda", quiet=True)
    assert not (tmp_path / "run").exists()
    assert choose_device("auto").type in ("mps", "cpu")


@pytest.mark.slow
def test_an_interrupted_evaluation_is_repeated(
    recipe_path: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlcycle.training.data import validation_images

    run, recipe, honest = tmp_path / "run", load(recipe_path), validation_images.images
    for stopped_at, call in ((3, 1), (6, 2)):  # the second time, the first call makes up for what was cut short
        monkeypatch.setattr(validation_images, "images", with_a_signal_at(call, honest))
        with pytest.raises(Interrupted, match=f"at step {stopped_at} of 6") as caught:
            fit(recipe, run, device="cpu", quiet=True, resume=stopped_at > 3)
        assert caught.value.exit_code == 143
    monkeypatch.setattr(validation_images, "images", honest)
    result = fit(recipe, run, device="cpu", quiet=True, resume=True)
    reports = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert result.average_precision_50 == max(each.get("average_precision_50", 0) for each in reports)
    assert_equal(tensors(finished_run), tensors(run))
    assert_equal(tensors(finished_run, "best.safetensors"), tensors(run, "best.safetensors"))
    assert evaluations(run) == evaluations(finished_run)


def with_a_signal_at(call: int, honest: Callable) -> Callable:
    """Returns a replacement of `val.images` that requests a stop at its n-th call."""
    calls = []

    def images(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return honest(*arguments)

    return images


def evaluations(run: Path) -> list[tuple[int, float]]:
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(entry["step"], entry["average_precision"]) for entry in entries if "average_precision" in entry]


def test_a_run_is_not_resumed_with_other_data(
    recipe_path: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # with a report
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    before = (run / "environment.json").read_text()
    (run / "report.html").unlink()  # as if the run had been killed just before its end
    finished = fit(load(recipe_path), run, device="cpu", resume=True, quiet=True)
    assert finished.steps == 6
    assert (run / "report.html").exists()
    assert (run / "environment.json").read_text() == before
    fewer = load(recipe_path, ["data.train.0.leave_out=[train/0.jpg]", "schedule.steps=9"])
    with pytest.raises(DataError, match="images or labels have changed since"):
        fit(fewer, run, device="cpu", resume=True, quiet=True)


def test_a_landmark_model_needs_labelled_landmarks(recipe_path: Path, labelled_set: Path, tmp_path: Path) -> None:
    label_file = labelled_set / "annotations" / "train.json"
    bare = tmp_path / "bare"
    shutil.copytree(labelled_set, bare)
    content = json.loads(label_file.read_text())
    for label in content["annotations"]:
        del label["keypoints"]
    (bare / "annotations" / "train.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="landmarks"):
        fit(load(recipe_path, [f"data.train.0.path={bare}"]), tmp_path / "run", device="cpu", quiet=True)


def test_a_broken_image_is_a_one_line_error_that_names_it(
    recipe_path: Path, labelled_set: Path, tmp_path: Path, mlcycle: Callable
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(labelled_set, broken)
    for image in (broken / "images" / "train").iterdir():
        image.write_bytes(image.read_bytes()[:3000])
    outcome = mlcycle("train", recipe_path, f"data.train.0.path={broken}", "--device", "cpu", "--out", tmp_path / "run")
    assert outcome.code == 3
    sentence = next(line for line in outcome.err.splitlines() if line.startswith("error:"))
    assert ".jpg" in sentence
    assert "Traceback" not in outcome.err


@pytest.mark.slow
def test_training_lowers_the_loss(recipe_path: Path, tmp_path: Path) -> None:
    recipe = load(recipe_path, ["schedule.steps=120", "schedule.evaluate_every=120", "schedule.learning_rate=0.004"])
    fit(recipe, tmp_path / "run", device="cpu", quiet=True)
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
def test_decoded_images_are_read_instead_of_the_files(recipe_path: Path, tmp_path: Path) -> None:
    recipe = load(recipe_path, [f"data.decoded={tmp_path / 'decoded'}", "schedule.workers=0"])
    fit(recipe, tmp_path / "first", device="cpu", quiet=True)
    held = [each for each in (tmp_path / "decoded").rglob("*") if each.is_file()]
    assert len(held) == 12
    for each in held:
        each.write_bytes(bytes(each.stat().st_size))
    fit(recipe, tmp_path / "blind", device="cpu", quiet=True)
    assert not torch.equal(tensors(tmp_path / "first")["model.stem.convolution.weight"],
                           tensors(tmp_path / "blind")["model.stem.convolution.weight"])  # fmt: skip


def test_a_run_can_start_from_the_weights_of_another(recipe_path: Path, finished_run: Path, tmp_path: Path) -> None:
    still = ["schedule.steps=1", "schedule.learning_rate=1e-12", "schedule.evaluate_every=1"]
    recipe = load(recipe_path, [f"start_from={finished_run}", *still])
    fit(recipe, tmp_path / "next", device="cpu", quiet=True)
    before, after = tensors(finished_run, "best.safetensors"), tensors(tmp_path / "next", "step-00000001.safetensors")
    assert torch.equal(before["average.stem.convolution.weight"], after["model.stem.convolution.weight"])
    environment = json.loads((tmp_path / "next" / "environment.json").read_text())
    best = finished_run / "checkpoints" / "best.safetensors"
    assert environment["started_from"] == hashlib.sha256(best.read_bytes()).hexdigest()
    summary = run_summary.read(tmp_path / "next")
    (start, score), *later = summary.curve("average_precision_50")
    assert (start, score) == (0, pytest.approx(run_summary.read(finished_run).best.average_precision_50))
    assert summary.best.step == 1 == later[0][0]


def test_weights_alone_are_enough_to_start_from(recipe_path: Path, finished_run: Path, tmp_path: Path) -> None:
    _, network, _ = load_trained(finished_run)
    checkpoint.save_weights(tmp_path / "weights.safetensors", network)
    still = ["schedule.steps=1", "schedule.learning_rate=1e-12", "schedule.evaluate_every=1"]
    fit(load(recipe_path, [f"start_from={tmp_path / 'weights.safetensors'}", *still]), tmp_path / "next", device="cpu",
        quiet=True)  # fmt: skip
    got = tensors(tmp_path / "next", "step-00000001.safetensors")["model.stem.convolution.weight"]
    assert torch.equal(got, network.stem.convolution.weight.half().float())


@pytest.mark.parametrize(
    ("start", "override", "words"),
    [
        ("nowhere", "seed=1", "no such weights: nowhere"),
        ("{run}", "model.width=8", "do not fit the recipe's network"),
    ],
)
def test_weights_that_cannot_be_started_from(
    recipe_path: Path, finished_run: Path, tmp_path: Path, start: str, override: str, words: str
) -> None:
    recipe = load(recipe_path, [f"start_from={start.format(run=finished_run)}", override])
    with pytest.raises(DataError, match=words):
        fit(recipe, tmp_path / "run", device="cpu", quiet=True)


def test_a_run_that_failed_before_its_start_can_be_started_again(recipe_path: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(DataError, match="cannot be decoded into"):
        fit(load(recipe_path, [f"data.decoded={tmp_path / 'taken'}"]), tmp_path / "run", device="cpu", quiet=True)
    with pytest.raises(DataError, match="nowhere"):
        fit(load(recipe_path, ["start_from=nowhere"]), tmp_path / "run", device="cpu", quiet=True)
    fit(load(recipe_path, ["schedule.steps=1"]), tmp_path / "run", device="cpu", quiet=True)


def test_weights_with_landmarks_start_a_network_without(
    recipe_path: Path, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = ["schedule.steps=1", "schedule.learning_rate=1e-12", "schedule.evaluate_every=1", "model.landmarks=false"]
    fit(load(recipe_path, [f"start_from={finished_run}", *still]), tmp_path / "next", device="cpu")
    assert "has landmarks, which this run leaves out, because model.landmarks is false" in capsys.readouterr().err
    before, after = tensors(finished_run, "best.safetensors"), tensors(tmp_path / "next", "step-00000001.safetensors")
    assert len(after["model.answer.weight"]) == 5
    assert torch.allclose(before["average.answer.weight"][:5], after["model.answer.weight"], atol=1e-9)


def test_normalisation_is_frozen_in_the_last_share_of_the_steps(
    recipe_path: Path, finished_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    fit(load(recipe_path, ["schedule.frozen_normalisation=0.5"]), run, device="cpu", quiet=True)
    half, end = (tensors(run, f"step-0000000{step}.safetensors") for step in (3, 6))
    assert_equal(half, tensors(finished_run, "step-00000003.safetensors"))
    running = [name for name in half if name.startswith("model.") and "running" in name]
    assert running
    for name in running:
        assert torch.equal(half[name], end[name])
    moving = ("model.stem.normalisation.weight", "model.stem.convolution.weight", "average.stem.normalisation.weight")
    assert not any(torch.equal(half[name], end[name]) for name in moving)


@pytest.mark.slow
def test_crops_of_both_sizes_resume_bit_by_bit(recipe_path: Path, tmp_path: Path) -> None:
    changes = ["augment.large=0.5", "augment.mosaic=0.3", "augment.rotate=0.5", "augment.jpeg=0.5",
               "schedule.workers=0", f"data.decoded={tmp_path / 'decoded'}"]  # fmt: skip
    recipe = load(recipe_path, changes)
    fit(recipe, tmp_path / "whole", device="cpu", quiet=True)
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    (tmp_path / "half" / "checkpoints" / "step-00000006.safetensors").unlink()
    fit(recipe, tmp_path / "half", device="cpu", resume=True, quiet=True)
    assert_equal(tensors(tmp_path / "whole"), tensors(tmp_path / "half"))


def test_a_network_with_a_finer_grid_trains_and_is_loaded(recipe_path: Path, tmp_path: Path) -> None:
    fit(load(recipe_path, ["model.stride=4", "schedule.steps=3"]), tmp_path / "finer", device="cpu", quiet=True)
    recipe, network, _ = load_trained(tmp_path / "finer")
    assert recipe.model.stride == network.strides[0] == 4


def batch_of(faces: list[list[float]], ignored: list[list[float]]) -> Batch:
    """Returns a batch of one black crop of 96 pixels."""
    faces_M4, ignored_I4 = (torch.tensor(boxes).reshape(-1, 4) for boxes in (faces, ignored))
    none = torch.full((len(faces), 5, 2), torch.nan)
    in_first_M, in_first_I = (torch.zeros(len(boxes), dtype=torch.long) for boxes in (faces, ignored))
    return Batch(
        torch.zeros(1, 96, 96, 3, dtype=torch.uint8),
        torch.zeros(1, 6),
        faces_M4,
        none,
        in_first_M,
        ignored_I4,
        in_first_I,
        ("a",),
    )


def parts_of(outputs: tuple[torch.Tensor, ...], batch: Batch, rule: Model) -> DetectionLoss:
    sums = losses_of(outputs, batch, rule)
    return sums.over(sums.counts_3)


@pytest.mark.parametrize("stride", [8, 4])
def test_only_ignored_cells_without_a_face_have_no_gradient(stride: int) -> None:
    torch.manual_seed(0)
    rule = Model(width=4, landmarks=True, stride=stride)
    outputs = FaceNetwork(**rule.model_dump()).eval()(torch.zeros(1, 3, 96, 96))
    outputs[0].retain_grad()
    face = [30.0, 30.0, 50.0, 50.0]
    parts = parts_of(outputs, batch_of([face], [[0.0, 0.0, 96.0, 96.0]]), rule)
    (parts.score + parts.box + parts.landmarks).backward()
    rows = [
        ((column + 0.5) * grid.stride, (row + 0.5) * grid.stride, grid.stride)
        for grid in grids(96, 96, stride)
        for row in range(grid.rows)
        for column in range(grid.columns)
    ]
    x, y, strides = torch.tensor(rows).unbind(1)
    has_gradient = outputs[0].grad[0] != 0
    is_face = (torch.maximum((x - 40).abs(), (y - 40).abs()) < 10 + 2 * strides) & (x < 96) & (y < 96)
    assert (has_gradient & is_face).any()
    is_background = (x >= 96) | (y >= 96)  # the coarsest cells reach beyond what is ignored
    assert (is_face | is_background)[has_gradient].all()
    assert has_gradient[is_background].all()
    assert (outputs[0].grad != 0).sum() <= 10


def test_a_batch_without_faces_trains_the_background() -> None:
    rule = Model(width=4, landmarks=True)
    network = FaceNetwork(**rule.model_dump()).eval()
    parts = parts_of(network(torch.zeros(1, 3, 96, 96)), batch_of([], []), rule)
    assert parts.box.item() == parts.landmarks.item() == 0
    assert 0 < parts.score.item() < math.inf
    (parts.score + parts.box + parts.landmarks).backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in network.parameters())
