"""Redacted copies have no metadata about place, time or camera, and no thumbnail of the original."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import exifread
import numpy as np
import pytest
from conftest import Outcome
from PIL import Image
from PIL.PngImagePlugin import PngInfo

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]
SECRETS = (b"Hidden Street 5", b"2026:05:05", b"secret")
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><secret>Hidden Street 5</secret></x:xmpmeta>"


def exif_with_thumbnail(pixels_HW3: np.ndarray) -> bytes:
    """Returns EXIF with an address, a date and a position in its first directory, and a thumbnail in its second."""
    small = io.BytesIO()
    Image.fromarray(pixels_HW3).resize((64, 50)).save(small, "JPEG")
    exif = Image.Exif()
    exif[0x010E], exif[0x0132] = "Hidden Street 5", "2026:05:05 05:05:05"
    exif.get_ifd(0x8825)[0x0002] = (48.0, 12.0, 30.0)  # latitude
    first = exif.tobytes()[len(b"Exif\0\0") :]
    assert first[:2] == b"MM"
    count = struct.unpack(">H", first[8:10])[0]
    link = 10 + 12 * count  # where the first directory has the offset of the second one
    entries = ((0x0103, 3, 6), (0x0201, 4, 0), (0x0202, 4, len(small.getvalue())))
    offset = len(first) + 2 + 12 * len(entries) + 4
    second = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        number = offset if tag == 0x0201 else value
        second += struct.pack(">HHI", tag, kind, 1)
        second += struct.pack(">HH", number, 0) if kind == 3 else struct.pack(">I", number)
    second += struct.pack(">I", 0)
    return b"Exif\0\0" + first[:link] + struct.pack(">I", len(first)) + first[link + 4 :] + second + small.getvalue()


def metadata_of(path: Path) -> set[str]:
    """Returns the tags that exifread finds, including those of the thumbnail."""
    with path.open("rb") as file:
        return set(exifread.process_file(file))


def segments(data: bytes) -> list[int]:
    """Returns the markers of a JPEG up to its pixels."""
    markers, place = [], 2
    while data[place + 1] != 0xDA:
        markers.append(data[place + 1])
        place += 2 + struct.unpack(">H", data[place + 2 : place + 4])[0]
    return markers


def chunks(data: bytes) -> list[bytes]:
    names, place = [], 8
    while place < len(data):
        names.append(data[place + 4 : place + 8])
        place += 12 + struct.unpack(">I", data[place : place + 4])[0]
    return names


@pytest.fixture
def tagged(tmp_path: Path, pixels: np.ndarray) -> Path:
    """A folder of images with all kinds of metadata."""
    folder = tmp_path / "tagged"
    folder.mkdir()
    exif = exif_with_thumbnail(pixels)
    image = Image.fromarray(pixels)
    image.save(folder / "a.jpg", exif=exif, xmp=XMP, comment=b"secret", icc_profile=b"secret profile")
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    text.add_text("Comment", "secret", zip=True)
    image.save(folder / "b.png", exif=exif, pnginfo=text, icc_profile=b"secret profile")
    image.save(folder / "c.webp", exif=exif, xmp=XMP, icc_profile=b"secret profile")
    image.save(folder / "d.tif", description="Hidden Street 5", datetime="2026:05:05 05:05:05")
    return folder


def test_the_originals_have_metadata(tagged: Path) -> None:
    found = metadata_of(tagged / "a.jpg")
    assert {"Image ImageDescription", "Image DateTime", "GPS GPSLatitude", "JPEGThumbnail"} <= found
    assert {0xE1, 0xE2, 0xFE} <= set(segments((tagged / "a.jpg").read_bytes()))
    assert {b"eXIf", b"iTXt", b"iCCP"} <= set(chunks((tagged / "b.png").read_bytes()))


@pytest.mark.parametrize("method", ["blur", "pixelate", "fill"])
def test_copies_have_no_metadata(mlcycle: Run, tagged: Path, tiny: Path, tmp_path: Path, method: str) -> None:
    out, drawn = tmp_path / "out", tmp_path / "drawn"
    outcome = mlcycle("infer", "dir", tagged, "--model", tiny, "--redact", method, out, "--annotate", drawn)
    assert outcome.code == 0
    for folder in (out, drawn):
        copies = sorted(path for path in folder.iterdir())
        assert [path.name for path in copies] == ["a.jpg", "b.png", "c.webp.png", "d.tif.png"]
        for path in copies:
            data = path.read_bytes()
            assert metadata_of(path) == set()
            assert not any(secret in data for secret in SECRETS)
            if path.suffix == ".jpg":
                # APP0 marks it as JFIF; the others are tables, the frame and the scan.
                assert set(segments(data)) <= {0xE0, 0xDB, 0xC0, 0xC4}
                assert data.count(b"\xff\xd8\xff") == 1  # no embedded JPEG
            else:
                assert set(chunks(data)) == {b"IHDR", b"IDAT", b"IEND"}
