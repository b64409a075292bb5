"""The gate of `freeze`: both pipelines over real images. It is here since no package below may see both."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlcycle.errors import GateError, InputError
from mlcycle.inference.sources import named_files
from mlcycle.workflows.parity import Difference, Pipelines, Tolerance, check

if TYPE_CHECKING:
    from PIL import Image

    from mlcycle.datasets.member import ImagePath
    from mlcycle.exporting.gates.agreement import Agreement

ORIENTATION_TAG = 0x0112


def images_for(run: Path, named: Sequence[Path], count: int) -> list[ImagePath]:
    """Returns the image files to compare on: those named, or some of the validation set of the run.

    Raises:
        InputError: there are none.
    """
    files: list[ImagePath] = [*named_files(named)] if named else [each for each in _val(run) if _is_there(each)]
    files = files[:count]
    if not files:
        raise InputError("no images to compare both pipelines on", "pass some with --images FOLDER")
    return files


def compare_pipelines(run: Path, candidate: Path, images: Sequence[ImagePath]) -> Difference:
    """Compares both pipelines on the images, and over one of them stored in all eight EXIF orientations.

    If the file allows large JPEGs to be decoded at a reduced scale, it must find the same faces on them as in full.

    Raises:
        GateError: they part, or no image can be read.
    """
    with tempfile.TemporaryDirectory(prefix="mlcycle-gate-") as scratch:
        files = _as_files(images, Path(scratch))
        turned = _in_all_orientations(files, Path(scratch))
        difference = check(Pipelines((run, candidate)), [*files, *turned], Tolerance())
        reduced_and_whole_agree(candidate, files, Path(scratch))
        return difference


def reduced_and_whole_agree(candidate: Path, images: Sequence[Path], folder: Path) -> Agreement | None:
    """Compares what a file finds on large JPEGs decoded at a reduced scale and in full; None where it allows none.

    The JPEGs are the images side by side, nine at a time, and each enlarged: the first have the detail of real
    large images, the others large faces. They are written below `folder`.

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
        lambda image: detector.detect_batch([Source(image, image.name)], options)[0],
        lambda image: detector.detect_batch([Source(image, image.name)], whole)[0],
        threshold,
        _large(images, side, folder),
    )
    if not agreement.good:
        raise GateError(
            f"large JPEGs decoded at a reduced scale give other faces than in full: {agreement}",
            "set inference.reduced_jpeg in the run's recipe.yaml to null or to a larger number; nothing was written",
        )
    return agreement


def _val(run: Path) -> list[ImagePath]:
    from mlcycle.training.data.training_data import load_training_data
    from mlcycle.training.recipes.recipe_file import load
    from mlcycle.training.run.run_folder import RECIPE, RunFolder

    RunFolder(run).must_exist()
    return [image.path for image in load_training_data(load(run / RECIPE).data).val]


def _is_there(path: ImagePath) -> bool:
    from mlcycle.datasets.member import Member

    return isinstance(path, Member) or path.is_file()


def _as_files(images: Sequence[ImagePath], folder: Path) -> list[Path]:
    """Both pipelines begin with a file, so an image in a shard is extracted into `folder`."""
    from mlcycle.datasets.member import Member

    files = []
    for number, image in enumerate(images):
        if isinstance(image, Member):
            file = folder / f"{number}-{image.name}"
            file.write_bytes(image.read_bytes())
            files.append(file)
        else:
            files.append(image)
    return files


def _in_all_orientations(images: Sequence[Path], folder: Path) -> list[Path]:
    from PIL import Image

    image = _first_readable(images)
    paths = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        paths.append(folder / f"orientation-{orientation}.jpg")
        image.save(paths[-1], quality=95, exif=exif)
    return paths


def _large(files: Sequence[Path], side: int, folder: Path, most: int = 9) -> list[Path]:
    """Writes JPEGs whose long side has `side` pixels: nine images side by side, and each of them enlarged."""
    from PIL import Image

    images = [image for path in files[:most] if (image := _readable(path)) is not None]
    if not images:
        raise GateError("none of the images can be read, so nothing can be compared", "pass others with --images")
    tile = -(-side // 3)
    sheet = Image.new("RGB", (3 * tile, 3 * tile))
    for number in range(9):
        image = images[number % len(images)]
        scale = tile / max(image.size)
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        sheet.paste(image.resize(size, Image.Resampling.LANCZOS), (number % 3 * tile, number // 3 * tile))
    large = [sheet]
    for image in images:
        scale = side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        large.append(image.resize(size, Image.Resampling.LANCZOS))
    paths = [folder / f"large-{number}.jpg" for number in range(len(large))]
    for image, path in zip(large, paths, strict=True):
        image.save(path, quality=92)
    return paths


def _readable(image: Path) -> Image.Image | None:
    from PIL import Image

    try:
        return Image.open(image).convert("RGB")
    except Exception:  # whatever is wrong with it, the two ways will say it
        return None


def _first_readable(files: Sequence[Path]) -> Image.Image:
    for file in files:
        if (image := _readable(file)) is not None:
            return image
    raise GateError("none of the images can be read, so nothing can be compared", "pass others with --images")
