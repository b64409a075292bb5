"""The webcam: a missing one, and a video file as a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, environment
from small_videos import images, write_video

from mlcycle.distribution import install_command
from mlcycle.inference.video import camera
from mlcycle.inference.video.frames import Frame, Video

pytest_plugins = ("tiny_album",)
av = pytest.importorskip("av")

Run = Callable[..., Outcome]


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A video as a stand-in for the camera, opened in the same way."""
    path = write_video(tmp_path / "video.mkv", images(26, without=(5,)))
    monkeypatch.setitem(camera.CAMERAS, sys.platform, ("matroska", str(path)))
    return path


@pytest.mark.skipif(sys.platform == "linux" and Path("/dev/video98").exists(), reason="the camera exists")
def test_a_missing_camera_exits_6(mlcycle: Run, tiny: Path) -> None:
    outcome = mlcycle("infer", "webcam", "98", "--model", tiny)
    assert (outcome.code, outcome.out) == (6, "")
    assert "the camera 98 cannot be opened" in outcome.err
    assert "hint: check that it is plugged in" in outcome.err


def test_each_frame_is_a_line(mlcycle: Run, tiny: Path, video: Path) -> None:
    outcome = mlcycle("infer", "webcam", "--model", tiny)
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert outcome.code == 0
    assert [record["status"] for record in records] == ["ok"] * 5 + ["empty"] + ["ok"] * 20
    assert {record["input"] for record in records} == {"webcam:0"}
    assert records[25]["part"] == {"kind": "frame", "number": 26, "seconds": 1.0}
    assert "26 frames, 25 faces, 0 failed" in outcome.err
    assert len(mlcycle("infer", "webcam", "--model", tiny, "--every", "0.5").out.splitlines()) == 3


def test_a_camera_that_stops_is_reported(mlcycle: Run, tiny: Path, video: Path) -> None:
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    outcome = mlcycle("infer", "webcam", "--model", tiny)
    assert outcome.code == 6
    assert "the camera 0 has stopped" in outcome.err
    assert outcome.out.count("\n") > 5


def test_lines_are_flushed_at_once(tiny: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "long.mkv", images(300))  # more lines than a pipe can buffer
    program = (
        "import sys; from mlcycle.cli import run; from mlcycle.inference.video import camera\n"
        f"camera.CAMERAS[sys.platform] = ('matroska', {str(video)!r})\n"
        f"sys.exit(run(['infer', 'webcam', '--model', {str(tiny)!r}]))"
    )
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, env=environment()
    ) as one:
        os.close(write)
        first = os.read(read, 1 << 20)
        os.close(read)
        assert json.loads(first.splitlines()[0])["part"]["number"] == 1
        assert first.count(b"\n") < 300
        one.communicate()
    assert one.returncode == 141  # broken pipe


def test_a_camera_without_a_frame_yet_is_polled(video: Path) -> None:
    class Slow:
        """A container without data in the first two calls."""

        def __init__(self, container: Any) -> None:
            self.container, self.calls = container, 0
            self.format, self.duration = container.format, None

        def demux(self, *streams: Any) -> Iterator[Any]:
            self.calls += 1
            if self.calls < 3:
                raise BlockingIOError
            yield from self.container.demux(*streams)

    with av.open(str(video)) as container:
        found = list(Video(Slow(container), container.streams.video[0]).walk())
    assert len(found) == 26
    assert all(isinstance(each, Frame) for each in found)


def test_without_the_package_the_extra_is_named(mlcycle: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    outcome = mlcycle("infer", "webcam", "--model", tiny)
    assert outcome.code == 2
    assert install_command("video") in outcome.err
