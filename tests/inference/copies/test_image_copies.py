"""Copies of images: their paths, and no metadata."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mlcycle.inference.copies.image_copies import save, with_copy_paths
from mlcycle.inference.record import Part, Source


def test_copies_have_different_names(tmp_path: Path) -> None:
    keys = ["a.jpg", "A.JPG", "a.jpg", "a.tif", "a.tif.png", "in/a.jpg", "noend", "../../up.jpg", "/abs/x.png"]
    sources = with_copy_paths([Source(Path(key), key) for key in keys], {"annotated": tmp_path}, keep_tree=True)
    names = [source.copies["annotated"].relative_to(tmp_path).as_posix() for source in sources]
    assert names == [
        "a.jpg",
        "A-2.JPG",
        "a-3.jpg",
        "a.tif.png",
        "a.tif-2.png",
        "in/a.jpg",
        "noend.png",
        "up.jpg",
        "abs/x.png",
    ]


def test_a_folder_of_crops_has_the_name_of_the_image(tmp_path: Path) -> None:
    keys = ["a.jpg", "A.JPG", "a.tif", "in/a.jpg", "noend", "noend", "../../up.jpg"]
    given = [*(Source(Path(key), key) for key in keys), Source(Path("a.tif"), "a.tif", part=Part("page", 2))]
    sources = with_copy_paths(given, {"cropped": tmp_path}, keep_tree=True)
    names = [source.copies["cropped"].relative_to(tmp_path).as_posix() for source in sources]
    assert names == ["a.jpg", "A-2.JPG", "a.tif", "in/a.jpg", "noend", "noend-2", "up.jpg", "a.tif.2"]


def test_a_copy_has_no_metadata(tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    Image.new("RGB", (8, 8)).save(source, exif=exif, comment=b"secret", icc_profile=b"profile")
    with Image.open(source) as image:
        image.load()
        assert {"exif", "comment", "icc_profile"} <= set(image.info)
        for name in ("copy.jpg", "copy.png"):
            save(image, tmp_path / name)
            with Image.open(tmp_path / name) as copy:
                copy.load()
                assert not dict(copy.getexif())
                assert not {"exif", "comment", "icc_profile", "xmp"} & set(copy.info)


def test_nothing_is_overwritten_and_no_temporary_file_remains(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    image = Image.new("RGB", (8, 8))
    with pytest.raises(FileExistsError):
        save(image, path)
    assert path.read_bytes() == b"mine"
    save(image, path, overwrite=True)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]
