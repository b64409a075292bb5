"""What tests of several packages share: the command line, in this process and as one of its own, and real images."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from live_server import LiveServer

# A shell that starts tests in the background makes them ignore Ctrl-C, and every process they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Set before anything loads a numeric library: tests share the cores among them.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests that train, which take longest, first: at the end, one worker would wait for the other."""
    items.sort(key=lambda item: item.get_closest_marker("training") is None)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def mlcycle(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Runs a command line in this process: mlcycle("infer", "photo.jpg") → code, stdout, stderr."""
    from mlcycle.cli import console, run

    monkeypatch.delenv("MLCYCLE_MODEL", raising=False)
    console.configure()  # another test may have left --debug on

    def invoke(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        code = run([str(each) for each in arguments])
        sys.stdout.flush()
        return Outcome(code, *capfd.readouterr())

    return invoke


@pytest.fixture
def process() -> Callable[..., Outcome]:
    """Runs `python -m mlcycle …` as a process of its own, away from any terminal."""

    def invoke(*arguments: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> Outcome:
        command = [sys.executable, "-m", "mlcycle", *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, cwd=cwd, env=environment(env)
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return invoke


def environment(changes: dict[str, str] | None = None) -> dict[str, str]:
    """Returns this process's environment, with the package under test importable from anywhere."""
    import mlcycle

    here = str(Path(mlcycle.__file__).parent.parent)
    inherited = {key: value for key, value in os.environ.items() if key not in ("MLCYCLE_MODEL", "NO_COLOR")}
    return inherited | {"PYTHONPATH": here} | (changes or {})


@pytest.fixture(scope="session")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image by a camera with one face, at about x 178-270, y 75-190; 512 x 512 pixels."""
    from PIL import Image
    from skimage import data

    path = tmp_path_factory.mktemp("images") / "astronaut.jpg"
    Image.fromarray(data.astronaut()).save(path, quality=95)
    return path


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    """A real server with the default settings, which tests share; it must outlive whatever they send."""
    from live_server import serving

    with serving() as live:
        yield live
