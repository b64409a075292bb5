"""The gate of `mlcycle freeze`: both ways over real photographs. It stands at the door: no room may see both."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.errors import GateError, InputError
from mlcycle.parity import Difference, Tolerance, Ways, check

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION_TAG = 0x0112


def photographs_for(run: Path, named: Sequence[Path], count: int) -> list[Path]:
    """Returns the photo files to compare on: those named, or held-out ones of the run.

    Raises:
        InputError: there are none.
    """
    files = files_of(named) if named else [file for file in _held_out(run) if file.is_file()]
    files = files[:count]
    if not files:
        raise InputError("there is no photograph to compare both ways on", "name some with --photos FOLDER")
    return files


def files_of(named: Sequence[Path]) -> list[Path]:
    """Returns the photo files named, and those below the folders named, sorted.

    Raises:
        InputError: one of them is not there.
    """
    from mlcycle.inference.sources import from_folder

    files: list[Path] = []
    for each in named:
        if not each.exists():
            raise InputError(f"there is no photograph or folder {each}", "check --photos")
        files += [source.path for source in from_folder(each)] if each.is_dir() else [each]
    return files


def two_ways_meet(run: Path, candidate: Path, photos: Sequence[Path]) -> Difference:
    """Compares both ways over the photographs, and over one of them stored in all eight EXIF orientations.

    Raises:
        GateError: they part, or no photograph can be read.
    """
    with tempfile.TemporaryDirectory(prefix="mlcycle-gate-") as scratch:
        turned = _in_all_orientations(photos, Path(scratch))
        return check(Ways((run, candidate)), [*photos, *turned], Tolerance())


def _held_out(run: Path) -> list[Path]:
    from mlcycle.training.material import gather
    from mlcycle.training.recipe_file import load
    from mlcycle.training.run_folder import RECIPE, RunFolder

    RunFolder(run).must_exist()
    return [photograph.path for photograph in gather(load(run / RECIPE).data).held_out]


def _in_all_orientations(photos: Sequence[Path], folder: Path) -> list[Path]:
    from PIL import Image

    picture = _first_readable(photos)
    paths = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        paths.append(folder / f"orientation-{orientation}.jpg")
        picture.save(paths[-1], quality=95, exif=exif)
    return paths


def _first_readable(photos: Sequence[Path]) -> Image.Image:
    from PIL import Image

    for photo in photos:
        try:
            return Image.open(photo).convert("RGB")
        except Exception:  # whatever is wrong with it, the two ways will say it
            continue
    raise GateError("none of the photographs can be read, so nothing can be compared", "name others with --photos")
