"""Redacted videos play in a browser: a frame of each container shows, with the colours of the original."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, DRIVER, Site, browser
from conftest import Outcome
from small_videos import images, write_video

pytest_plugins = ("tiny_album",)
pytest.importorskip("av")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

PIXELS = """
const video = document.createElement("video");
video.muted = true;
video.src = arguments[0];
document.body.append(video);
await new Promise((done, fail) => {
  video.onerror = () => fail(new Error(video.error.message));
  video.requestVideoFrameCallback(done);
  video.play();
});
await new Promise(done => { video.onended = done; if (video.ended) done(); });
const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
const pen = canvas.getContext("2d");
pen.drawImage(video, 0, 0);
return {
  size: [canvas.width, canvas.height],
  seconds: video.duration,
  heard: video.webkitAudioDecodedByteCount,
  pixels: Array.from(pen.getImageData(0, 0, canvas.width, canvas.height).data),
};
"""


def test_a_redacted_video_shows_in_a_browser(mlcycle: Callable[..., Outcome], tiny: Path, tmp_path: Path) -> None:
    videos = [write_video(tmp_path / f"video{suffix}", images(25), sound=True) for suffix in (".mp4", ".webm", ".avi")]
    out = tmp_path / "out"
    assert mlcycle("infer", *videos, "--model", tiny, "--redact", "fill", out).code == 0
    (out / "index.html").write_text("<!doctype html><title>videos</title><body>")
    *_, last_HW3 = images(25)
    site = Site(out)
    try:
        with browser(tmp_path / "profile") as chromium:
            chromium.open(site.url)
            for name in ("video.mp4", "video.webm", "video.avi.mp4"):
                shown = chromium.run(PIXELS, name)
                width, height = shown["size"]
                pixels_HW3 = np.array(shown["pixels"]).reshape(height, width, 4)[..., :3]
                assert (height, width) == last_HW3.shape[:2]
                assert shown["seconds"] == pytest.approx(1, abs=0.05)
                assert shown["heard"] > 0
                # The patch, which the model takes for a face, is grey; far from it the image is the original's.
                assert pixels_HW3[34 + 20, 58 + 20] == pytest.approx([96, 96, 96], abs=8)
                assert np.abs(pixels_HW3[:, 130:] - last_HW3[:, 130:].astype(int)).mean() < 8
    finally:
        site.stop()
