from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import skimage.data
from live_server import LiveServer, serving
from PIL import Image


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    """A server with the default settings, which tests share; it must outlive whatever they send."""
    with serving() as live:
        yield live


@pytest.fixture(scope="session")
def astronaut() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(stream, "JPEG", quality=92)
    return stream.getvalue()
