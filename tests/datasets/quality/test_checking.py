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
    """The same images, one of them with one more box."""
    before = images[index]
    boxes_N4 = np.concatenate([before.boxes_N4, np.array([box], np.float32)])
    changed = replace(
        before,
        boxes_N4=boxes_N4,
        ignore_N=np.append(before.ignore_N, False),
        landmarks_N52=np.full((len(boxes_N4), 5, 2), np.nan, np.float32),
    )
    return [*images[:index], changed, *images[index + 1 :]]


def test_a_good_set_is_counted_and_nothing_is_found(folder):
    report = check(read(folder))
    assert report.findings == []
    assert (report.images, report.faces, report.ignored) == (5, 3, 0)
    assert (report.with_landmarks, report.without_faces) == (1, 3)
    counts = dict(zip(report.height_edges, report.height_counts, strict=True))
    # The faces are 115, 50 and 240 pixels high.
    assert {edge: count for edge, count in counts.items() if count} == {96: 1, 48: 1, 192: 1}


def test_missing_truncated_empty_and_false_images_are_errors(folder):
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
    assert reasons[1:] == ["the file is empty", "this is no image"]
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
def test_a_wrong_box_is_an_error_and_named(folder, box, kind):
    report = check(_with_box(read(folder), 1, box))
    assert _kinds(report) == {kind: ["a/chelsea.jpg"]}
    assert report.findings[0].detail.startswith("box 1: ")
    assert report.errors == 1


@pytest.mark.parametrize("box", [[-1, -0.7, 30, 40], [400, 250, 452, 301]])
def test_a_box_that_touches_the_edge_or_ends_a_pixel_beyond_is_fine(folder, box):
    assert check(_with_box(read(folder), 1, box)).findings == []


def test_boxes_to_be_ignored_may_be_anything(folder):
    images = _with_box(read(folder), 1, [900, 900, 900, 950])
    images[1].ignore_N[0] = True
    report = check(images)
    assert (report.findings, report.ignored, report.without_faces) == ([], 1, 3)


def test_boxes_are_numbered_as_in_the_labels_and_numbers_are_missed_in_ignored_ones_too(folder):
    images = _with_box(_with_box(read(folder), 1, [np.nan, 9, 9, 9]), 1, [900, 900, 950, 950])
    images[1].ignore_N[0] = True
    details = {finding.kind: finding.detail for finding in check(images).findings}
    assert details["not finite"].startswith("box 1: nan 9")
    assert details["outside"].startswith("box 2: 900 900")


def test_a_set_whose_boxes_are_no_numbers_has_a_report(folder):
    one = replace(read(folder)[3], boxes_N4=np.full((1, 4), np.nan, np.float32))
    assert "1 error" in report_text(check([one]), "title")


def test_a_face_labelled_twice_is_a_warning(folder):
    report = check(_with_box(read(folder), 3, [160, 80, 350, 320]))
    assert _kinds(report) == {"box twice": ["b/grace.jpg"]}
    assert (report.errors, report.warnings) == (0, 1)


def test_labels_for_another_size_are_an_error(folder):
    save(coffee().resize((300, 200)), folder / "images/b/coffee.jpg")
    report = check(read(folder))
    assert _kinds(report) == {"size": ["b/coffee.jpg"]}
    assert "600 x 400" in report.findings[0].detail


def test_a_turned_image_is_a_warning_and_its_labels_are_upright(folder):
    # Stored lying on its side, and said to be so: upright it is what the labels are for.
    path = folder / "images/a/chelsea.jpg"
    save(chelsea().transpose(Image.Transpose.ROTATE_90), path, orientation=6)
    report = check(read(folder))
    assert _kinds(report) == {"turned": ["a/chelsea.jpg"]}
    assert report.errors == 0


def test_labels_made_for_the_stored_frame_of_a_turned_image_are_told(folder):
    save(chelsea(), folder / "images/a/chelsea.jpg", orientation=6)
    report = check(read(folder))
    assert _kinds(report) == {"size": ["a/chelsea.jpg"], "turned": ["a/chelsea.jpg"]}
    assert "as stored" in report.findings[0].detail


def test_duplicates_are_warnings_and_named_once(tmp_path):
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


def test_a_turned_copy_looks_the_same_when_upright(tmp_path):
    folder = write_coco(tmp_path, [Labelled("1.jpg", chelsea()), Labelled("2.jpg", chelsea())])
    save(chelsea().transpose(Image.Transpose.ROTATE_90), folder / "images/2.jpg", orientation=6)
    assert _kinds(check(read(folder))) == {"turned": ["2.jpg"], "near duplicate": ["2.jpg"]}


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


def test_faults_of_the_other_set_are_not_reported(folder, tmp_path):
    against = read(write_coco(tmp_path / "other", [Labelled("x.jpg", chelsea().crop((0, 0, 90, 90)))]))
    against[0].path.unlink()
    assert check(read(folder), against).findings == []


def test_processes_find_the_same_and_the_bar_moves(tmp_path):
    images = [Labelled(f"{index:02}.jpg", astronaut().crop((index, 0, index + 60, 60))) for index in range(70)]
    folder = write_coco(tmp_path, images)
    (folder / "images/07.jpg").unlink()
    (folder / "images/08.jpg").write_bytes(b"\xff\xd8\xff")
    seen = []
    reports = [check(read(folder), advance=seen.append, processes=number) for number in (1, 2)]
    assert reports[0] == reports[1]
    assert len(seen) == 140
    assert {"missing", "corrupt"} <= set(reports[0].by_kind())


def test_a_bomb_is_corrupt_not_a_crash(folder):
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
