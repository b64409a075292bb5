from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from small_sets import Labelled, astronaut, chelsea, coffee, content, save, write_coco

from mlcycle.datasets.quality.checking import check
from mlcycle.datasets.quality.report_text import report_text
from mlcycle.datasets.reading import read


@pytest.fixture
def folder(tmp_path):
    return write_coco(tmp_path / "set", content())


def _kinds(report):
    return {kind: [finding.image for finding in found] for kind, found in report.by_kind().items()}


def _with_box(images, index, box):
    """Returns the same images, with one more box on one of them."""
    before = images[index]
    boxes_N4 = np.concatenate([before.boxes_N4, np.array([box], np.float32)])
    changed = replace(
        before,
        boxes_N4=boxes_N4,
        ignore_N=np.append(before.ignore_N, False),
        landmarks_N52=np.full((len(boxes_N4), 5, 2), np.nan, np.float32),
    )
    return [*images[:index], changed, *images[index + 1 :]]


def test_a_good_set_is_counted_and_has_no_findings(folder):
    report = check(read(folder))
    assert report.findings == []
    assert (report.images, report.faces, report.ignored) == (5, 3, 0)
    assert (report.with_landmarks, report.without_faces) == (1, 3)
    counts = dict(zip(report.height_edges, report.height_counts, strict=True))
    # The faces are 115, 50 and 240 pixels high.
    assert {edge: count for edge, count in counts.items() if count} == {96: 1, 48: 1, 192: 1}


def test_missing_truncated_empty_and_invalid_images_are_errors(folder):
    images = folder / "images"
    (images / "a/astronaut.jpg").unlink()
    whole = (images / "a/chelsea.jpg").read_bytes()
    (images / "a/chelsea.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (images / "b/coffee.jpg").write_bytes(b"")
    (images / "b/grace.jpg").write_text("<html>not found</html>")
    report = check(read(folder))
    assert _kinds(report) == {
        "missing": ["a/astronaut.jpg"],
        "corrupt": ["a/chelsea.jpg", "b/coffee.jpg", "b/grace.jpg"],
    }
    reasons = [finding.detail for finding in report.by_kind()["corrupt"]]
    assert "truncated" in reasons[0]
    assert reasons[1:] == ["the file is empty", "not an image"]
    assert report.errors == 4


def test_a_jpeg_without_its_last_hundred_bytes_is_found(folder):
    path = folder / "images/b/grace.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    assert _kinds(check(read(folder))) == {"corrupt": ["b/grace.jpg"]}


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([10, 10, 10, 40], "empty"),
        ([10, 40, 30, 10], "empty"),
        ([10, 10, float("nan"), 40], "not finite"),
        ([10, 10, float("inf"), 40], "not finite"),
        ([-2, 10, 30, 40], "outside"),
        ([400, 250, 453, 290], "outside"),
        ([900, 900, 950, 950], "outside"),
    ],
)
def test_an_invalid_box_is_an_error_with_its_number(folder, box, kind):
    report = check(_with_box(read(folder), 1, box))
    assert _kinds(report) == {kind: ["a/chelsea.jpg"]}
    assert report.findings[0].detail.startswith("box 1: ")
    assert report.errors == 1


@pytest.mark.parametrize("box", [[-1, -0.7, 30, 40], [400, 250, 452, 301]])
def test_a_box_up_to_a_pixel_beyond_the_edge_has_no_finding(folder, box):
    assert check(_with_box(read(folder), 1, box)).findings == []


def test_boxes_to_be_ignored_can_be_empty_and_outside(folder):
    images = _with_box(read(folder), 1, [900, 900, 900, 950])
    images[1].ignore_N[0] = True
    report = check(images)
    assert (report.findings, report.ignored, report.without_faces) == ([], 1, 3)


def test_boxes_are_numbered_as_in_the_labels_and_ignored_ones_must_be_finite_too(folder):
    images = _with_box(_with_box(read(folder), 1, [np.nan, 9, 9, 9]), 1, [900, 900, 950, 950])
    images[1].ignore_N[0] = True
    details = {finding.kind: finding.detail for finding in check(images).findings}
    assert details["not finite"].startswith("box 1: nan 9")
    assert details["outside"].startswith("box 2: 900 900")


def test_a_set_without_finite_boxes_has_a_report(folder):
    one = replace(read(folder)[3], boxes_N4=np.full((1, 4), np.nan, np.float32))
    assert "1 error" in report_text(check([one]), "title")


def test_a_duplicate_box_is_a_warning(folder):
    report = check(_with_box(read(folder), 3, [160, 80, 350, 320]))
    assert _kinds(report) == {"duplicate box": ["b/grace.jpg"]}
    assert (report.errors, report.warnings) == (0, 1)


def test_labels_for_another_image_size_are_an_error(folder):
    save(coffee().resize((300, 200)), folder / "images/b/coffee.jpg")
    report = check(read(folder))
    assert _kinds(report) == {"size": ["b/coffee.jpg"]}
    assert "600 x 400" in report.findings[0].detail


def test_an_exif_rotated_image_is_a_warning_and_its_labels_are_upright(folder):
    # Stored sideways with the EXIF orientation for it: upright it is the image that was labelled.
    path = folder / "images/a/chelsea.jpg"
    save(chelsea().transpose(Image.Transpose.ROTATE_90), path, orientation=6)
    report = check(read(folder))
    assert _kinds(report) == {"rotated": ["a/chelsea.jpg"]}
    assert report.errors == 0


def test_labels_for_the_stored_orientation_of_a_rotated_image_are_explained(folder):
    save(chelsea(), folder / "images/a/chelsea.jpg", orientation=6)
    report = check(read(folder))
    assert _kinds(report) == {"size": ["a/chelsea.jpg"], "rotated": ["a/chelsea.jpg"]}
    assert "as stored" in report.findings[0].detail


def test_duplicates_are_warnings_and_listed_once(tmp_path):
    images = [
        Labelled("1.jpg", astronaut()),
        Labelled("2.jpg", astronaut()),
        Labelled("3.jpg", coffee()),
        Labelled("4.jpg", astronaut().resize((300, 300))),
    ]
    report = check(read(write_coco(tmp_path, images)))
    assert _kinds(report) == {"duplicate": ["2.jpg"], "near duplicate": ["4.jpg"]}
    assert [finding.other for finding in report.findings] == ["1.jpg", "1.jpg"]
    assert report.errors == 0


def test_a_rotated_copy_is_a_near_duplicate_when_upright(tmp_path):
    folder = write_coco(tmp_path, [Labelled("1.jpg", chelsea()), Labelled("2.jpg", chelsea())])
    save(chelsea().transpose(Image.Transpose.ROTATE_90), folder / "images/2.jpg", orientation=6)
    assert _kinds(check(read(folder))) == {"rotated": ["2.jpg"], "near duplicate": ["2.jpg"]}


def test_images_shared_with_another_set_are_leakage(folder, tmp_path):
    other = [
        Labelled("x.jpg", astronaut()),
        Labelled("y.jpg", coffee().resize((300, 200))),
        Labelled("z.jpg", chelsea().crop((100, 50, 300, 250))),
    ]
    against = read(write_coco(tmp_path / "other", other))
    (tmp_path / "other/images/x.jpg").write_bytes((folder / "images/a/astronaut.jpg").read_bytes())
    report = check(read(folder), against)
    assert _kinds(report) == {"leakage": ["a/astronaut.jpg", "b/coffee.jpg"]}
    assert [finding.other for finding in report.findings] == ["x.jpg", "y.jpg"]
    assert report.errors == 2
    assert (report.images, report.faces) == (5, 3)


def test_the_landmarks_of_ignored_boxes_are_not_counted(folder):
    images = read(folder)
    ignored = [replace(each, ignore_N=np.ones_like(each.ignore_N)) for each in images]
    assert check(images).with_landmarks == 1
    assert check(ignored).with_landmarks == 0


def test_faults_of_the_other_set_are_not_reported(folder, tmp_path):
    against = read(write_coco(tmp_path / "other", [Labelled("x.jpg", chelsea().crop((0, 0, 90, 90)))]))
    against[0].path.unlink()
    assert check(read(folder), against).findings == []


def test_several_processes_find_the_same_and_report_progress(tmp_path):
    images = [Labelled(f"{index:02}.jpg", astronaut().crop((index, 0, index + 60, 60))) for index in range(70)]
    folder = write_coco(tmp_path, images)
    (folder / "images/07.jpg").unlink()
    (folder / "images/08.jpg").write_bytes(b"\xff\xd8\xff")
    advanced = []
    reports = [check(read(folder), advance=advanced.append, processes=number) for number in (1, 2)]
    assert reports[0] == reports[1]
    assert len(advanced) == 140
    assert {"missing", "corrupt"} <= set(reports[0].by_kind())


def test_a_decompression_bomb_is_reported_as_corrupt(folder):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    (folder / "images/b/rocket.jpg").write_bytes(png)
    assert _kinds(check(read(folder))) == {"corrupt": ["b/rocket.jpg"]}
