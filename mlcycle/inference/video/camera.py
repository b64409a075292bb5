"""A camera of this machine, as an open video that does not end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mlcycle.errors import DeviceError, MissingExtraError, UnreadableError
from mlcycle.inference.video import frames
from mlcycle.inference.video.frames import Video

# Of each system, what libavdevice calls its cameras, and the name of one of them.
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}


@contextmanager
def opened(number: int) -> Iterator[Video]:
    """Opens a camera; the first one is 0.

    Raises:
        MissingExtraError: PyAV is not installed.
        DeviceError: there is no such camera, it cannot be used, or cameras of this system are not known.
    """
    try:
        av = frames.library()
    except UnreadableError:
        raise MissingExtraError("mlcycle infer webcam", "video") from None
    if sys.platform not in CAMERAS:
        raise DeviceError(f"cameras are not known on {sys.platform}", "record a video, and name its file")
    format, name = CAMERAS[sys.platform]
    try:
        container = av.open(name.format(number), format=format)
    except Exception as problem:
        why = getattr(problem, "strerror", None) or " ".join(str(problem).split())[:120]
        raise DeviceError(
            f"the camera {number} cannot be opened: {why}",
            "see that it is plugged in, that no other program uses it, and that you may; or name another one",
        ) from None
    with container:
        if not container.streams.video:
            raise DeviceError(f"the camera {number} gives no images", "name another one")
        yield Video(container, container.streams.video[0])
