"""What a model can be given: a path, bytes, a file, a Pillow image or an array, each as a source of inference."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlcycle.errors import InputError, UnreadableError
from mlcycle.inference.decoding import images, limits
from mlcycle.inference.detect import upright_image
from mlcycle.inference.record import Source, printable
from mlcycle.inference.sources import from_name

HINT = "pass a path, bytes, a file opened in binary mode, a Pillow image or a uint8 array of shape (height, width, 3)"


@runtime_checkable
class BinaryFile(Protocol):
    """A file opened in binary mode, or anything else with its `read`."""

    def read(self, size: int = -1, /) -> bytes: ...


ImageInput: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile | Image.Image | npt.NDArray[np.uint8]
)


def source_of(image: ImageInput, max_pixels: int = images.MAX_PIXELS) -> Source:
    """Returns the source of an image: a path is read later, a file now, from where it stands to its end.

    Raises:
        UnreadableError: it is of no type that an image can have, or a file that cannot be read.
        UsageError: it is a URL.
    """
    if isinstance(image, str | os.PathLike):
        return from_name(os.fsdecode(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return _of_bytes("bytes", bytes(image))
    if isinstance(image, Image.Image):
        name = getattr(image, "filename", "")  # of one that Pillow opened, and that is still as it was
        return _in_memory(
            name if name and isinstance(name, str) else "image", partial(images.from_pillow, image, max_pixels)
        )
    if hasattr(image, "__array__"):
        return _in_memory("array", partial(Image.fromarray, _checked(image, max_pixels)))
    if isinstance(image, BinaryFile):
        return _of_bytes(_name_of(image), _content(image))
    raise UnreadableError("unsupported", f"a value of type {type(image).__name__} is not an image", HINT)


def is_one_image(inputs: object) -> bool:
    """Returns whether a value is one image rather than several: a batch of arrays has a dimension more."""
    if hasattr(inputs, "__array__") and not isinstance(inputs, Image.Image):
        return getattr(inputs, "ndim", 4) <= 3
    return isinstance(inputs, str | os.PathLike | bytes | bytearray | memoryview | BinaryFile | Image.Image)


def paths_of(named: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Returns the paths of an argument that is one path or several."""
    return [Path(each) for each in ([named] if isinstance(named, str | os.PathLike) else named)]


def state_of(source: Source) -> tuple[int, int] | None:
    """Returns the size of a source's file in bytes and when it was changed; None of one without a file."""
    if source.data is not None or source.image is not None:
        return None
    try:
        status = source.path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def unchanged_image(source: Source, max_pixels: int, state: tuple[int, int] | None) -> Image.Image:
    """Returns the upright image of a source whose faces are known: they would lie elsewhere in another image.

    Raises:
        InputError: its file was changed since its state was taken.
        UnreadableError: it cannot be read any more.
    """
    image = upright_image(source, max_pixels)
    if state_of(source) != state:
        raise InputError(f"{printable(source.key)} has changed since its faces were found", "find its faces again")
    return image


def _of_bytes(key: str, data: bytes) -> Source:
    return Source(Path(key), key, data=data)


def _in_memory(key: str, image: partial[Image.Image] | partial[images.Decoded]) -> Source:
    return Source(Path(key), key, image=image)


def _name_of(file: BinaryFile) -> str:
    name = getattr(file, "name", None)  # of a file without a path it is a number
    return Path(name).as_posix() if isinstance(name, str) and name else "file"


def _content(file: BinaryFile) -> bytes:
    try:
        data: object = file.read()
    except (OSError, ValueError) as problem:  # ValueError: it is closed
        raise UnreadableError("unreadable", f"{_name_of(file)}: it cannot be read: {problem}") from None
    if not isinstance(data, bytes):
        raise UnreadableError("unsupported", f"the file gives {type(data).__name__}, not bytes", 'open it with "rb"')
    return data


def _checked(array: Any, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Returns what can be used as an array: uint8 of shape (height, width, 3)."""
    try:
        array_HW3 = np.asarray(array)
    except Exception as problem:  # each package has its own
        raise UnreadableError("unsupported", f"it cannot be used as an array of numpy: {problem}", HINT) from None
    shape = array_HW3.shape
    if array_HW3.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
        what = f"the array has dtype {array_HW3.dtype} and shape {shape}, not uint8 and (height, width, 3)"
        raise UnreadableError("unsupported", what, _hint_for(array_HW3))
    if not array_HW3.size:
        raise UnreadableError("empty", f"the array of shape {shape} has no pixels")
    limits.check_size(shape[1], shape[0], max_pixels)
    return array_HW3


def _hint_for(array: npt.NDArray[Any]) -> str:
    shape = array.shape
    if array.dtype.kind == "f":
        return "convert values from 0 to 1 by (array * 255).round().astype('uint8')"
    if len(shape) == 2:
        return "repeat the grey values three times: numpy.stack([array] * 3, axis=-1)"
    if len(shape) == 4:
        return "pass one image at a time, or all of them to model.stream()"
    if len(shape) == 3 and shape[0] == 3:
        return "move the channels to the end: array.transpose(1, 2, 0)"
    return HINT
