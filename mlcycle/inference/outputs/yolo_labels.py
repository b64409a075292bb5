"""Results as a data set in YOLO's layout, which training and annotation tools open when the images lie beside it.

    labels/in/a.txt        a row a face: class cx cy w h, then x y visibility of each landmark, in shares of the sides
    predictions/in/a.txt   the same rows, each with the score behind
    images.txt        the images that have labels, where these tools look for them: ./images/in/a.jpg
    labels.csv             every image, with what became of it and the names it has here
    data.yaml              the names of class and landmarks, and what becomes of these in a mirror

A label has no score, since trainers, importers and mlcycle's own reader refuse a row with a column more. An image
without a label file would count as one without faces; so one that failed is kept out of images.txt.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from mlcycle import files
from mlcycle.errors import InputError
from mlcycle.inference.outputs.csv_rows import Rows
from mlcycle.inference.record import Record, readable

# labels.csv comes first: it says that the others are ours.
CONTENTS = ("labels.csv", "labels", "predictions", "images.txt", "data.yaml")
ELSEWHERE = "choose another place with --out"
COLUMNS = ("input", "part", "status", "error", "faces", "image", "labels")


@contextmanager
def opened(folder: Path, *, tree: bool, overwrite: bool = False) -> Iterator[YoloLabels]:
    """Opens a folder for labels; they appear in it when the block has ended well, and all at once where it is new.

    What else the folder holds, such as images/, stays as it is. If the block is broken off, what was written so far
    stays in a folder that ends in .part.

    Args:
        tree: whether labels keep the folders of their images, or their names alone.

    Raises:
        InputError: there are labels and `overwrite` is off, or others than mlcycle's, or they cannot be written.
    """
    place = folder.resolve()
    # In a folder that exists, which may be a disk of its own, and else beside the one that is to be.
    part = place / ".mlcycle.part" if place.exists() else place.with_name(place.name + ".part")
    _refuse(folder, overwrite)
    with files.attributed(folder, ELSEWHERE):
        _begin(part, overwrite)
    labels = YoloLabels(part, tree=tree)
    try:
        yield labels
    except BaseException:
        with suppress(InputError):  # what was raised first counts
            labels.close()
        raise
    labels.close()
    _refuse(folder, overwrite)
    with files.attributed(folder, ELSEWHERE):
        _take_place(part, place)


class YoloLabels:
    """Writes the labels of each image into a folder that was made for them."""

    def __init__(self, folder: Path, *, tree: bool) -> None:
        self._folder = folder
        self._tree = tree
        self._taken: set[bytes] = set()  # digests, since a million names would fill the memory
        self._landmarks: tuple[str, ...] = ()
        with files.attributed(folder, ELSEWHERE):
            for name in ("labels", "predictions"):
                (folder / name).mkdir()
            # Names hold nothing here that is not printable, but inputs are what they are.
            self._list = (folder / "images.txt").open("w", encoding="utf-8", newline="\n")
            self._table = (folder / "labels.csv").open("w", encoding="utf-8", newline="\n")
            self._rows = Rows(self._table)
            self._rows.writerow(COLUMNS)

    def write(self, record: Record) -> None:
        """Writes the labels of an image, and its row.

        Raises:
            InputError: they cannot be written.
        """
        with files.attributed(self._folder, ELSEWHERE):
            self._write(record)

    def _write(self, record: Record) -> None:
        self._landmarks = record.landmark_names
        known = (readable(record.input), record.part.number if record.part else None, record.status)
        if record.error:
            self._rows.writerow([*known, record.error[0], None, None, None])
            return
        stem, suffix = self._name(record)
        faces = list(zip(rows(record), record.scores_N.tolist(), strict=True))
        self._save(f"labels/{stem}.txt", [row for row, _ in faces])
        self._save(f"predictions/{stem}.txt", [f"{row} {score:.6f}" for row, score in faces])
        self._list.write(f"./images/{stem}{suffix}\n")
        self._rows.writerow([*known, None, len(faces), f"images/{stem}{suffix}", f"labels/{stem}.txt"])

    def close(self) -> None:
        """Ends the lists, and says what the labels mean; what was written so far is whole."""
        with files.attributed(self._folder, ELSEWHERE):
            self._list.close()
            self._table.close()
            (self._folder / "data.yaml").write_text(configuration(self._landmarks), "utf-8")

    def _name(self, record: Record) -> tuple[str, str]:
        """Returns what the image is called here, without and with its suffix, which no other is."""
        path = Path("stdin" if record.input == "-" else record.input if self._tree else Path(record.input).name)
        # Tools put labels/ for the last images/ of a path, and so there may be one alone.
        parts = [part for part in path.parts if part not in ("..", path.anchor, "images")] or ["image"]
        name = "".join(each if each.isprintable() else "_" for each in "/".join(parts))
        suffix = Path(name).suffix
        stem = name.removesuffix(suffix)
        if record.part:
            stem, suffix = f"{name}.{record.part.number}", ".png"
        free, number = stem, 1
        while (digest := hashlib.blake2b(free.lower().encode(), digest_size=8).digest()) in self._taken:
            number += 1
            free = f"{stem}-{number}"
        self._taken.add(digest)
        return free, suffix

    def _save(self, name: str, lines: list[str]) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(line + "\n" for line in lines), "ascii", newline="\n")


def rows(record: Record) -> list[str]:
    """Returns "0 cx cy w h" of each face, then "x y 2" of each landmark, or "0 0 0" of one outside the image.

    Shares of the upright image's width and height, to six digits: trainers refuse what is not within 0 to 1.
    """
    size_2 = np.array([record.width, record.height], np.float64)
    corners_N22 = record.boxes_N4.reshape(-1, 2, 2) / size_2
    middles_N2, sides_N2 = corners_N22.mean(axis=1), corners_N22[:, 1] - corners_N22[:, 0]
    lines = []
    for row, (middle_2, side_2) in enumerate(zip(middles_N2, sides_N2, strict=True)):
        numbers = [f"{value:.6f}" for value in (*middle_2, *side_2)]
        if record.landmarks_N52 is not None:
            numbers += [_point(*share_2) for share_2 in (record.landmarks_N52[row] / size_2).tolist()]
        lines.append(" ".join(["0", *numbers]))
    return lines


def configuration(landmarks: tuple[str, ...]) -> str:
    """Returns the text of data.yaml; paths in it are meant from its own folder."""
    lines = [
        "# Put the images into images/, under the names that labels.csv gives them.",
        "train: images.txt",
        "val: images.txt  # the same ones: divide them before you train",
        "names: {0: face}",
    ]
    if landmarks:
        mirrored = [name.replace("left", "\0").replace("right", "left").replace("\0", "right") for name in landmarks]
        flip = [landmarks.index(name) if name in landmarks else own for own, name in enumerate(mirrored)]
        lines += [
            f"kpt_shape: [{len(landmarks)}, 3]",
            f"flip_idx: {flip}",
            f"kpt_names: {{0: [{', '.join(landmarks)}]}}",
        ]
    return "\n".join(lines) + "\n"


def _point(x: float, y: float) -> str:
    return f"{x:.6f} {y:.6f} 2" if 0 <= x <= 1 and 0 <= y <= 1 else "0 0 0"


def _refuse(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is no folder to put labels into", "name a folder")
    there = [name for name in CONTENTS if os.path.lexists(folder / name)]
    if there and not overwrite:
        raise InputError(f"{folder / there[0]} exists already", "name another folder, or say --overwrite")
    if there and not _is_ours(folder / "labels.csv"):
        raise InputError(f"{folder / there[0]} was not written by mlcycle, and stays", "name another folder")


def _is_ours(table: Path) -> bool:
    try:
        with table.open(encoding="utf-8") as file:
            return file.readline().rstrip("\n") == ",".join(COLUMNS)
    except (OSError, UnicodeDecodeError):
        return False


def _begin(part: Path, overwrite: bool) -> None:
    if part.exists():
        if not overwrite:
            raise InputError(f"{part} is left of a run that was broken off", "remove it, or say --overwrite")
        if not set(os.listdir(part)) <= set(CONTENTS):  # noqa: PTH208 (names are all it takes)
            raise InputError(f"{part} is in the way", "remove it, or name another folder")
        shutil.rmtree(part)
    part.mkdir(parents=True)


def _take_place(part: Path, place: Path) -> None:
    if not place.exists():
        part.rename(place)
        return
    for name in CONTENTS:
        old = place / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        (part / name).rename(old)
    part.rmdir()
