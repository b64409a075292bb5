"""Odd images: each kind is decoded as a viewer shows it, or refused with a stable code."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from conftest import environment
from odd_files import tiff
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mlcycle.inference.decoding import images
from mlcycle.inference.decoding.images import UnreadableError, decode, decode_page, read

pytest_plugins = ("tiny_album",)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def upright(data: bytes) -> np.ndarray:
    return np.asarray(decode(data).upright())


def code_of(data: bytes, **options: int) -> str:
    with pytest.raises(UnreadableError) as caught:
        decode(data, **options)
    return caught.value.code


PILLOW = int(PIL.__version__.partition(".")[0])


def png_of_zeros(width: int, height: int, rows: int) -> bytes:
    """Returns a PNG whose header declares width x height grey pixels, with only `rows` black rows."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(bytes(width + 1)) for _ in range(rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "mode",
    ["L", "1", "RGB", "RGBA", "LA", "P", "CMYK", "LAB", "I;16", "I", "F",
     pytest.param("YCbCr", marks=pytest.mark.skipif(PILLOW < 13, reason="this Pillow cannot read its own"))],
)  # fmt: skip
def test_every_mode_shows_the_same_scene(mode: str, pixels: np.ndarray) -> None:
    grey = Image.fromarray(pixels).convert("L")
    if mode in ("I;16", "I"):
        made = Image.fromarray(
            (np.asarray(grey).astype(np.uint16) * 257).astype(np.uint16 if mode == "I;16" else np.int32)
        )
    elif mode == "LAB":
        made = Image.merge("LAB", (grey, Image.new("L", grey.size, 128), Image.new("L", grey.size, 128)))
    elif mode == "F":
        made = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    else:
        made = Image.fromarray(pixels).convert(mode)
    assert made.mode == mode
    seen_HW = upright(encoded(made, "TIFF")).mean(axis=2)
    assert np.corrcoef(seen_HW.ravel(), np.asarray(grey).ravel())[0, 1] > (0.4 if mode == "1" else 0.95)
    assert abs(seen_HW.mean() - np.asarray(grey).mean()) < 12


def test_sixteen_bits_keep_their_high_byte(tmp_path: Path) -> None:
    values_HW = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for format in ("PNG", "TIFF"):
        assert upright(encoded(Image.fromarray(values_HW), format))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_photoshop_cmyk_is_not_decoded_as_a_negative(pixels: np.ndarray) -> None:
    # Pillow writes CMYK JPEGs inverted and marked as Adobe's, as Photoshop does.
    seen = upright(encoded(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(seen.astype(int) - pixels).mean() < 8


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_composited_on_white(mode: str) -> None:
    image = Image.new("RGBA", (4, 2), (10, 10, 10, 255))
    image.putpixel((0, 0), (10, 10, 10, 0))
    seen = upright(encoded(image.convert(mode), "PNG"))
    assert seen[0, 0].tolist() == [255] * 3
    assert seen[1, 3].tolist() == [10] * 3


def test_palette_and_colour_key_transparency_is_composited_on_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.putpixel((1, 0), 1)
    for transparency in (0, b"\x00\xff"):
        seen = upright(encoded(palette, "PNG", transparency=transparency))
        assert seen[0].tolist() == [[255] * 3, [200, 0, 0]]
    key = encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert upright(key)[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize(
    ("format", "note"),
    [
        ("GIF", "first of 3 frames"),
        ("WEBP", "first of 3 frames"),
        ("PNG", "first of 3 frames"),
        ("TIFF", "first of 3 pages"),
    ],
)
def test_the_first_of_several_images_is_used_and_noted(format: str, note: str, pixels: np.ndarray) -> None:
    first = Image.fromarray(pixels)
    rest = [Image.new("RGB", first.size, colour) for colour in ("red", "white")]
    options = {"lossless": True} if format == "WEBP" else {}
    decoded = decode(encoded(first, format, save_all=True, append_images=rest, **options))
    assert decoded.note == note
    assert np.abs(np.asarray(decoded.upright()).astype(int) - pixels).mean() < 8


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_images_are_never_half_decoded(format: str, share: float, pixels: np.ndarray) -> None:
    data = encoded(Image.fromarray(pixels), format)
    assert code_of(data[: int(len(data) * share)]) in {"truncated", "damaged", "not-an-image"}


def test_truncated_images_have_the_code_truncated(pixels: np.ndarray) -> None:
    for format in ("JPEG", "PNG"):
        assert code_of(encoded(Image.fromarray(pixels), format)[:-2000]) == "truncated"


def test_other_files_are_not_images() -> None:
    assert code_of(b"just words, named .jpg") == "not-an-image"
    assert code_of(b"\x00\x00\x00\x18ftypisom" + bytes(200)) == "unsupported"
    assert code_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n") == "unsupported"


def test_images_that_pillow_cannot_decode_are_named(pixels: np.ndarray, tmp_path: Path) -> None:
    jpeg = encoded(Image.fromarray(pixels), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 4
    twelve = jpeg[: frame - 3] + b"\xc1" + jpeg[frame - 2 : frame] + b"\x0c" + jpeg[frame + 1 :]
    two = jpeg[: frame + 5] + b"\x02" + jpeg[frame + 6 :]
    ten = tiff({256: [8], 257: [8], 258: [10], 259: [1], 262: [1], 273: [8], 277: [1], 278: [8], 279: [80]}, bytes(80))
    kinds = {twelve: "a JPEG of 12 bits and 3 channels", two: "a JPEG of 8 bits and 2 channels", ten: "a TIFF of an"}
    for data, kind in kinds.items():
        with pytest.raises(UnreadableError, match=f"it is {kind}") as caught:
            decode(data)
        assert caught.value.code == "unsupported"
    assert code_of(jpeg[: frame + 3]) == "truncated"
    page = tmp_path / "ten.tif"
    page.write_bytes(ten)
    with page.open("rb") as file, pytest.raises(UnreadableError, match="it is a TIFF of an unusual number"):
        decode_page(file, int.from_bytes(ten[4:8], "little"))


def test_a_bomb_is_refused_by_its_header(pixels: np.ndarray) -> None:
    assert code_of(png_of_zeros(20_000, 20_000, rows=1)) == "too-large"
    assert code_of(encoded(Image.fromarray(pixels), "PNG"), max_pixels=1000) == "too-large"


def test_a_real_bomb_takes_no_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_of_zeros(15_000, 15_000, rows=15_000))
    program = (
        "import resource, sys; from mlcycle.inference.decoding import images\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: images.decode(images.read(sys.argv[1]))\n"
        "except images.UnreadableError as problem: print(problem.code)\n"
        "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "print(grown / (1024 if sys.platform == 'linux' else 1024 ** 2))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(bomb)], capture_output=True, text=True, check=True, env=environment()
    )
    code, megabytes = done.stdout.split()
    assert (code, done.stderr) == ("too-large", "")
    assert float(megabytes) < 40  # decoded it would be 225


@pytest.mark.filterwarnings("ignore:Image was not the expected size")
def test_an_image_in_an_icon_is_limited_too(pixels: np.ndarray) -> None:
    inside = encoded(Image.fromarray(pixels), "PNG")
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 32, 32, 0, 0, 1, 32, len(inside), 22) + inside
    assert upright(icon).shape == pixels.shape
    assert code_of(icon, max_pixels=10_000) == "too-large"


def test_texts_that_inflate_to_megabytes_do_not_affect_the_image_or_its_orientation(pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>" + " " * 3_000_000, zip=True)
    png = encoded(Image.fromarray(pixels), "PNG", exif=exif, pnginfo=text, icc_profile=bytes(2_000_000))
    decoded = decode(png)
    assert decoded.orientation == 6
    assert np.array_equal(np.asarray(decoded.image), pixels)


def test_one_pixel_and_one_row() -> None:
    assert upright(encoded(Image.new("RGB", (1, 1), "red"), "PNG")).tolist() == [[[255, 0, 0]]]
    assert upright(encoded(Image.new("L", (5000, 1), 7), "PNG")).shape == (1, 5000, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # pytest shows warnings that mlcycle suppresses
def test_exif_that_cannot_be_parsed_is_ignored(pixels: np.ndarray) -> None:
    data = encoded(Image.fromarray(pixels), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xffgarbage")
    assert decode(data).orientation == 1
    exif = Image.Exif()
    exif[0x0112] = 9
    assert decode(encoded(Image.fromarray(pixels), "JPEG", exif=exif)).orientation == 1


def test_unreadable_paths_have_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, plug, empty = tmp_path / "pipe.jpg", tmp_path / "plug.jpg", tmp_path / "empty.jpg"
    os.mkfifo(pipe)
    empty.touch()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    expected = {
        tmp_path / "nothing.jpg": "not-found",
        tmp_path: "not-a-file",
        pipe: "not-a-file",
        Path("/dev/zero"): "not-a-file",
        empty: "empty",
        tmp_path / "loop.jpg": "unreadable",
        tmp_path / ("x" * 300): "unreadable",
        "nul\0byte.jpg": "unreadable",
    }
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
        server.bind(plug.name)
        expected[plug] = "not-a-file"
        for path, code in expected.items():
            with pytest.raises(UnreadableError) as caught:
                decode(read(path))
            assert caught.value.code == code, path


def test_a_file_without_permission_has_its_code(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(b"x")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(UnreadableError) as caught:
            read(path)
    finally:
        os.seteuid(user)
    assert caught.value.code == "no-permission"


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(8 * images.MAX_PIXELS + 1)  # a sparse file: it takes no disk space
    with pytest.raises(UnreadableError) as caught:
        read(path)
    assert caught.value.code == "too-large"


@pytest.mark.parametrize(
    ("least", "size"), [(None, (320, 200)), (161, (320, 200)), (160, (160, 100)), (80, (80, 50)), (0, (40, 25))]
)
def test_a_jpeg_can_be_decoded_at_a_reduced_scale(least: float | None, size: tuple[int, int]) -> None:
    pixels_HW3 = np.random.default_rng(0).integers(0, 256, (200, 320, 3), np.uint8)
    for suffix in ("JPEG", "PNG"):
        stream = io.BytesIO()
        Image.fromarray(pixels_HW3).save(stream, suffix)
        decoded = images.decode(stream.getvalue(), min_side=least)
        assert decoded.size == decoded.upright_size == (320, 200)
        assert decoded.image.size == (size if suffix == "JPEG" else (320, 200))
