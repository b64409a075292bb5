"""The demo from end to end, with the real commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("skimage")
pytest.importorskip("matplotlib")

from mlcycle.demo import commands, conductor, limits
from mlcycle.demo.comparison import Frozen, ImageResult
from mlcycle.demo.source_images import UNSEEN, overlap, write_unseen
from mlcycle.errors import DataError, GateError, InputError


def test_run_measures_a_command_in_the_folder(tmp_path: Path) -> None:
    outcome = commands.run(["--version"], tmp_path)

    assert outcome.line == "mlcycle --version"
    assert outcome.output.startswith("mlcycle ")
    assert outcome.seconds > 0
    assert outcome.peak_bytes > 1_000_000


def test_failed_command_keeps_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(commands.CommandFailedError, match=r"mlcycle model verify none\.onnx") as failed:
        commands.run(["model", "verify", "none.onnx"], tmp_path)

    assert failed.value.exit_code == 4


def test_finished_step_is_repeated_only_if_its_output_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed: list[list[str]] = []

    def run(words: list[str], folder: Path) -> commands.Outcome:
        typed.append(words)
        (folder / "made").touch()
        return commands.Outcome(commands.command_line(words), 1.0, 2, "")

    monkeypatch.setattr(commands, "run", run)
    conductor._prepare(tmp_path, overwrite=False)

    for expected in (1, 1):
        conductor._Log(tmp_path, False, lambda _: None).step("data", ["data", "demo"], "made")
        assert len(typed) == expected
    (tmp_path / "made").unlink()
    conductor._Log(tmp_path, False, lambda _: None).step("data", ["data", "demo"], "made")
    assert len(typed) == 2


def test_interrupted_training_is_resumed(tmp_path: Path) -> None:
    assert conductor._training(tmp_path) == ["train", "demo"]
    (tmp_path / conductor.RUN).mkdir(parents=True)
    (tmp_path / conductor.RUN / "recipe.yaml").touch()
    assert conductor._training(tmp_path) == ["train", "--resume", conductor.RUN]


def test_foreign_folder_is_refused_even_with_overwrite(tmp_path: Path, mlcycle: Callable[..., Any]) -> None:
    (tmp_path / "thesis.txt").write_text("keep me")

    for overwrite in (False, True):
        with pytest.raises(InputError, match="not of a demo"):
            conductor.run_demo(tmp_path, overwrite=overwrite, say=lambda _: None)
    assert (tmp_path / "thesis.txt").read_text() == "keep me"


def test_overwrite_removes_only_files_of_the_demo(tmp_path: Path) -> None:
    (tmp_path / conductor.LOG).write_text("{}")
    for mine in ("notes.txt", "runs/mine/recipe.yaml", "models/mine.onnx", "data/mine/photo.jpg"):
        (tmp_path / mine).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mine).write_text("mine")
    for ours in (
        f"{conductor.RUN}/recipe.yaml",
        conductor.MODEL,
        f"{conductor.DATA}/README.txt",
        f"{conductor.PREDICTIONS}/a.png",
    ):
        (tmp_path / ours).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ours).write_text("ours")

    conductor._prepare(tmp_path, overwrite=True)

    files = {each.relative_to(tmp_path).as_posix(): each.read_text() for each in tmp_path.rglob("*") if each.is_file()}
    assert files == {
        "data/mine/photo.jpg": "mine",
        "models/mine.onnx": "mine",
        "notes.txt": "mine",
        "runs/mine/recipe.yaml": "mine",
        conductor.LOG: "{}\n",
    }


def test_a_demo_of_another_version_is_an_error(tmp_path: Path) -> None:
    old = commands.Outcome("mlcycle infer images/coffee.png", 1.0, 2, '{"records": [{"input": "images/coffee.png"}]}')

    assert conductor._records(tmp_path, old, ["coffee.png"])["coffee.png"]["input"] == "images/coffee.png"
    with pytest.raises(DataError, match="another version"):
        conductor._records(tmp_path, old, ["coffee.png", "group.jpg"])


def test_missed_face_exits_with_code_5() -> None:
    missed = ImageResult("astronaut.png", (0, 0, 9, 9), (), 0.0, 1.0)
    summary = conductor.DemoSummary(Path("index.html"), [], Frozen("demo.onnx", "", 1, 1.0), [missed])

    with pytest.raises(GateError, match=r"astronaut\.png") as problem:
        conductor.check(summary)
    assert problem.value.exit_code == 5


def test_unseen_images_are_copied_once(tmp_path: Path) -> None:
    paths = write_unseen(tmp_path)
    times = [each.stat().st_mtime_ns for each in paths]

    assert [each.name for each in paths] == [each.name for each in UNSEEN]
    assert [each.stat().st_mtime_ns for each in write_unseen(tmp_path)] == times


@pytest.mark.slow
@pytest.mark.training
def test_demo_finds_faces_in_new_images_and_second_run_repeats_nothing(
    tmp_path: Path, mlcycle: Callable[..., Any]
) -> None:
    pytest.importorskip("torch")
    folder = tmp_path / "demo"

    first = mlcycle("demo", "--folder", folder)

    assert first.code == 0, first.err
    assert "That's a face." in first.out
    log = json.loads((folder / conductor.LOG).read_text())
    records = {Path(each["input"]).name: each for each in json.loads(log["infer"]["output"])["records"]}
    for unseen in UNSEEN:
        boxes = [tuple(face["box"]) for face in records[unseen.name]["faces"]]
        if unseen.box_4 is None:
            assert boxes == []
        else:
            assert max((overlap(box_4, unseen.box_4) for box_4 in boxes), default=0.0) >= 0.5, unseen.name
    page = (folder / conductor.PAGE).read_text("utf-8")
    assert len(page) > 100_000
    assert all(f"Step {step}" in page for step in ("0<", "300<", "1,800<"))
    assert records.keys() == {*limits.MAKERS, *(each.name for each in UNSEEN)}

    again = mlcycle("demo", "--folder", folder)

    assert again.code == 0
    assert again.err.count("(done before)") == 4
    assert json.loads((folder / conductor.LOG).read_text()) == log
