"""Images inside a page, so that it is one file."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image


def data_uri(image: Image.Image, form: str = "JPEG", **options: Any) -> str:
    """Returns an image as a data URI; `options` are those of Pillow's writer of this format, such as quality."""
    memory = io.BytesIO()
    image.save(memory, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(memory.getvalue()).decode()}"
