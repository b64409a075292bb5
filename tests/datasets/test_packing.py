"""Sets packed into tar shards: images and labels survive, interruptions are resumed, damage is found."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_sets import Labelled, coco_content, coffee, content, names_in, save, write_coco, write_wider

from mlcycle.datasets import new_folder, packing
from mlcycle.datasets.image_header import upright_size
from mlcycle.datasets.member import Member
from mlcycle.datasets.packing import PackOptions, pack
from mlcycle.datasets.quality.checking import check
from mlcycle.datasets.quality.image_file import inspect_file
from mlcycle.datasets.quality.preview import draw_sheet
from mlcycle.datasets.reading import fingerprint, layout_of, read, read_parts, splits
from mlcycle.errors import DataError, InputError

# Two images of the small set go into a shard of this size, or one.
SMALL = PackOptions(shard_bytes=120_000)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A set with every kind of label: an ignored box, a fraction of a pixel, a group, a score, one point of five."""
    folder = write_coco(tmp_path / "set", content())
    labels = coco_content(content())
    labels["images"][0]["group"] = "space"
    labels["annotations"][0] |= {"bbox": [178.3, 75.1, 92.77, 115.9], "keypoints": [202.25, 113.5, 2] + [0, 0, 0] * 4}
    labels["annotations"][1]["iscrowd"] = 1
    labels["annotations"][2]["score"] = 0.77
    (folder / "annotations.json").write_text(json.dumps(labels))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def test_a_packed_set_reads_the_same_as_its_source(source, tmp_path):
    pack(read_parts(source), tmp_path / "packed", SMALL)
    before, after = read(source), read(tmp_path / "packed")
    assert fingerprint(after) == fingerprint(before)
    assert (layout_of(tmp_path / "packed"), splits(tmp_path / "packed")) == ("shards", [""])
    for one, other in zip(before, after, strict=True):
        assert isinstance(other.path, Member)
        assert other.path.read_bytes() == one.path.read_bytes()
        assert (other.name, other.group, other.size) == (one.name, one.group, upright_size(one.path))
        assert (other.scale, other.coco_ids) == (one.scale, one.coco_ids)
        np.testing.assert_array_equal(other.boxes_N4, one.boxes_N4)
    np.testing.assert_array_equal(after[0].ignore_N, [False, True])
    assert [each.scores_N and each.scores_N.tolist() for each in after] == [None, None, None, [np.float32(0.77)], None]
    assert np.isfinite(after[0].landmarks_N52[0]).all(axis=1).tolist() == [True] + 4 * [False]


def test_shards_are_plain_tars_of_pairs_of_image_and_labels(source, tmp_path):
    pack(read_parts(source), tmp_path / "packed", SMALL)
    tars = sorted((tmp_path / "packed").glob("*.tar"))
    assert [each.name for each in tars] == [f"packed-{number:06d}.tar" for number in range(len(tars))]
    assert len(tars) > 1
    by_name = {each.name: each for each in read(source)}
    keys = []
    for path in tars:
        with tarfile.open(path, "r:") as tar:
            members = tar.getmembers()
            for image, labels in zip(members[::2], members[1::2], strict=True):
                key = image.name.partition(".")[0]
                assert (image.name, labels.name) == (f"{key}.jpg", f"{key}.json")
                assert {(each.mtime, each.uid, each.uname, each.mode) for each in (image, labels)} == {
                    (0, 0, "", 0o644)
                }
                written = json.loads(tar.extractfile(labels).read())
                assert "x1 y1 x2 y2" in written["units"]
                assert tar.extractfile(image).read() == by_name[written["name"]].path.read_bytes()
                np.testing.assert_allclose(np.array(written["boxes"]).reshape(-1, 4), by_name[written["name"]].boxes_N4)
                keys.append(key)
    assert len(set(keys)) == len(keys) == 5


def test_only_the_seed_changes_the_order(source, tmp_path):
    parts = read_parts(source)
    pack(parts, tmp_path / "a" / "packed", SMALL)
    pack({"": parts[""][::-1]}, tmp_path / "b" / "packed", SMALL)
    pack(parts, tmp_path / "c" / "packed", replace(SMALL, seed=1))
    first, again, other = (tree(tmp_path / each / "packed") for each in "abc")
    assert first == again
    assert first["packed-000000.tar"] != other["packed-000000.tar"]
    assert fingerprint(read(tmp_path / "c" / "packed")) == fingerprint(read(source))


def test_each_part_has_its_own_shards_and_keys(tmp_path, mlcycle):
    source = write_wider(tmp_path / "set", content()[:3], "train")
    write_wider(source, content()[3:], "val")
    outcome = mlcycle("data", "pack", source, "--out", tmp_path / "packed")
    assert (outcome.code, outcome.out) == (0, f"{tmp_path / 'packed'}\n")
    assert "train: 3 images in 1 shard" in outcome.err
    assert names_in(tmp_path / "packed") == [
        *("index.json", "train-000000.jsonl", "train-000000.tar", "val-000000.jsonl", "val-000000.tar"),
    ]
    assert [[each.name for each in read(tmp_path / "packed", part)] for part in ("train", "val")] == [
        [each.name for each in content()[:3]],
        [each.name for each in content()[3:]],
    ]
    files = [each.path.name for part in ("train", "val") for each in read(tmp_path / "packed", part)]
    assert len(set(files)) == 5


def test_several_sets_become_one_and_a_taken_name_is_changed(tmp_path, mlcycle):
    one = write_coco(tmp_path / "one", content()[:2])
    other = write_coco(tmp_path / "other", content()[1:3])
    outcome = mlcycle("data", "pack", one, other, "--out", tmp_path / "packed")
    assert "1 image was renamed" in outcome.err
    names = [each.name for each in read(tmp_path / "packed")]
    assert names == ["a/astronaut.jpg", "a/chelsea-2.jpg", "a/chelsea.jpg", "b/coffee.jpg"]


def test_an_unreadable_image_is_an_error_or_is_left_out_and_listed(source, tmp_path, mlcycle):
    broken, missing = source / "images" / "a" / "chelsea.jpg", source / "images" / "b" / "coffee.jpg"
    broken.write_bytes(broken.read_bytes()[:20_000])
    missing.unlink()
    refused = mlcycle("data", "pack", source, "--out", tmp_path / "packed")
    assert refused.code == 3
    assert "chelsea.jpg cannot be read" in refused.err or "coffee.jpg cannot be read" in refused.err
    assert not (tmp_path / "packed").exists()
    done = mlcycle("data", "pack", source, "--out", tmp_path / "packed", "--skip-unreadable")
    assert done.code == 0
    assert "left out a/chelsea.jpg: " in done.err
    assert "left out b/coffee.jpg: missing" in done.err
    assert [each.name for each in read(tmp_path / "packed")] == ["a/astronaut.jpg", "b/grace.jpg", "b/rocket.jpg"]
    index = json.loads((tmp_path / "packed" / "index.json").read_text())
    assert {each["name"] for each in index["left_out"]} == {"a/chelsea.jpg", "b/coffee.jpg"}


class Interrupted(BaseException):
    pass


def interrupt_after(count: int):
    packed = []

    def advance(n: int) -> None:
        packed.extend([0] * n)
        if len(packed) >= count:
            raise Interrupted

    return advance


def test_an_interrupted_packing_is_resumed(source, tmp_path, monkeypatch):
    options = replace(SMALL, skip_unreadable=True)
    order = sorted(read(source), key=lambda each: packing._sort_key(each.name, 0))
    order[0].path.write_bytes(b"not an image")
    pack(read_parts(source), tmp_path / "whole" / "packed", options)
    with pytest.raises(Interrupted):
        pack(read_parts(source), tmp_path / "packed", options, interrupt_after(4))
    assert names_in(tmp_path) == [".packed.part", "set", "whole"]
    inspected = []
    monkeypatch.setattr(packing, "inspect_files", lambda paths: map(inspect_file, inspected.extend(paths) or paths))
    done = pack(read_parts(source), tmp_path / "packed", options)
    assert done.resumed > 0
    assert len(inspected) < 4
    assert tree(tmp_path / "packed") == tree(tmp_path / "whole" / "packed")
    assert names_in(tmp_path) == ["packed", "set", "whole"]


def test_a_packing_that_failed_on_an_image_is_resumed_with_skip_unreadable(source, tmp_path):
    order = sorted(read(source), key=lambda each: packing._sort_key(each.name, 0))
    order[-1].path.write_bytes(b"not an image")
    with pytest.raises(DataError, match="cannot be read"):
        pack(read_parts(source), tmp_path / "packed", SMALL)
    done = pack(read_parts(source), tmp_path / "packed", replace(SMALL, skip_unreadable=True))
    assert done.resumed > 0
    assert [name for name, _ in done.left_out] == [order[-1].name]


def test_a_packing_that_skipped_images_is_not_resumed_without_skip_unreadable(source, tmp_path):
    order = sorted(read(source), key=lambda each: packing._sort_key(each.name, 0))
    order[0].path.write_bytes(b"not an image")
    with pytest.raises(Interrupted):
        pack(read_parts(source), tmp_path / "packed", replace(SMALL, skip_unreadable=True), interrupt_after(5))
    with pytest.raises(DataError, match="cannot be read"):
        pack(read_parts(source), tmp_path / "packed", SMALL)


def test_only_one_process_packs_into_a_folder(source, tmp_path):
    with new_folder.locked(tmp_path / ".packed.part", packing.LOCK, tmp_path / "packed"):
        with pytest.raises(InputError, match="by another process"):
            pack(read_parts(source), tmp_path / "packed", SMALL)
        (tmp_path / ".packed.part" / ".plan.json.x.part").write_text("left by a full disk")
    pack(read_parts(source), tmp_path / "packed", SMALL)
    assert "lock" not in names_in(tmp_path / "packed")
    assert not [name for name in names_in(tmp_path / "packed") if name.endswith((".part", "plan.json"))]


def test_a_draft_with_another_seed_is_discarded(source, tmp_path):
    with pytest.raises(Interrupted):
        pack(read_parts(source), tmp_path / "packed", replace(SMALL, seed=1), interrupt_after(5))
    assert pack(read_parts(source), tmp_path / "packed", SMALL).resumed == 0
    assert fingerprint(read(tmp_path / "packed")) == fingerprint(read(source))


def test_a_draft_of_a_set_with_other_groups_is_discarded(source, tmp_path):
    with pytest.raises(Interrupted):
        pack(read_parts(source), tmp_path / "packed", SMALL, interrupt_after(5))
    regrouped = {"": [replace(each, group="other") for each in read(source)]}
    assert pack(regrouped, tmp_path / "packed", SMALL).resumed == 0
    assert {each.group for each in read(tmp_path / "packed")} == {"other"}


def test_existing_folders_are_not_overwritten(source, tmp_path):
    foreign = tmp_path / ".packed.part"
    foreign.mkdir()
    (foreign / "kept").write_text("kept")
    with pytest.raises(InputError, match="was not written by mlcycle data pack"):
        pack(read_parts(source), tmp_path / "packed", SMALL)
    assert names_in(foreign) == ["kept"]
    (tmp_path / "packed").mkdir()
    with pytest.raises(InputError, match="already exists"):
        pack(read_parts(source), tmp_path / "packed", SMALL)
    assert names_in(tmp_path / "packed") == []


def test_damaged_shards_are_named(source, tmp_path, mlcycle):
    pack(read_parts(source), tmp_path / "packed", SMALL)

    def damaged(change) -> str:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "packed", tmp_path / "copy")
        change(tmp_path / "copy")
        outcome = mlcycle("data", "check", tmp_path / "copy")
        assert outcome.code == 3
        return outcome.err

    def flip(path: Path, place: int) -> None:
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)

    assert mlcycle("data", "check", tmp_path / "packed").code == 0
    assert "packed-000001.tar: No such file" in damaged(lambda folder: (folder / "packed-000001.tar").unlink())
    cut = damaged(lambda folder: (folder / "packed-000001.tar").write_bytes(b"short"))
    assert "packed-000001.tar: it has 5 bytes" in cut
    # Damage in the middle of the pixels, which no decoder notices.
    assert "packed-000000.tar: its bytes are not" in damaged(lambda folder: flip(folder / "packed-000000.tar", 30_000))
    assert "packed-000000.jsonl: its bytes are not" in damaged(lambda folder: flip(folder / "packed-000000.jsonl", 300))


def test_all_commands_that_read_a_set_read_shards(source, tmp_path, mlcycle):
    write_coco(tmp_path / "rotated", [Labelled("x.jpg", coffee(), ((10, 20, 30, 40),))])
    save(coffee(), tmp_path / "rotated" / "images" / "x.jpg", orientation=6)
    pack(read_parts(source), tmp_path / "packed", SMALL)
    pack(read_parts(tmp_path / "rotated"), tmp_path / "rotated-packed", SMALL)
    for one, other in ((source, tmp_path / "packed"), (tmp_path / "rotated", tmp_path / "rotated-packed")):
        first, second = check(read(one), processes=1), check(read(other), processes=1)
        assert first == second
        assert np.array_equal(draw_sheet(read(one), "t"), draw_sheet(read(other), "t"))
        outcomes = [mlcycle("data", "stats", each).out.split("\n", 1)[1] for each in (one, other)]
        assert outcomes[0] == outcomes[1]
    for to in ("coco", "wider", "yolo"):
        for name, origin in (("before", source), ("after", tmp_path / "packed")):
            words = ("--to", to, "--images", "copy", "--out", tmp_path / to / name)
            assert mlcycle("data", "convert", origin, *words).code == 0
        part = splits(tmp_path / to / "before")[0]
        before, after = (read(tmp_path / to / name, part) for name in ("before", "after"))
        assert fingerprint(before) == fingerprint(after)
        assert Image.open(after[0].path).size == (512, 512)


def test_other_commands_neither_link_to_shards_nor_write_them(source, tmp_path, mlcycle):
    pack(read_parts(source), tmp_path / "packed", SMALL)
    linked = mlcycle("data", "convert", tmp_path / "packed", "--to", "coco", "--out", tmp_path / "out")
    assert linked.code == 2
    assert "--images copy" in linked.err
    split = mlcycle("data", "split", tmp_path / "packed", "--out", tmp_path / "out")
    assert split.code == 2
    assert "--to" in split.err
    assert names_in(tmp_path) == ["packed", "set"]


def test_a_member_reads_like_a_file(tmp_path):
    (tmp_path / "shard").write_bytes(b"before" + bytes(range(200)) + b"after")
    member = Member(tmp_path / "shard", "x", 6, 200)
    assert member.read_bytes() == bytes(range(200))
    with member.open() as one, member.open() as other:
        assert one.read(3) == b"\0\1\2"
        assert other.read(1) == b"\0"
        one.seek(-2, 2)
        assert one.read() == bytes((198, 199))
        assert one.read() == b""
    with pytest.raises(FileNotFoundError):
        Member(tmp_path / "none", "x", 0, 1).read_bytes()


def test_a_rotated_tiff_has_the_size_of_its_upright_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    coffee().save(tmp_path / "rotated.tif", exif=exif)
    found = inspect_file(tmp_path / "rotated.tif")
    assert found.size == upright_size(tmp_path / "rotated.tif") == (coffee().height, coffee().width)
    upright = Image.open(tmp_path / "rotated.tif")
    upright.load()
    expected = np.asarray(upright.convert("L").resize((32, 32), Image.Resampling.BOX), int)
    assert np.abs(expected - found.thumbnail_SS).max() <= 1


def test_an_index_of_an_unknown_version_is_refused(source, tmp_path):
    pack(read_parts(source), tmp_path / "packed", SMALL)
    index = tmp_path / "packed" / "index.json"
    index.write_text(index.read_text().replace('"schema_version":2', '"schema_version":3'))
    with pytest.raises(DataError, match="version 3") as problem:
        read(tmp_path / "packed")
    assert "pack the set again" in problem.value.hint


def test_an_index_of_version_1_is_read(source, tmp_path):
    pack(read_parts(source), tmp_path / "packed", SMALL)
    index = tmp_path / "packed" / "index.json"
    before = read(tmp_path / "packed")
    earlier = (
        index.read_text().replace('"schema_version":2', '"schema_version":1').replace('"images":', '"photographs":')
    )
    assert earlier.count('"photographs":') > 1
    index.write_text(earlier)
    assert fingerprint(read(tmp_path / "packed")) == fingerprint(before)
    # A version 2 index with the keys of version 1 is damaged.
    index.write_text(earlier.replace('"schema_version":1', '"schema_version":2'))
    with pytest.raises(DataError, match="is damaged"):
        read(tmp_path / "packed")


def tamper(folder: Path, change) -> None:
    """Changes the labels of a shard's first image and, as an attacker would, their sha256 too."""
    labels = next(folder.glob("*-000000.jsonl"))
    first, *others = labels.read_bytes().splitlines(keepends=True)
    changed = change(json.loads(first))
    data = b"".join([changed if isinstance(changed, bytes) else json.dumps(changed).encode() + b"\n", *others])
    before = hashlib.sha256(labels.read_bytes()).hexdigest()
    labels.write_bytes(data)
    index = folder / "index.json"
    index.write_text(index.read_text().replace(before, hashlib.sha256(data).hexdigest()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line | {"file": "../../x.jpg"}, "is not a file name"),
        (lambda line: line | {"file": "/x.jpg"}, "is not a file name"),
        (lambda line: line | {"offset": -512}, "-512 is not a number"),
        (lambda line: line | {"bytes": 10**15}, "ends beyond packed-000000.tar"),
        (lambda line: line | {"bytes": "many"}, "'many' is not a number"),
        (lambda line: line | {"boxes": [[1, 2, 3]], "ignore": [False]}, "each box needs four numbers"),
        (lambda line: line | {"boxes": [[1, 2, 3, 4]] * 2, "ignore": [False]}, "each box needs four numbers"),
        (lambda line: line | {"boxes": [[10**400, 2, 3, 4]], "ignore": [False]}, "line 1"),
        (lambda line: line | {"landmarks": [[[1, 2]] * 6] * len(line["boxes"] or "1")}, "line 1"),
        (lambda line: line | {"name": 5}, "5 is not a name"),
        (lambda line: line | {"scores": [1] * 9}, "each box needs a score or null"),
        (lambda line: {key: line[key] for key in line if key != "boxes"}, "it has no 'boxes'"),
        (lambda line: b"[]\n", "line 1"),
        (lambda line: b"not JSON\n", "line 1"),
    ],
)
def test_tampered_labels_are_refused_with_their_line(source, tmp_path, change, message):
    pack(read_parts(source), tmp_path / "packed", SMALL)
    tamper(tmp_path / "packed", change)
    with pytest.raises(DataError, match=r"packed-000000\.jsonl: line 1") as problem:
        read(tmp_path / "packed")
    assert message in problem.value.message


@pytest.mark.parametrize("name", ["../packed/packed-000000", "/packed-000000", "..", "a\\b", 5])
def test_an_index_that_leads_out_of_its_folder_is_refused(source, tmp_path, name):
    pack(read_parts(source), tmp_path / "packed", SMALL)
    index = tmp_path / "packed" / "index.json"
    index.write_text(index.read_text().replace('"packed-000000"', json.dumps(name)))
    with pytest.raises(DataError, match="is not a file name"):
        read(tmp_path / "packed")
    parts = [{"name": name, "shards": []}]
    index.write_text(json.dumps({"format": "mlcycle packed shards", "schema_version": 2, "parts": parts}))
    with pytest.raises(DataError, match="is not a file name"):
        splits(tmp_path / "packed")
    index.write_text('{"format":"mlcycle packed shards","schema_version":2,"parts":[5]}')
    with pytest.raises(DataError, match="is damaged"):
        read(tmp_path / "packed")
