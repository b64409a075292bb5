"""The pages of a TIFF: each is a separate image, and a damaged one does not affect the others."""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from PIL import Image
from test_detect import FACE, ORIENTATION, STORED

from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding import tiff_pages
from mlcycle.inference.decoding.images import decode, decode_page
from mlcycle.inference.detect import DetectOptions, Detector
from mlcycle.inference.pages_and_frames import split_pages
from mlcycle.inference.record import Part, Source

pytest_plugins = ("tiny_album",)

Run = Callable[..., Outcome]
COMPRESSIONS = (None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg")


def written(path: Path, images: list[Image.Image], **options: object) -> Path:
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


def three(pixels: np.ndarray) -> list[Image.Image]:
    """Returns pages with a face on the second one only; each page is smaller than the one before."""
    plain_HW3 = pixels.copy()
    x1, y1, x2, y2 = FACE
    plain_HW3[y1:y2, x1:x2] = pixels[200 : 200 + y2 - y1, :80]
    return [Image.fromarray(each) for each in (plain_HW3, pixels[:390], plain_HW3[:380])]


def directories(data: bytes) -> list[int]:
    return tiff_pages.offsets(io.BytesIO(data))


def statuses(detector: Detector, path: Path) -> list[tuple[str, Part | None]]:
    records = detector.detect_all(split_pages([Source(path, path.name)]), DetectOptions())
    return [(record.error[0] if record.error else record.status, record.part) for record in records]


def part(number: int, count: int) -> Part:
    return Part("page", number, count)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_each_page_has_a_record(
    compression: str | None, tmp_path: Path, pixels: np.ndarray, detector: Detector
) -> None:
    path = written(tmp_path / "scan.TIF", three(pixels), compression=compression)
    assert statuses(detector, path) == [("empty", part(1, 3)), ("ok", part(2, 3)), ("empty", part(3, 3))]
    records = list(detector.detect_all(split_pages([Source(Path("-"), "-", data=path.read_bytes())]), DetectOptions()))
    assert [record.height for record in records] == [400, 390, 380]
    assert {record.note for record in records} == {""}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_page_has_the_same_pixels_as_with_pillow(compression: str | None, tmp_path: Path, pixels: np.ndarray) -> None:
    path = written(tmp_path / "scan.tif", three(pixels), compression=compression)
    with path.open("rb") as file, Image.open(path) as whole:
        for number, offset in enumerate(tiff_pages.offsets(file)):
            whole.seek(number)
            assert np.array_equal(np.asarray(decode_page(file, offset).image), np.asarray(whole))


def test_one_page_is_a_plain_image(tmp_path: Path, pixels: np.ndarray, detector: Detector) -> None:
    path = written(tmp_path / "one.tif", three(pixels)[1:2])
    assert statuses(detector, path) == [("ok", None)]


@pytest.mark.filterwarnings("ignore:Image size")  # pytest shows warnings that mlcycle suppresses
def test_each_page_has_its_own_orientation(tmp_path: Path, pixels: np.ndarray, detector: Detector) -> None:
    path = tmp_path / "scan.tif"
    stored = [Image.fromarray(np.ascontiguousarray(turn(pixels))) for turn in STORED.values()]
    for orientation, image in zip(STORED, stored, strict=True):
        image.encoderinfo = {"tiffinfo": {ORIENTATION: orientation}}
    with Image.new("RGB", (1, 1)) as first:
        first.save(path, save_all=True, append_images=stored)
    records = list(detector.detect_all(split_pages([Source(path, "scan.tif")]), DetectOptions(max_pixels=512 * 400)))
    assert [record.boxes_N4.tolist() for record in records[1:]] == [[list(FACE)]] * 8


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("broken", [1, 2, 3])
def test_a_damaged_directory_does_not_affect_other_pages(
    compression: str | None, broken: int, tmp_path: Path, pixels: np.ndarray, detector: Detector
) -> None:
    path = written(tmp_path / "scan.tif", three(pixels), compression=compression)
    data = bytearray(path.read_bytes())
    begin = directories(bytes(data))[broken - 1]
    (entries,) = struct.unpack_from("<H", data, begin)
    data[begin + 2 : begin + 2 + 12 * entries] = b"\xff" * (12 * entries)
    path.write_bytes(data)
    codes = [code for code, _ in statuses(detector, path)]
    assert codes == ["damaged" if number == broken else each for number, each in enumerate(("empty", "ok", "empty"), 1)]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # pytest shows warnings that mlcycle suppresses
def test_a_truncated_file_gives_the_pages_before_the_cut(
    tmp_path: Path, pixels: np.ndarray, detector: Detector
) -> None:
    path = written(tmp_path / "scan.tif", three(pixels))
    data = path.read_bytes()
    path.write_bytes(data[: directories(data)[2]])
    assert statuses(detector, path)[:2] == [("empty", part(1, 3)), ("ok", part(2, 3))]
    assert statuses(detector, path)[2][0] == "damaged"
    path.write_bytes(data[:-1000])
    assert statuses(detector, path)[2][0] in ("truncated", "damaged")


def chain(count: int, back_to: int | None = None) -> bytes:
    """Returns a TIFF of `count` empty directories, the last of which refers to one of them, or ends the chain."""
    offsets = [8 + 6 * number for number in range(count)]
    following = [*offsets[1:], 0 if back_to is None else offsets[back_to]]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(struct.pack("<HI", 0, offset) for offset in following)


def test_loops_end_and_very_long_chains_are_refused(tmp_path: Path, detector: Detector) -> None:
    for back_to in (0, 1, 4):
        assert len(directories(chain(5, back_to))) == 5
    assert len(directories(chain(tiff_pages.MAX_PAGES))) == tiff_pages.MAX_PAGES
    long = tmp_path / "long.tif"
    long.write_bytes(chain(100_000))
    with pytest.raises(UnreadableError):
        directories(long.read_bytes())
    with pytest.raises(UnreadableError):
        decode(long.read_bytes())
    assert statuses(detector, long) == [("too-large", None)]


@pytest.mark.parametrize("is_sorted", [True, False])
def test_pages_that_share_a_strip_are_refused_by_their_pixels_in_total(
    is_sorted: bool, tmp_path: Path, detector: Detector
) -> None:
    def pages(count: int, side: int) -> bytes:
        size = [(256, side), (257, side)]
        rest = [(258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, side), (279, 1)]
        tags = size + rest if is_sorted else rest + size
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        starts = [9 + number * (len(entries) + 6) for number in range(count)]
        following = [*starts[1:], 0]
        directories = (struct.pack("<H", len(tags)) + entries + struct.pack("<I", after) for after in following)
        return b"II*\0" + struct.pack("<I", starts[0]) + b"\0" + b"".join(directories)

    many = tmp_path / "many.tif"
    many.write_bytes(pages(5_000, 13_000))
    assert statuses(detector, many) == [("too-large", None)]
    assert len(directories(pages(3, 13_000))) == 3
    if is_sorted:
        assert len(directories(pages(5_000, 400))) == 5_000


def test_a_file_that_is_not_a_tiff_has_one_error(tmp_path: Path, detector: Detector) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "words.tif").write_text("II and no more")
    (tmp_path / "cut.tif").write_bytes(b"MM\0*\0\0")
    (tmp_path / "folder.tif").mkdir()
    os.mkfifo(tmp_path / "pipe.tif")
    codes = {"empty": "empty", "words": "not-an-image", "cut": "not-an-image", "missing": "not-found"}
    codes |= {"folder": "not-a-file", "pipe": "not-a-file"}
    assert {name: statuses(detector, tmp_path / f"{name}.tif") for name in codes} == {
        name: [(code, None)] for name, code in codes.items()
    }


def test_reduced_images_and_masks_are_not_pages(tmp_path: Path, pixels: np.ndarray) -> None:
    images = three(pixels)
    for image, kind in zip(images, (0, 1, 4), strict=True):
        image.encoderinfo = {"tiffinfo": {254: kind}}
    with Image.new("RGB", (8, 8)) as first:
        first.save(tmp_path / "scan.tif", save_all=True, append_images=images, tiffinfo={254: 2})
    assert [source.part for source in split_pages([Source(tmp_path / "scan.tif", "a")])] == [part(1, 2), part(2, 2)]


def test_big_tiffs_have_pages_too(tmp_path: Path, pixels: np.ndarray, detector: Detector) -> None:
    path = written(tmp_path / "big.tiff", three(pixels), big_tiff=True)
    assert path.read_bytes()[2] == 43
    assert statuses(detector, path) == [("empty", part(1, 3)), ("ok", part(2, 3)), ("empty", part(3, 3))]


def test_copies_and_rows_distinguish_pages(mlcycle: Run, tmp_path: Path, pixels: np.ndarray, tiny: Path) -> None:
    path = written(tmp_path / "in" / "scan.tif", three(pixels)) if (tmp_path / "in").mkdir() is None else None
    found, arguments = tmp_path / "found", ("--model", tiny, "--format", "csv")
    outcome = mlcycle("infer", path, *arguments, "--annotate", found)
    assert outcome.code == 0
    assert [row.split(",")[1] for row in outcome.out.splitlines()] == ["part", "1", "2", "3"]
    assert sorted(each.name for each in found.iterdir()) == [f"scan.tif.{number}.png" for number in (1, 2, 3)]
    with Image.open(found / "scan.tif.2.png") as copy:
        assert copy.size == (512, 390)
    table = mlcycle("infer", "dir", tmp_path / "in", "--model", tiny)
    assert [line.split("  ")[0] for line in table.out.splitlines()] == [f"scan.tif page {each}" for each in (1, 2, 3)]
    assert "3 images, 1 face" in table.err
    coco = json.loads(mlcycle("infer", path, *arguments[:2], "--format", "coco").out)
    assert [image["part"] for image in coco["images"]] == [1, 2, 3]


def test_a_resumed_run_processes_missing_pages(
    mlcycle: Run, tmp_path: Path, pixels: np.ndarray, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    path = written(tmp_path / "in" / "scan.tif", three(pixels))
    arguments = ("infer", "dir", path.parent, "--model", tiny, "--out", tmp_path / "run")
    detected: list[Part | None] = []
    original = Detector.detect_batch
    is_stopped = True

    def detect_batch(self: Detector, sources: list[Source], options: DetectOptions) -> object:
        detected.extend(source.part for source in sources)
        if is_stopped and part(3, 3) in detected:
            raise KeyboardInterrupt
        return original(self, sources, options)

    monkeypatch.setattr(Detector, "detect_batch", detect_batch)
    assert mlcycle(*arguments, "--threads", "1").code == 130
    detected, is_stopped = [], False
    assert mlcycle(*arguments, "--resume").code == 0
    assert detected == [part(3, 3)]
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    assert [(record["part"]["number"], record["status"]) for record in records] == [
        (1, "empty"),
        (2, "ok"),
        (3, "empty"),
    ]
