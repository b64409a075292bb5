"""`mlcycle data split, merge, dedupe, stats` on small sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_sets import (
    Labelled,
    astronaut,
    chelsea,
    coffee,
    content,
    grace_hopper,
    names_in,
    rocket,
    save,
    write_coco,
    write_wider,
)

from mlcycle.datasets import splitting
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.reading import read, read_parts
from mlcycle.datasets.splitting import parse_shares
from mlcycle.errors import UsageError


def _pieces(count):
    """Returns crops of images, none a near duplicate of another."""
    images = [astronaut(), chelsea(), coffee(), rocket(), grace_hopper()]
    pieces = []
    for number in range(count):
        image, place = images[number % len(images)], number // len(images)
        left, top = place * 23 % (image.width - 150), place * 47 % (image.height - 150)
        rotated = image.crop((left, top, left + 150, top + 150)).rotate(90 * (place % 4))
        pieces.append(Labelled(f"g{number % 4}/{number:02}.png", rotated, ((10, 10, 20, 20),)))
    return pieces


def _with_copies(count):
    """Returns crops, each with a smaller and recompressed copy under an unrelated name; and the copies' names."""
    pieces = _pieces(count)
    copies = [
        Labelled(f"other/{number * 7 % count:02}.jpg", each.image.resize((100, 100)))
        for number, each in enumerate(pieces)
    ]
    return [*pieces, *copies], {each.name: copy.name for each, copy in zip(pieces, copies, strict=True)}


def test_split_keeps_the_shares_and_near_duplicates_in_one_part(tmp_path, mlcycle):
    paths, copy_of = _with_copies(24)
    source = write_coco(tmp_path / "set", paths)
    outcome = mlcycle("data", "split", source, "--shares", "train=0.75,val=0.25", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    parts = {part: {each.name for each in images} for part, images in read_parts(tmp_path / "out").items()}
    assert {part: len(names) for part, names in parts.items()} == {"train": 36, "val": 12}
    for name, copy in copy_of.items():
        assert {name, copy} <= parts["train"] or {name, copy} <= parts["val"]
    assert mlcycle("data", "check", tmp_path / "out").code == 0
    both = ("data", "split", source, "--shares", "train=0.75,val=0.25", "--out")
    mlcycle(*both, tmp_path / "again")
    mlcycle(*both, tmp_path / "other", "--seed", 1)
    assert {each.name for each in read(tmp_path / "again", "val")} == parts["val"]
    assert {each.name for each in read(tmp_path / "other", "val")} != parts["val"]


def test_split_by_group_keeps_each_group_in_one_part(tmp_path, mlcycle):
    source = write_wider(tmp_path / "set", _pieces(16))
    command = (
        "data",
        "split",
        source,
        "--shares",
        "train=0.5,val=0.5",
        "--by",
        "group",
        "--out",
        tmp_path / "out",
    )
    assert mlcycle(*command).code == 0
    groups = {part: {each.group for each in images} for part, images in read_parts(tmp_path / "out").items()}
    assert sorted(map(len, groups.values())) == [2, 2]
    assert not groups["train"] & groups["val"]


@pytest.mark.parametrize("by_group", [False, True])
def test_few_images_change_parts_when_images_are_added(monkeypatch, by_group):
    monkeypatch.setattr(splitting.duplicates, "inspect_images", lambda images, *more: images)
    monkeypatch.setattr(splitting.duplicates, "group_by_bytes", lambda files: [[index] for index in range(len(files))])
    monkeypatch.setattr(splitting.duplicates, "near_duplicate_pairs", lambda *files: [])

    def validation_names(count):
        names = [f"{number * 7919 % 1000:03}.jpg" for number in range(count)]
        images = [
            LabelledImage(Path(name), name, np.zeros((0, 4)), np.zeros(0, bool), np.zeros((0, 5, 2)), name[:2])
            for name in sorted(names)
        ]
        parts = splitting.split_set(images, {"train": 0.8, "val": 0.2}, by_group=by_group)
        return {each.name for each in parts["val"]}

    before, after = validation_names(500), validation_names(505)
    assert (len(before), len(after)) == ((99, 101) if by_group else (100, 101))
    assert len(before - after) <= 10


def test_a_set_that_cannot_be_split_as_requested_is_refused(tmp_path, mlcycle):
    source = write_coco(tmp_path / "set", [Labelled(f"{number}.jpg", coffee()) for number in range(4)])
    outcome = mlcycle("data", "split", source, "--out", tmp_path / "out")
    assert outcome.code == 3
    assert "the duplicates and groups are too large" in outcome.err
    assert mlcycle("data", "split", source, "--by", "group", "--out", tmp_path / "out").code == 3
    assert names_in(tmp_path) == ["set"]


def test_impossible_requests_are_refused_before_any_image_is_decoded(tmp_path, mlcycle, monkeypatch):
    monkeypatch.setattr(splitting.duplicates, "inspect_images", lambda *more: pytest.fail("decoded"))
    source, split = write_coco(tmp_path / "set", content()), ("data", "split", tmp_path / "set", "--out")
    assert "YOLO has no split a" in mlcycle(*split, tmp_path / "out", "--shares", "a=0.5,b=0.5", "--to", "yolo").err
    inside_of_a_file = mlcycle(*split, source / "annotations.json" / "out")
    assert inside_of_a_file.code == 3
    assert "cannot be written" in inside_of_a_file.err
    assert mlcycle("data", "dedupe", source, "--to", "coco").code == 2
    assert mlcycle("data", "preview", source, "-o", tmp_path / "sheet.gif").code == 3


@pytest.mark.parametrize(
    "text", ["train", "train=1", "train=0.5,val=0.6", "train=0.5,train=0.5", "a/b=0.5,c=0.5", "a=-1,b=2"]
)
def test_invalid_shares_are_refused(text):
    with pytest.raises(UsageError):
        parse_shares(text)


def _with_duplicates(folder):
    """Writes one image three times: as it is, smaller and with two faces, and with the bytes of the first."""
    faces = ((178, 75, 92, 115),)
    write_coco(
        folder,
        [
            Labelled("a.jpg", astronaut(), faces),
            Labelled("b.jpg", astronaut().resize((256, 256)), ((89, 37, 46, 58), (10, 10, 20, 20))),
            Labelled("c.jpg", astronaut()),
            Labelled("d.jpg", coffee()),
        ],
    )
    return folder


def test_dedupe_keeps_the_duplicate_with_most_labels_and_deletes_no_file(tmp_path, mlcycle):
    source = _with_duplicates(tmp_path / "set")
    outcome = mlcycle("data", "dedupe", source, "--out", tmp_path / "out")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "b.jpg",
        "  a.jpg is a near duplicate",
        "  c.jpg is a near duplicate",
        "2 of 4 images are duplicates",
    ]
    assert [(each.name, len(each.boxes_N4)) for each in read(tmp_path / "out")] == [("b.jpg", 2), ("d.jpg", 0)]
    assert names_in(source / "images") == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    listed = json.loads(mlcycle("data", "dedupe", source, "--json").out)
    assert (listed["schema_version"], listed["images"]) == (2, 4)
    assert [(each["image"], each["kept"]) for each in listed["left_out"]] == [
        ("a.jpg", "b.jpg"),
        ("c.jpg", "b.jpg"),
    ]
    assert mlcycle("data", "dedupe", tmp_path / "out").out == "0 of 2 images are duplicates\n"


def test_dedupe_keeps_the_most_pixels_where_labels_are_equal_and_names_exact_copies(tmp_path, mlcycle):
    images = [
        Labelled("small.jpg", astronaut().resize((256, 256))),
        Labelled("x.jpg", astronaut()),
        Labelled("y.jpg", astronaut()),
    ]
    outcome = mlcycle("data", "dedupe", write_coco(tmp_path / "set", images))
    assert outcome.out.splitlines()[:-1] == ["x.jpg", "  small.jpg is a near duplicate", "  y.jpg has the same bytes"]


def test_dedupe_leaves_out_images_of_another_set_whatever_their_labels(tmp_path, mlcycle):
    source = _with_duplicates(tmp_path / "set")
    other = write_coco(tmp_path / "other", [Labelled("validation image.jpg", astronaut().resize((300, 300)))])
    outcome = mlcycle("data", "dedupe", source, "--against", other, "--out", tmp_path / "out")
    assert outcome.out.splitlines()[0] == "validation image.jpg of the other set"
    assert [each.name for each in read(tmp_path / "out")] == ["d.jpg"]
    assert mlcycle("data", "dedupe", source, "--against-split", "val").code == 2


def test_merge_of_sets_in_two_layouts(tmp_path, mlcycle):
    one = write_wider(tmp_path / "one", content()[:2], "train")
    write_wider(one, content()[2:3], "val")
    other = write_coco(tmp_path / "other", [Labelled("a/astronaut.jpg", coffee(), ((1, 2, 30, 40),)), *content()[3:]])
    outcome = mlcycle("data", "merge", one, other, "--out", tmp_path / "out")
    assert outcome.code == 0
    assert "1 image was renamed" in outcome.err
    parts = read_parts(tmp_path / "out")
    assert [each.name for each in parts["train"]] == [
        "a/astronaut-2.jpg", "a/astronaut.jpg", "a/chelsea.jpg", "b/grace.jpg", "b/rocket.jpg"
    ]  # fmt: skip
    assert [each.name for each in parts["val"]] == ["b/coffee.jpg"]
    np.testing.assert_array_equal(parts["train"][0].boxes_N4, [[1, 2, 31, 42]])
    assert mlcycle("data", "merge", one, "--out", tmp_path / "more").code == 2


def test_statistics_count_images_faces_and_groups(tmp_path, mlcycle):
    source = write_wider(tmp_path / "set", content())
    save(rocket().resize((1280, 640)), source / "WIDER_train" / "images" / "b/rocket.jpg")
    (source / "WIDER_train" / "images" / "a/chelsea.jpg").write_bytes(b"none")
    document = json.loads(mlcycle("data", "stats", source, "--json").out)
    assert document["schema_version"] == 2
    found = document["sets"][0]
    assert (found["images"], found["without_faces"], found["unreadable"], found["faces"]) == (5, 3, 1, 3)
    assert (found["with_landmarks"], found["ignored"], found["split"]) == (1, 0, "train")
    assert found["heights"] == {"<16 px": 0, "16-32 px": 0, "32-96 px": 1, ">=96 px": 2}
    assert found["faces_per_image"] | {"median": 0, "most": 2} == found["faces_per_image"]
    assert found["long_side"]["most"] == 1280
    assert found["aspects"]["0.67–0.8"] == 1
    assert found["groups"]["a"] == {"images": 2, "faces": 2}
    text = mlcycle("data", "stats", source).out
    assert "1  of them cannot be read" in text
    assert "32-96 px         1  ██" in text


def test_heights_at_640_are_those_of_the_resized_image(tmp_path, mlcycle):
    images = [
        Labelled("x.jpg", coffee().resize((1280, 854)), ((100, 100, 60, 100),)),
        Labelled("y.jpg", coffee(), ((0, 0, 60, 100),)),
    ]
    found = json.loads(mlcycle("data", "stats", write_coco(tmp_path, images), "--json").out)["sets"][0]
    assert found["heights"][">=96 px"] == 2
    assert found["heights_at_640"] == {"<16 px": 0, "16-32 px": 0, "32-96 px": 1, ">=96 px": 1}
