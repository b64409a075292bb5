"""The examples of docs/library.md and of the README run as they stand, one after the other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "library.md"
TRAINING = "## Train, freeze, export, evaluate"

pytest_plugins = ("small_run",)


def examples(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run_all(blocks: list[str]) -> None:
    known: dict[str, object] = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"example {number}", "exec"), known)


@pytest.fixture
def folder(tmp_path: Path, astronaut: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with photo.jpg, and a folder of photos, one of which is none."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(astronaut, tmp_path / "photo.jpg")
    (tmp_path / "photos").mkdir()
    shutil.copy(astronaut, tmp_path / "photos")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"nothing")
    return tmp_path


def test_the_page_has_both_parts() -> None:
    before, after = map(examples, PAGE.read_text("utf-8").split(TRAINING))
    assert len(before) >= 8
    assert len(after) == 2


def test_examples_of_inference_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_all(examples(PAGE.read_text("utf-8").partition(TRAINING)[0]))
    printed = capsys.readouterr().out
    assert "broken.jpg photos/broken.jpg: " in printed
    assert "not-an-image" in printed
    assert {each.name for each in folder.glob("*.*")} >= {"drawn.png", "redacted.jpg", "face-0.png"}


@pytest.mark.slow
@pytest.mark.training
def test_examples_of_training_run(
    folder: Path, recipe_path: Path, labelled_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    shutil.copy(recipe_path, folder / "recipe.yaml")
    (folder / "labelled").symlink_to(labelled_set)
    run_all(["import mlcycle", *examples(PAGE.read_text("utf-8").partition(TRAINING)[2])])
    assert (folder / "face-320.onnx").is_file()
    assert "AP50" in capsys.readouterr().out


def test_the_example_of_the_readme_runs(folder: Path) -> None:
    readme = CHECKOUT / "README.md"
    if not readme.is_file():
        pytest.skip("an installed package has no README")
    blocks = examples(readme.read_text("utf-8"))
    assert blocks
    run_all(blocks)
