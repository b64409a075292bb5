"""The gate of `freeze`: both pipelines over real photographs. It is here since no package below may see both."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.errors import GateError, InputError
from mlcycle.inference.sources import named_files
from mlcycle.workflows.parity import Difference, Tolerance, Ways, check

if TYPE_CHECKING:
    from PIL import Image

    from mlcycle.datasets.member import PhotoPath
    from mlcycle.exporting.gates.agreement import Agreement

ORIENTATION_TAG = 0x0112


def images_for(run: Path, named: Sequence[Path], count: int) -> list[PhotoPath]:
    """Returns the photo files to compare on: those named, or held-out ones of the run.

    Raises:
        InputError: there are none.
    """
    files: list[PhotoPath] = [*named_files(named)] if named else [each for each in _held_out(run) if _is_there(each)]
    files = files[:count]
    if not files:
        raise InputError("there is no photograph to compare both ways on", "name some with --photos FOLDER")
    return files


def compare_pipelines(run: Path, candidate: Path, photos: Sequence[PhotoPath]) -> Difference:
    """Compares both ways over the photographs, and over one of them stored in all eight EXIF orientations.

    If the file allows large JPEGs to be decoded at a reduced scale, it must find the same faces on them as in full.

    Raises:
        GateError: they part, or no photograph can be read.
    """
    with tempfile.TemporaryDirectory(prefix="mlcycle-gate-") as scratch:
        files = _as_files(photos, Path(scratch))
        turned = _in_all_orientations(files, Path(scratch))
        difference = check(Ways((run, candidate)), [*files, *turned], Tolerance())
        reduced_and_whole_agree(candidate, files, Path(scratch))
        return difference


def reduced_and_whole_agree(candidate: Path, photos: Sequence[Path], folder: Path) -> Agreement | None:
    """Compares what a file finds on large JPEGs decoded at a reduced scale and in full; None where it allows none.

    The JPEGs are the photographs side by side, nine at a time, and each enlarged: the first have the detail of real
    large photographs, the others large faces. They are written below `folder`.

    Raises:
        GateError: too many faces are found one way only, or none at all.
    """
    from dataclasses import replace

    from mlcycle.exporting.gates.agreement import compare
    from mlcycle.inference.detect import DEFAULT, load_detector
    from mlcycle.inference.record import Source

    detector = load_detector(candidate, provider="cpu")
    if detector.contract.reduced_jpeg is None:
        return None
    side = int(2 * detector.contract.reduced_jpeg * detector.contract.resize.long_side) + 64
    threshold = detector.contract.thresholds["balanced"]
    options = replace(DEFAULT, threshold=threshold / 2)
    whole = replace(options, reduced_jpeg=False)
    agreement = compare(
        lambda photo: detector.look([Source(photo, photo.name)], options)[0],
        lambda photo: detector.look([Source(photo, photo.name)], whole)[0],
        threshold,
        _large(photos, side, folder),
    )
    if not agreement.good:
        raise GateError(
            f"large JPEGs decoded at a reduced scale give other faces than in full: {agreement}",
            "forbid it in the recipe, inference.reduced_jpeg=null, or raise the number; nothing was written",
        )
    return agreement


def _held_out(run: Path) -> list[PhotoPath]:
    from mlcycle.training.data.training_data import gather
    from mlcycle.training.recipes.recipe_file import load
    from mlcycle.training.run.run_folder import RECIPE, RunFolder

    RunFolder(run).must_exist()
    return [photograph.path for photograph in gather(load(run / RECIPE).data).held_out]


def _is_there(path: PhotoPath) -> bool:
    from mlcycle.datasets.member import Member

    return isinstance(path, Member) or path.is_file()


def _as_files(photos: Sequence[PhotoPath], folder: Path) -> list[Path]:
    """Both ways begin with a file: what lies in a shard is taken out, into `folder`."""
    from mlcycle.datasets.member import Member

    files = []
    for number, photo in enumerate(photos):
        if isinstance(photo, Member):
            file = folder / f"{number}-{photo.name}"
            file.write_bytes(photo.read_bytes())
            files.append(file)
        else:
            files.append(photo)
    return files


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


def _large(photos: Sequence[Path], side: int, folder: Path, most: int = 9) -> list[Path]:
    """Writes JPEGs whose long side has `side` pixels: nine photographs side by side, and each of them enlarged."""
    from PIL import Image

    pictures = [picture for photo in photos[:most] if (picture := _readable(photo)) is not None]
    if not pictures:
        raise GateError("none of the photographs can be read, so nothing can be compared", "name others with --photos")
    tile = -(-side // 3)
    sheet = Image.new("RGB", (3 * tile, 3 * tile))
    for number in range(9):
        picture = pictures[number % len(pictures)]
        scale = tile / max(picture.size)
        size = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
        sheet.paste(picture.resize(size, Image.Resampling.LANCZOS), (number % 3 * tile, number // 3 * tile))
    large = [sheet]
    for picture in pictures:
        scale = side / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        large.append(picture.resize(size, Image.Resampling.LANCZOS))
    paths = [folder / f"large-{number}.jpg" for number in range(len(large))]
    for picture, path in zip(large, paths, strict=True):
        picture.save(path, quality=92)
    return paths


def _readable(photo: Path) -> Image.Image | None:
    from PIL import Image

    try:
        return Image.open(photo).convert("RGB")
    except Exception:  # whatever is wrong with it, the two ways will say it
        return None


def _first_readable(photos: Sequence[Path]) -> Image.Image:
    for photo in photos:
        if (picture := _readable(photo)) is not None:
            return picture
    raise GateError("none of the photographs can be read, so nothing can be compared", "name others with --photos")
