"""The guides are correct: the commands of a page run in a shell, in order, as they stand, on a few small images."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment
from live_server import serving

pytest_plugins = ("small_run",)
pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).parents[1]
# Lines about the installation itself: `make dist` installs what it built, and every target of make sets up .venv.
INSTALLING = ("python3 -m venv", "pip ", "make ")
# A training of a few steps, whose weights are not what matters here.
SHORT = "schedule.steps=4 schedule.batch=4 schedule.workers=1 data.decoded=null finish.score_layer=null"


def lines_of(page: str) -> list[str]:
    """Returns what a reader types: the lines after `$ ` in console blocks."""
    text = (CHECKOUT / page).read_text("utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE)]


class Shell:
    """Types lines into bash, in one folder, where `mlcycle` is the program under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "bin" / "mlcycle"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mlcycle "$@"\n')
        program.chmod(0o755)
        self._environment = environment()
        self._environment["PATH"] = f"{program.parent}:{self._environment['PATH']}"

    def type(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def type_all(self, page: str, *, without: tuple[str, ...] = INSTALLING, settings: str = SHORT) -> list[str]:
        typed = [line for line in lines_of(page) if not line.startswith(without)]
        for line in typed:
            is_training = re.match(r"mlcycle train \S+(?! copy)", line) and "recipes" not in line
            self.type(f"{line.partition('  #')[0]} {settings}" if is_training else line)
        return typed


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def archive(tmp_path: Path, astronaut: Path) -> Path:
    """What the guides call your photos: photo.jpg, and a folder `archive` with a sub-folder."""
    from PIL import Image
    from skimage import data

    folder = tmp_path / "archive"
    (folder / "party").mkdir(parents=True)
    for path in (tmp_path / "photo.jpg", folder / "one.jpg"):
        shutil.copy(astronaut, path)
    Image.fromarray(data.coffee()).save(folder / "party" / "coffee.png")
    return folder


@pytest.fixture
def images(tmp_path: Path, astronaut: Path) -> Path:
    """Images without labels: one face before backgrounds that differ, at several sizes."""
    import skimage
    from PIL import Image

    head = Image.open(astronaut).crop((110, 0, 350, 240))
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(
        ("brick", "cat", "coffee", "coins", "grass", "gravel", "moon", "page", "rocket", "text")
    ):
        image = Image.fromarray(getattr(skimage.data, name)()).convert("RGB").resize((320, 240))
        side = 80 + 14 * number
        image.paste(head.resize((side, side)), (10 * number, 5))
        image.save(folder / f"{name}.jpg", quality=92)
    return folder


@pytest.mark.parametrize("page", ["docs/redact.md", "docs/review.md"])
@pytest.mark.usefixtures("archive")
def test_redact_and_review(page: str, shell: Shell) -> None:
    """Decisions are saved by a page in a browser; here they are written as docs/review.md describes them."""
    for line in lines_of(page):
        if "--decisions" in line:
            run = json.loads((shell.folder / "run" / "report.json").read_text("utf-8"))["run"]
            decisions = {"format": "mlcycle-decisions", "schema_version": 1, "run": run, "images": []}
            (shell.folder / "decisions.json").write_text(json.dumps(decisions))
        shell.type(line)
    copies = {path.relative_to(shell.folder).as_posix() for path in shell.folder.glob("run/redacted/**/*.*")}
    assert copies == {"run/redacted/one.jpg", "run/redacted/party/coffee.png"}


@pytest.mark.training
@pytest.mark.usefixtures("images", "archive")
def test_fine_tune_on_own_labels(shell: Shell) -> None:
    pytest.importorskip("torch")
    assert len(shell.type_all("docs/own-labels.md")) > 10
    assert (shell.folder / "runs" / "mine" / "report.html").is_file()
    assert list((shell.folder / "models").glob("mine-int8-*.onnx"))


@pytest.mark.training
@pytest.mark.usefixtures("archive")
def test_the_readme(shell: Shell, labelled_set: Path) -> None:
    """A smaller set takes the place of `mlcycle data demo`, which the test of the walkthrough runs."""
    pytest.importorskip("torch")
    (shell.folder / "data").mkdir()
    (shell.folder / "data" / "demo").symlink_to(labelled_set)
    elsewhere = (*INSTALLING, "mlcycle data demo", "mlcycle serve", "curl")
    # After a few steps from random weights no score is high.
    settings = f"{SHORT} inference.score_floor=0.001 inference.threshold=0.01"
    assert len(shell.type_all("README.md", without=elsewhere, settings=settings)) == 6
    for made in ("found/photo.jpg", "photo_redacted.jpg", "run/review.html", "found-by-mine/photo.jpg"):
        assert (shell.folder / made).is_file()
    [curl] = [line for line in lines_of("README.md") if line.startswith("curl")]
    with serving() as server:
        answer = shell.type(curl.replace("localhost:8000", f"{server.host}:{server.port}") + " --silent --fail")
    assert len(json.loads(answer)["faces"]) == 1
