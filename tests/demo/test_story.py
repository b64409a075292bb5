"""The demo from end to end, with the real commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("skimage")
pytest.importorskip("matplotlib")

from mlcycle.demo import commands, story
from mlcycle.demo.comparison import Answer, Frozen
from mlcycle.demo.source_images import UNSEEN, overlap, write_unseen
from mlcycle.errors import GateError, InputError


def test_a_command_is_run_in_the_folder_and_measured(tmp_path: Path) -> None:
    outcome = commands.run(["--version"], tmp_path)

    assert outcome.line == "mlcycle --version"
    assert outcome.output.startswith("mlcycle ")
    assert outcome.seconds > 0
    assert outcome.peak_bytes > 1_000_000


def test_a_command_that_fails_hands_on_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(commands.CommandFailedError, match=r"mlcycle model verify none\.onnx") as failed:
        commands.run(["model", "verify", "none.onnx"], tmp_path)

    assert failed.value.exit_code == 4


def test_a_step_that_is_done_is_not_repeated_and_one_whose_work_is_gone_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed: list[list[str]] = []

    def run(words: list[str], folder: Path) -> commands.Outcome:
        typed.append(words)
        (folder / "made").touch()
        return commands.Outcome(commands.as_typed(words), 1.0, 2, "")

    monkeypatch.setattr(commands, "run", run)
    story._prepare(tmp_path, overwrite=False)

    for expected in (1, 1):
        story._Log(tmp_path, False, lambda _: None).step("data", ["data", "demo"], "made")
        assert len(typed) == expected
    (tmp_path / "made").unlink()
    story._Log(tmp_path, False, lambda _: None).step("data", ["data", "demo"], "made")
    assert len(typed) == 2


def test_a_training_that_was_broken_off_is_gone_on_with(tmp_path: Path) -> None:
    assert story._training(tmp_path) == ["train", "demo"]
    (tmp_path / story.RUN).mkdir(parents=True)
    (tmp_path / story.RUN / "recipe.yaml").touch()
    assert story._training(tmp_path) == ["train", "--resume", story.RUN]


def test_a_folder_of_someone_elses_is_refused_also_with_overwrite(tmp_path: Path, mlcycle: Callable[..., Any]) -> None:
    (tmp_path / "thesis.txt").write_text("keep me")

    for overwrite in (False, True):
        with pytest.raises(InputError, match="something else"):
            story.tell(tmp_path, overwrite=overwrite, say=lambda _: None)
    assert (tmp_path / "thesis.txt").read_text() == "keep me"


def test_overwrite_removes_what_the_demo_made_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / story.LOG).write_text("{}")
    for mine in ("notes.txt", "runs/mine/recipe.yaml", "models/mine.onnx", "data/mine/photo.jpg"):
        (tmp_path / mine).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mine).write_text("mine")
    for ours in (f"{story.RUN}/recipe.yaml", story.MODEL, f"{story.DATA}/README.txt", f"{story.ANSWERS}/a.png"):
        (tmp_path / ours).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ours).write_text("ours")

    story._prepare(tmp_path, overwrite=True)

    files = {each.relative_to(tmp_path).as_posix(): each.read_text() for each in tmp_path.rglob("*") if each.is_file()}
    assert files == {
        "data/mine/photo.jpg": "mine",
        "models/mine.onnx": "mine",
        "notes.txt": "mine",
        "runs/mine/recipe.yaml": "mine",
        story.LOG: "{}\n",
    }


def test_a_missed_face_is_said_with_exit_code_5() -> None:
    missed = Answer("astronaut.png", (0, 0, 9, 9), (), 0.0, 1.0)
    told = story.Told(Path("index.html"), [], Frozen("demo.onnx", "", 1, 1.0), [missed])

    with pytest.raises(GateError, match=r"astronaut\.png") as problem:
        story.check(told)
    assert problem.value.exit_code == 5


def test_the_unseen_images_are_copied_once(tmp_path: Path) -> None:
    paths = write_unseen(tmp_path)
    times = [each.stat().st_mtime_ns for each in paths]

    assert [each.name for each in paths] == [each.name for each in UNSEEN]
    assert [each.stat().st_mtime_ns for each in write_unseen(tmp_path)] == times


@pytest.mark.slow
@pytest.mark.training
def test_the_demo_finds_faces_that_it_never_saw_and_the_second_telling_is_quick(
    tmp_path: Path, mlcycle: Callable[..., Any]
) -> None:
    pytest.importorskip("torch")
    folder = tmp_path / "demo"

    first = mlcycle("demo", "--folder", folder)

    assert first.code == 0, first.err
    assert "That's a face." in first.out
    log = json.loads((folder / story.LOG).read_text())
    records = {Path(each["input"]).name: each for each in json.loads(log["infer"]["output"])["records"]}
    for unseen in UNSEEN:
        boxes = [tuple(face["box"]) for face in records[unseen.name]["faces"]]
        if unseen.box_4 is None:
            assert boxes == []
        else:
            assert max((overlap(box_4, unseen.box_4) for box_4 in boxes), default=0.0) >= 0.5, unseen.name
    assert (folder / story.PAGE).stat().st_size > 100_000

    again = mlcycle("demo", "--folder", folder)

    assert again.code == 0
    assert again.err.count("(done before)") == 4
    assert json.loads((folder / story.LOG).read_text()) == log
