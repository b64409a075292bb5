"""Distillation: the teacher's targets, the losses, and which weights can be a teacher."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mlcycle.errors import DataError, Interrupted  # noqa: E402
from mlcycle.training.data.synthetic_batch import synthetic_batch  # noqa: E402
from mlcycle.training.distributed.process_group import ProcessGroup  # noqa: E402
from mlcycle.training.fit import fit  # noqa: E402
from mlcycle.training.model.distillation import TeacherTargets, distillation_loss, teacher_targets  # noqa: E402
from mlcycle.training.model.grid import grids  # noqa: E402
from mlcycle.training.model.network import FaceNetwork, architecture_of  # noqa: E402
from mlcycle.training.model.teacher import Teacher  # noqa: E402
from mlcycle.training.progress.display import Display  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402
from mlcycle.training.run import checkpoint  # noqa: E402
from mlcycle.training.trainer import Trainer  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)

CPU = torch.device("cpu")
SIDE = 96


def outputs(finest: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns logits (some high, most low) and boxes for all cells of two images."""
    random = torch.Generator().manual_seed(seed)
    last = grids(SIDE, SIDE, finest)[-1]
    cells = last.start + last.rows * last.columns
    corners = torch.rand((2, cells, 2), generator=random) * 60
    sides = 5 + torch.rand((2, cells, 2), generator=random) * 30
    return torch.randn((2, cells), generator=random) * 3 - 3, torch.cat((corners, corners + sides), dim=-1)


def test_a_student_equal_to_its_teacher_has_no_loss() -> None:
    logits, boxes = outputs(8)
    targets = teacher_targets(logits, boxes, grids(SIDE, SIDE, 8), 8)
    mine = logits.clone().requires_grad_(), boxes.clone().requires_grad_()
    sums = distillation_loss(*mine, targets)
    score, box = sums.over(sums.count)
    (score + box).backward()
    assert sums.count > 1
    assert score.item() < 1e-9
    assert box.item() < 1e-5
    assert mine[0].grad is not None
    assert mine[0].grad.abs().max() < 1e-6
    other = distillation_loss(*outputs(8, seed=2), targets)
    assert min(each.item() for each in other.over(other.count)) > 0.05


def test_gradients_move_a_student_towards_its_teacher() -> None:
    (logits, boxes), (mine, my_boxes) = outputs(8), outputs(8, seed=2)
    targets = teacher_targets(logits, boxes, grids(SIDE, SIDE, 8), 8)
    mine.requires_grad_()
    score, _ = (sums := distillation_loss(mine, my_boxes, targets)).over(sums.count)
    (gradient,) = torch.autograd.grad(score, mine)
    far = (mine.sigmoid() - logits.sigmoid()).abs() > 0.1
    assert far.sum() > 10
    assert (gradient[far].sign() == (mine - logits)[far].sign()).all()


def test_a_teacher_with_a_finer_grid_gives_targets_for_shared_grids() -> None:
    all_grids, shared = grids(SIDE, SIDE, 4), grids(SIDE, SIDE, 8)
    logits, boxes = torch.full_like(outputs(4)[0], -9.0), outputs(4)[1]
    fourth = {grid.stride: grid.start for grid in all_grids}
    logits[0, fourth[8] + 5] = logits[1, fourth[32] + 2] = 4.0
    targets = teacher_targets(logits, boxes, all_grids, 8)
    mine = {grid.stride: grid.start for grid in shared}
    assert targets.scores_BA.shape == outputs(8)[0].shape
    assert (targets.scores_BA > 0.5).nonzero().tolist() == [[0, mine[8] + 5], [1, mine[32] + 2]]
    assert torch.equal(targets.boxes_BA4[0, mine[8] + 5], boxes[0, fourth[8] + 5])
    assert targets.counts_BA.all()


def test_cells_predicted_on_a_finer_grid_are_left_out() -> None:
    """A small face that the teacher predicts at stride 4 is not background at stride 8."""
    all_grids = grids(SIDE, SIDE, 4)
    logits, boxes = torch.full_like(outputs(4)[0], -9.0), outputs(4)[1]
    row, column = 7, 10
    logits[1, row * all_grids[0].columns + column] = 4.0
    targets = teacher_targets(logits, boxes, all_grids, 8)
    ignored = (~targets.counts_BA).nonzero().tolist()
    assert ignored == [[1, row // 2 * all_grids[1].columns + column // 2]]
    mine = torch.zeros_like(targets.scores_BA, requires_grad=True)
    distillation_loss(mine, targets.boxes_BA4, targets).score.backward()
    assert mine.grad is not None
    assert (mine.grad == 0).nonzero().tolist() == ignored


def test_a_grid_that_only_the_student_has_is_left_out() -> None:
    targets = teacher_targets(*outputs(8), grids(SIDE, SIDE, 8), 4)
    logits, boxes = outputs(4, seed=2)
    logits.requires_grad_()
    sums = distillation_loss(logits, boxes, targets)
    sums.score.backward()
    finest = grids(SIDE, SIDE, 4)[0]
    assert logits.grad is not None
    assert not logits.grad[:, : finest.rows * finest.columns].any()
    assert logits.grad[:, finest.rows * finest.columns :].all()


def test_a_teacher_that_sees_no_face_gives_no_boxes_and_finite_gradients() -> None:
    logits, boxes = outputs(8)
    targets = TeacherTargets(torch.full_like(logits, 0.01), boxes, torch.ones_like(logits, dtype=torch.bool))
    mine = logits.requires_grad_(), boxes.clone().requires_grad_()
    sums = distillation_loss(*mine, targets)
    score, box = sums.over(sums.count)
    (score + box).backward()
    assert (sums.count.item(), box.item()) == (0, 0)
    assert mine[0].grad is not None
    assert torch.isfinite(mine[0].grad).all()


@pytest.mark.parametrize("arguments", [{"width": 4, "depth": 1, "landmarks": True, "stride": 8},
                                  {"width": 8, "depth": 2, "landmarks": False, "stride": 4}])  # fmt: skip
def test_the_architecture_is_read_from_the_weights(arguments: dict) -> None:
    assert architecture_of(FaceNetwork(**arguments).state_dict()) == arguments


def test_a_teacher_predicts_like_its_run_and_is_not_changed(finished_run: Path) -> None:
    best = finished_run / "checkpoints" / "best.safetensors"
    teacher = Teacher(str(finished_run), CPU, torch.float32)
    assert teacher.sha256 == hashlib.sha256(best.read_bytes()).hexdigest()
    network = FaceNetwork(width=4, depth=1, landmarks=True)
    checkpoint.load_weights(checkpoint.load(best)[0], network, "average")
    images = torch.rand(2, 3, SIDE, SIDE) * 255
    targets = teacher.targets(images, 8)
    with torch.no_grad():
        logits, boxes, _ = network.eval()(images)
    assert torch.allclose(targets.scores_BA, logits.sigmoid(), atol=1e-5)
    assert torch.allclose(targets.boxes_BA4, boxes, atol=1e-2)
    again = teacher.targets(images, 8)
    assert torch.equal(targets.scores_BA, again.scores_BA)
    assert not targets.scores_BA.requires_grad


@pytest.mark.parametrize("weights", ["other", "part", "nowhere"])
def test_weights_of_another_network_cannot_be_a_teacher(finished_run: Path, tmp_path: Path, weights: str) -> None:
    tensors, progress = checkpoint.load(finished_run / "checkpoints" / "best.safetensors")
    without = {name: each for name, each in tensors.items() if name != "average.head.1.convolution.weight"}
    checkpoint.save(tmp_path / "part", without, progress)
    checkpoint.save(tmp_path / "other", {"average.embedding.weight": torch.zeros(3, 4)}, progress)
    with pytest.raises(DataError, match=r"no such weights: .*nowhere|cannot be a teacher"):
        Teacher(str(tmp_path / weights), CPU, torch.float32)


def test_a_teacher_changes_a_step_unless_its_weight_is_0(recipe_path: Path, finished_run: Path) -> None:
    taught = [f"teacher.weights={finished_run}", "teacher.weight="]
    got = {}
    for name, overrides in {"alone": [], "nothing": [taught[0], taught[1] + "0"], "taught": [taught[0]]}.items():
        trainer = Trainer(load(recipe_path, overrides), CPU, ProcessGroup())
        before = [each.clone() for each in trainer.teacher.network.parameters()] if trainer.teacher else []
        losses = trainer.step([synthetic_batch(2, SIDE, 5)], 0, 1e-3)
        got[name] = trainer.model.stem.convolution.weight.detach().clone()
        assert ("teacher_loss" in losses) == (name != "alone")
        if trainer.teacher:
            assert losses["teacher_loss"] > 0
            assert all(map(torch.equal, before, trainer.teacher.network.parameters()))
    assert torch.equal(got["alone"], got["nothing"])
    assert not torch.equal(got["alone"], got["taught"])


@pytest.mark.slow
def test_a_run_with_a_teacher_resumes_exactly_and_refuses_another_teacher(
    recipe_path: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished_run, tmp_path / "teacher")
    best = tmp_path / "teacher" / "checkpoints" / "best.safetensors"
    recipe = load(recipe_path, [f"teacher.weights={tmp_path / 'teacher'}", "schedule.workers=0", "schedule.steps=4"])
    fit(recipe, tmp_path / "whole", device="cpu", quiet=True)
    monkeypatch.setattr(Display, "step", lambda self, done: os.kill(os.getpid(), signal.SIGTERM) if done == 2 else None)
    with pytest.raises(Interrupted):
        fit(recipe, tmp_path / "parts", device="cpu", quiet=True)
    monkeypatch.undo()
    environment = json.loads((tmp_path / "parts" / "environment.json").read_text())
    assert environment["teacher"] == hashlib.sha256(best.read_bytes()).hexdigest()

    kept = best.read_bytes()
    tensors, progress = checkpoint.load(best)
    checkpoint.save(best, tensors | {"average.answer.bias": tensors["average.answer.bias"] + 1}, progress)
    with pytest.raises(DataError, match=r"the teacher.s weights have changed since .* was started"):
        fit(recipe, tmp_path / "parts", device="cpu", quiet=True, resume=True)
    best.write_bytes(kept)
    fit(recipe, tmp_path / "parts", device="cpu", quiet=True, resume=True)
    whole, parts = ([checkpoint.load(tmp_path / name / "checkpoints" / "step-00000004.safetensors")[0],
                     [json.loads(line).get("teacher_loss") for line in
                      (tmp_path / name / "metrics.jsonl").read_text().splitlines()]]
                    for name in ("whole", "parts"))  # fmt: skip
    assert all(torch.equal(each, parts[0][name]) for name, each in whole[0].items())
    assert whole[1] == parts[1]
    assert max(each or 0 for each in whole[1]) > 0
