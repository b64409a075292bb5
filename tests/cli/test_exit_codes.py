"""One real command for each exit code, and signals to a real process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import environment

from mlcycle import cli
from mlcycle.distribution import install_command

# A long command: creates a file when it starts, and removes its temporary file when it ends.
LONG_COMMAND = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the parent process has set
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from pathlib import Path
import typer
from mlcycle.cli import app as tree, main
@tree.app.command()
def linger(folder: Path):
    temporary = folder / "half-written.part"
    temporary.touch()
    try:
        try:
            (folder / "begun").touch()
            while True:  # a SIGINT just before one long sleep would not interrupt it
                time.sleep(0.1)
        except Exception:
            (folder / "swallowed").touch()
    finally:
        temporary.unlink()
sys.argv = ["mlcycle", "linger", sys.argv[1]]
main()
"""


@pytest.mark.training
def test_0_success(mlcycle):
    assert mlcycle("train", "recipes", "show", "demo").code == 0


@pytest.mark.training
def test_2_wrong_override(mlcycle):
    outcome = mlcycle("train", "demo", "schedule.stps=3")
    assert outcome.code == 2
    assert outcome.err == (
        "error: override 'schedule.stps=3': unknown key 'stps' in schedule\nhint: did you mean steps?\n"
    )


def test_2_a_missing_extra_gives_its_install_command(tmp_path):
    code = "import sys; sys.modules['torch'] = None; from mlcycle.cli import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "demo", "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: mlcycle train needs packages that are not installed\nhint: {install_command('train')}\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.training
def test_3_the_output_exists(mlcycle, tmp_path):
    (tmp_path / "demo.yaml").write_text("mine")
    assert mlcycle("train", "recipes", "copy", "demo", tmp_path).code == 3
    assert (tmp_path / "demo.yaml").read_text() == "mine"


def test_3_a_folder_that_is_not_writable(mlcycle, monkeypatch):
    def refused(arguments):
        raise OSError(errno.EROFS, "Read-only file system", "runs/a/lock")

    monkeypatch.setattr(cli, "_run", refused)
    outcome = mlcycle("train", "--resume", "runs/a")
    assert outcome == (3, "", "error: runs/a/lock cannot be used: Read-only file system\nhint: choose another place\n")


def test_4_missing_or_damaged_model_file(mlcycle, tmp_path):
    assert mlcycle("model", "verify", tmp_path / "none.onnx").code == 4
    (tmp_path / "damaged.onnx").write_bytes(b"no model at all" * 10)
    assert mlcycle("model", "verify", tmp_path / "damaged.onnx").code == 4
    assert mlcycle("model", "inspect", tmp_path / "damaged.onnx").code == 4


def test_an_unreadable_file_is_not_a_usage_error(mlcycle, tmp_path, monkeypatch):
    """The parser must not check permissions: its errors have exit code 2."""
    from mlcycle.artifact.bundled import FOLDER

    monkeypatch.setattr(os, "access", lambda *arguments, **keywords: False)
    assert mlcycle("model", "verify", FOLDER / "face-nano.onnx").code == 0
    (tmp_path / "broken.jpg").touch()
    assert mlcycle("infer", tmp_path / "broken.jpg").code == 3


def test_130_ctrl_c_while_a_module_is_imported(mlcycle, monkeypatch):
    from mlcycle.inspecting import card

    def stopped(path):
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr(card, "examine", stopped)
    outcome = mlcycle("model", "inspect", "face-nano")
    assert (outcome.code, outcome.err) == (130, "error: stopped by Ctrl-C\n")


@pytest.mark.training
def test_6_cuda_without_cuda(mlcycle, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    outcome = mlcycle("train", "demo", "--device", "cuda", "--out", tmp_path / "run")
    assert outcome.code == 6
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (1, 129)])
def test_signals_remove_temporary_files(tmp_path, number, code):
    running = subprocess.Popen(
        [sys.executable, "-c", LONG_COMMAND, str(tmp_path)], stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        wait_for(tmp_path / "begun", running)
        running.send_signal(number)
        err = running.communicate(timeout=30)[1]
    finally:
        running.kill()
    assert running.returncode == code
    assert err.startswith("error: stopped by ")
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun"]


@pytest.mark.training
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_141_a_closed_pipe_is_not_an_error():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "mlcycle", "train", "recipes", "show", "demo"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment(),
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def wait_for(path: Path, running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert running.poll() is None, "the command ended before it created its file"
        assert time.monotonic() < deadline
        time.sleep(0.01)
