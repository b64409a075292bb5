"""A camera of this machine, as an endless open video."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mlcycle.errors import DeviceError, MissingExtraError, UnreadableError
from mlcycle.inference.video import frames
from mlcycle.inference.video.frames import Video

# System → libavdevice's input format for cameras, and the name of a camera in it.
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}


@contextmanager
def open_camera(number: int) -> Iterator[Video]:
    """Opens a camera; the first one is 0.

    Raises:
        MissingExtraError: PyAV is not installed.
        DeviceError: no such camera, it cannot be used, or cameras are not supported on this system.
    """
    try:
        av = frames.library()
    except UnreadableError:
        raise MissingExtraError("mlcycle infer webcam", "video") from None
    if sys.platform not in CAMERAS:
        raise DeviceError(f"cameras are not supported on {sys.platform}", "record a video and pass its file")
    format, name = CAMERAS[sys.platform]
    try:
        container = av.open(name.format(number), format=format)
    except Exception as problem:
        why = getattr(problem, "strerror", None) or " ".join(str(problem).split())[:120]
        raise DeviceError(
            f"the camera {number} cannot be opened: {why}",
            "check that it is plugged in, not used by another program, and that you have permission; or choose another",
        ) from None
    with container:
        if not container.streams.video:
            raise DeviceError(f"the camera {number} has no video stream", "choose another one")
        yield Video(container, container.streams.video[0])
