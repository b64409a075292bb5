"""Fixtures: a folder in which the tiny model finds faces, a doubtful region, and images without any."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image
from tiny_model import GREEN


@pytest.fixture(scope="session")
def encoded_archive(tmp_path_factory: pytest.TempPathFactory, encoded_album: Path) -> Path:
    from skimage import data

    folder = tmp_path_factory.mktemp("archives") / "archive"
    shutil.copytree(encoded_album, folder)
    bar_HW3 = data.coffee().copy()
    bar_HW3[20:40, 10:20] = bar_HW3[20:40, 100:110] = GREEN
    Image.fromarray(bar_HW3).save(folder / "bar.png")
    return folder


@pytest.fixture
def archive(tmp_path: Path, encoded_archive: Path) -> Path:
    """A folder of the test's own: the album of tiny_album, and bar.png with a doubtful region at 10 20 110 40."""
    return Path(shutil.copytree(encoded_archive, tmp_path / "archive"))
