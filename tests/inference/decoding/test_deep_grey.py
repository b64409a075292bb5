"""Grey of more than 8 bits shows the same scene as with 8, or the record says so and no redacted copy is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from deep_greys import deep_png, grey_png, grey_tiff, packed_tiff
from PIL import Image

import mlcycle
from mlcycle.errors import UnreadableError
from mlcycle.inference.decoding.images import decode
from mlcycle.inference.detect import Detector
from mlcycle.inference.record import Record, Source, verdict

pytest_plugins = ("tiny_album",)

READ_AS = "values up to {}, read as {} bits"


def deep(grey: np.ndarray, bits: int) -> np.ndarray:
    """Returns values of so many bits whose highest 8 are the grey values."""
    return (grey.astype(np.uint32) << (bits - 8) | grey >> (16 - bits)).astype(np.uint16)


KINDS: dict[str, tuple[Callable[[np.ndarray], bytes], str]] = {
    "16": (lambda grey: grey_tiff(deep(grey, 16)), ""),
    "14 in 16": (lambda grey: grey_tiff(deep(grey, 14)), READ_AS.format("16,383", 14)),
    "12 in 16": (lambda grey: grey_tiff(deep(grey, 12)), READ_AS.format("4,095", 12)),
    "12 in 16, PNG": (lambda grey: grey_png(deep(grey, 12)), READ_AS.format("4,095", 12)),
    "12 in 16, stated": (lambda grey: grey_png(deep(grey, 12), sbit=12), ""),
    "12 of 16, stated": (lambda grey: grey_png(deep(grey, 16), sbit=12), ""),
    "10 in 16, 12 stated": (lambda grey: grey_png(deep(grey // 4, 12), sbit=12), ""),
    "10 in 16": (lambda grey: grey_tiff(deep(grey, 10)), READ_AS.format("1,023", 10)),
    "8 in 16": (grey_png, READ_AS.format("255", 8)),
    "12": (lambda grey: packed_tiff(deep(grey, 12)), ""),
    "integers to 4095": (lambda grey: grey_tiff(deep(grey, 12).astype(np.int32)), READ_AS.format("4,095", 12)),
    "floats to 1023": (lambda grey: grey_tiff(deep(grey, 10).astype(np.float32)), READ_AS.format("1,023", 10)),
    "fractions": (lambda grey: grey_tiff((grey / 255).astype(np.float32)), ""),
    "white is zero": (lambda grey: grey_tiff(65535 - deep(grey, 16), photometric=0), ""),
    "white is zero, 12 in 16": (
        lambda grey: grey_tiff(4095 - deep(grey, 12), photometric=0),
        READ_AS.format("4,095", 12),
    ),
    "white is 61440": (lambda grey: grey_tiff(65535 - deep(grey, 12), photometric=0), READ_AS.format("4,095", 12)),
    "white is zero, fractions": (lambda grey: grey_tiff((1 - grey / 255).astype(np.float32), photometric=0), ""),
}


@pytest.fixture(scope="module")
def grey(pixels: np.ndarray) -> np.ndarray:
    grey = np.array(Image.fromarray(pixels).convert("L").resize((128, 100)))
    grey[0, :2] = 0, 255
    return grey


@pytest.mark.parametrize("kind", KINDS)
def test_deep_grey_is_read_as_its_highest_significant_bits(kind: str, grey: np.ndarray) -> None:
    encode, note = KINDS[kind]
    decoded = decode(encode(grey))
    expected_HW = grey // 4 if "stated" in kind and "10" in kind else grey
    assert np.array_equal(np.asarray(decoded.upright())[..., 0], expected_HW)
    assert (decoded.note, decoded.flaw) == (note, None)


def hot(grey: np.ndarray) -> np.ndarray:
    values_HW = deep(grey, 12)
    values_HW[50, 60] = 65535
    return values_HW


UNCERTAIN: dict[str, Callable[[np.ndarray], bytes]] = {
    "one hot pixel in 12 of 16 bits": lambda grey: grey_tiff(hot(grey)),
    "floats to 1.5": lambda grey: grey_tiff((grey / 170).astype(np.float32)),
    "a narrow band": lambda grey: grey_tiff(30_000 + 16 * grey.astype(np.uint16)),
    "colours of 12 in 16 bits": lambda grey: deep_png(np.stack([deep(grey, 12)] * 3, -1)),
}


@pytest.mark.parametrize("kind", UNCERTAIN)
def test_deep_values_whose_white_is_unknown_are_noted(kind: str, grey: np.ndarray) -> None:
    decoded = decode(UNCERTAIN[kind](grey))
    assert decoded.flaw is not None
    assert decoded.flaw.code == "unsupported"
    assert decoded.note.endswith("its white level is unknown, so that faces may be missed")


def test_an_empty_page_of_sixteen_bits_is_not_uncertain(grey: np.ndarray) -> None:
    assert decode(grey_tiff(np.full_like(grey, 65535, np.uint16))).flaw is None
    assert decode(deep_png(np.stack([deep(grey, 16)] * 3, -1))).flaw is None


def test_an_image_whose_white_is_unknown_gets_no_redacted_copy(
    detector: Detector, grey: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "hot.tif"
    path.write_bytes(grey_tiff(hot(grey)))
    copies = {kind: tmp_path / f"{kind}.png" for kind in ("annotated", "redacted")}
    (record,) = detector.detect_batch([Source(path, "hot.tif", copies)])
    assert (record.status, record.error and record.error[0]) == ("error", "unsupported")
    assert list(record.copies) == ["annotated"]
    assert not copies["redacted"].exists()
    assert Record.from_dict(record.as_dict(), ()).flaw == record.flaw == "unsupported"
    assert verdict(record).startswith("No face. But no redacted copy of it is written")
    faces = mlcycle.Faces.from_dict(replace(record, error=None).as_dict(), path)
    with pytest.raises(UnreadableError, match=r"hot\.tif: no redacted copy"):
        faces.redact()
    assert faces.draw().size == (128, 100)


def test_grey_outside_sixteen_bits_is_refused(grey: np.ndarray) -> None:
    for values_HW in (grey * np.float32(300), grey - np.float32(1)):
        with pytest.raises(UnreadableError):
            decode(grey_tiff(values_HW))


def test_five_six_and_five_bits_are_not_deep(grey: np.ndarray) -> None:
    dark_HW2 = np.full((8, 8), 33, "<u2")
    header = b"BM" + (66 + 128).to_bytes(4, "little") + bytes(4) + (66).to_bytes(4, "little")
    masks = b"".join(each.to_bytes(4, "little") for each in (0xF800, 0x7E0, 0x1F))
    sizes = [(40, 4), (8, 4), (8, 4), (1, 2), (16, 2), (3, 4), (128, 4), *[(0, 4)] * 4]
    info = b"".join(value.to_bytes(size, "little") for value, size in sizes)
    dark_HW2[0, 0] = 0
    decoded = decode(header + info + masks + dark_HW2.tobytes())
    assert decoded.flaw is None
