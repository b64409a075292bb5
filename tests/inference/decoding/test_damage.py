"""Damage that decoders pass over is noted, undamaged images are not, and no redacted copy shows what was missed."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from odd_files import heic, tiff
from PIL import Image

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import damage, jpeg_data
from mlcycle.inference.decoding.images import decode
from mlcycle.inference.detect import Detector
from mlcycle.inference.record import Source

pytest_plugins = ("tiny_album",)

JPEGS: dict[str, tuple[str, dict[str, object]]] = {
    "baseline": ("RGB", {}),
    "optimized": ("RGB", {"optimize": True, "quality": 40}),
    "progressive": ("RGB", {"progressive": True}),
    "grey": ("L", {"quality": 95}),
    "four channels": ("CMYK", {}),
    "full colour": ("RGB", {"subsampling": 0, "quality": 95}),
    "restarts": ("RGB", {"restart_marker_rows": 1}),
    "restarts, progressive": ("RGB", {"restart_marker_rows": 1, "progressive": True}),
}
FILLS = {"zeros": bytes(4096), "ones": b"\xff" * 4096, "noise": Random(0).randbytes(4096)}


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def filled(data: bytes, fill: bytes, share: float = 1 / 3) -> bytes:
    """Returns a file with other bytes after a share of it."""
    at = int(len(data) * share)
    return data[:at] + fill + data[at + len(fill) :]


def is_damaged(data: bytes) -> bool:
    """Returns whether damage is noted, or refused."""
    try:
        decoded = decode(data)
    except UnreadableError as problem:
        return problem.code in ("damaged", "truncated")
    assert decoded.note == (damage.DAMAGED if decoded.flaw else "")
    return decoded.flaw is not None and decoded.flaw.code == "damaged"


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("min_side", [None, 100])
def test_undamaged_jpegs_are_decoded_as_by_pillow_and_not_noted(
    kind: str, min_side: float | None, pixels: np.ndarray
) -> None:
    mode, options = JPEGS[kind]
    data = encoded(Image.fromarray(pixels).convert(mode), "JPEG", **options)
    decoded = decode(data, min_side=min_side)
    with Image.open(io.BytesIO(data)) as expected:
        if min_side and mode != "CMYK":
            expected.draft(None, (128, 100))
        assert decoded.image.tobytes() == expected.convert("RGB").tobytes()
    assert (decoded.note, decoded.flaw) == ("", None)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("fill", FILLS)
def test_other_bytes_within_a_jpeg_are_noted(kind: str, fill: str, pixels: np.ndarray) -> None:
    mode, options = JPEGS[kind]
    data = encoded(Image.fromarray(pixels).convert(mode), "JPEG", **options)
    assert [share for share in (0.2, 1 / 3, 0.6) if not is_damaged(filled(data, FILLS[fill], share))] == []


def test_markers_that_follow_the_last_block_of_a_jpeg_are_not_read(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(Image.fromarray(pixels), "JPEG", restart_marker_rows=1)
    more = b"".join(bytes([0xFF, 0xD0 + number % 8]) for number in range(10_000))
    monkeypatch.setattr(jpeg_data, "_are_restarts_in_order", lambda *arguments: pytest.fail("they were read"))
    assert is_damaged(data[:-2] + more + data[-2:])


def test_a_flat_jpeg_of_zeros_is_not_damaged() -> None:
    for mode in ("L", "RGB"):
        data = encoded(Image.new(mode, (2000, 1500), "black"), "JPEG", optimize=True)
        assert bytes(256) in data
        assert not is_damaged(data)


def test_a_png_whose_checksum_is_wrong_is_noted(pixels: np.ndarray) -> None:
    data = encoded(Image.fromarray(pixels), "PNG", compress_level=0)
    at = data.index(b"IDAT") + 4 + 1000
    assert not is_damaged(data)
    assert is_damaged(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    end = data.index(b"IEND") - 8
    assert is_damaged(data[:end] + b"sums" + data[end + 4 :])


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("WEBP", {"quality": 95}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"speed": 10, "quality": 95}),
        ("JPEG2000", {}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "jpeg", "quality": 95}),
        ("TIFF", {"compression": "zstd"}),
    ],
)
def test_zeros_within_other_formats_are_noted(format: str, options: dict[str, object], pixels: np.ndarray) -> None:
    Image.init()
    try:
        data = encoded(Image.fromarray(pixels), format, **options)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow has no {format} of {options}")
    assert not is_damaged(data)
    assert is_damaged(filled(data, FILLS["zeros"]))


def test_zeros_within_heic_are_noted(pixels: np.ndarray) -> None:
    for data in heic(Image.fromarray(pixels)).values():
        assert not is_damaged(data)
        assert is_damaged(filled(data, FILLS["zeros"][:1024]))


def test_zeros_in_exif_are_not_damage(pixels: np.ndarray) -> None:
    Image.init()
    exif = Image.Exif()
    exif[0x9286] = bytes(3000)
    for format in ("JPEG", "PNG", "WEBP", "AVIF"):
        if format in Image.SAVE:
            assert not is_damaged(encoded(Image.fromarray(pixels[:64, :64]), format, exif=exif)), format


def test_zeros_that_a_deflated_tiff_holds_are_not_damage() -> None:
    # A second symbol of another code, so that each of the zeros is a flat stretch of 258 pixels.
    strip = zlib.compress(bytes(2000 * 2000), 9)
    assert bytes(256) in strip
    size = {256: [2000], 257: [2000], 258: [8], 259: [8], 262: [1], 277: [1]}
    data = tiff(size | {273: [8], 278: [2000], 279: [len(strip)]}, strip)
    assert not is_damaged(data)
    assert is_damaged(data.replace(bytes(256), bytes(255) + b"\1", 1))


def test_strips_of_a_tiff_that_overlap_are_searched_once() -> None:
    class Counted(bytes):
        searched = 0

        def find(self, *arguments: Any) -> int:
            Counted.searched += arguments[2] - arguments[1]
            return super().find(*arguments)

    height, strips = 500, b"\xf9\x80" * 500 + bytes(200_000)  # a packed row of eight pixels, and what need not be read
    tags = {256: [8], 257: [height], 258: [8], 259: [32773], 262: [1], 277: [1], 278: [1]}
    starts = [8 + 2 * row for row in range(height)]
    data = tiff(tags | {273: starts, 279: [8 + len(strips) - start for start in starts]}, strips)
    with Image.open(io.BytesIO(data)) as image:
        damage.load(image, Counted(data))
    assert 0 < Counted.searched < len(data)


def test_a_damaged_image_gets_no_redacted_copy(detector: Detector, pixels: np.ndarray, tmp_path: Path) -> None:
    path, copy = tmp_path / "hole.jpg", tmp_path / "redacted.jpg"
    path.write_bytes(filled(encoded(Image.fromarray(pixels), "JPEG"), FILLS["zeros"], 0.7))
    (record,) = detector.detect_batch([Source(path, "hole.jpg", {"redacted": copy})])
    assert (record.error and record.error[0], record.flaw, record.note) == ("damaged", "damaged", damage.DAMAGED)
    assert len(record.scores_N) == 1
    assert not copy.exists()


def test_what_follows_a_jpeg_is_not_damage(pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    data = encoded(image, "JPEG", progressive=True)
    assert not is_damaged(data + bytes(9000) + data)
    pair = encoded(image, "MPO", save_all=True, append_images=[image])
    assert decode(pair).flaw is None
    assert decode(pair).note == "first of 2 images"
    assert decode(filled(pair, FILLS["zeros"], 0.2)).flaw is not None
