"""Results as a data set in YOLO's layout, which training and annotation tools open together with its images.

    labels/in/a.txt        a row per face: class cx cy w h, then x y visibility of each landmark, relative to the image
    predictions/in/a.txt   the same rows, each followed by the score
    images.txt             the images with labels, at the paths that these tools expect: ./images/in/a.jpg
    labels.csv             every image, with its status and the names of its files here
    data.yaml              the names of class and landmarks, and the order of landmarks in a mirrored image

Labels have no score, because trainers, importers and mlcycle's own reader refuse an additional column. An image without
a label file would count as one without faces, so failed images are not in images.txt.
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
from mlcycle.csv_rows import Rows
from mlcycle.errors import InputError
from mlcycle.inference.record import Record, readable

# labels.csv is the first: its header identifies the folder as mlcycle's.
CONTENTS = ("labels.csv", "labels", "predictions", "images.txt", "data.yaml")
ELSEWHERE = "choose another place with --out"
COLUMNS = ("input", "part", "status", "error", "faces", "image", "labels")


@contextmanager
def open_labels(folder: Path, *, tree: bool, overwrite: bool = False) -> Iterator[YoloLabels]:
    """Opens a folder for labels; they appear in it when the block ends normally, atomically if the folder is new.

    Other contents of the folder, such as images/, are unchanged. If the block is interrupted, the labels so far stay
    in a folder with the suffix .part.

    Args:
        tree: whether labels keep the folders of their images, or only their names.

    Raises:
        InputError: it has labels and `overwrite` is off, or labels not written by mlcycle, or it cannot be written.
    """
    target = folder.resolve()
    # Within an existing folder, which may be a mount point; else next to the new one.
    part = target / ".mlcycle.part" if target.exists() else target.with_name(target.name + ".part")
    _refuse(folder, overwrite)
    with files.attributed(folder, ELSEWHERE):
        _begin(part, overwrite)
    labels = YoloLabels(part, tree=tree)
    try:
        yield labels
    except BaseException:
        with suppress(InputError):  # the first error is raised
            labels.close()
        raise
    labels.close()
    _refuse(folder, overwrite)
    with files.attributed(folder, ELSEWHERE):
        _move(part, target)


class YoloLabels:
    """Writes the labels of each image into a new folder."""

    def __init__(self, folder: Path, *, tree: bool) -> None:
        self._folder = folder
        self._tree = tree
        self._taken: set[bytes] = set()  # digests, because a million names would fill the memory
        self._landmarks: tuple[str, ...] = ()
        with files.attributed(folder, ELSEWHERE):
            for name in ("labels", "predictions"):
                (folder / name).mkdir()
            # Names here are printable, but inputs may be anything.
            self._list = (folder / "images.txt").open("w", encoding="utf-8", newline="\n")
            self._table = (folder / "labels.csv").open("w", encoding="utf-8", newline="\n")
            self._rows = Rows(self._table)
            self._rows.writerow(COLUMNS)

    def write(self, record: Record) -> None:
        """Writes the labels of an image and its row in labels.csv.

        Raises:
            InputError: they cannot be written.
        """
        with files.attributed(self._folder, ELSEWHERE):
            self._write(record)

    def _write(self, record: Record) -> None:
        self._landmarks = record.landmark_names
        start = (readable(record.input), record.part.number if record.part else None, record.status)
        if record.error:
            self._rows.writerow([*start, record.error[0], None, None, None])
            return
        base, suffix = self._name(record)
        faces = list(zip(rows(record), record.scores_N.tolist(), strict=True))
        self._save(f"labels/{base}.txt", [row for row, _ in faces])
        self._save(f"predictions/{base}.txt", [f"{row} {score:.6f}" for row, score in faces])
        self._list.write(f"./images/{base}{suffix}\n")
        self._rows.writerow([*start, None, len(faces), f"images/{base}{suffix}", f"labels/{base}.txt"])

    def close(self) -> None:
        """Completes the lists with the records so far, and writes data.yaml."""
        with files.attributed(self._folder, ELSEWHERE):
            self._list.close()
            self._table.close()
            (self._folder / "data.yaml").write_text(configuration(self._landmarks), "utf-8")

    def _name(self, record: Record) -> tuple[str, str]:
        """Returns a unique name for the image in this folder: its base name with folders, and its suffix."""
        path = Path("stdin" if record.input == "-" else record.input if self._tree else Path(record.input).name)
        # Tools replace the last images/ of a path by labels/, so a path must have only one.
        *above, last = [part for part in path.parts if part not in ("..", path.anchor, "images")] or ["image"]
        # The labels of x.jpg are a file x.txt, so that no folder may end like one.
        above = [f"{part[:-1]}_" if part.lower().endswith(".txt") else part for part in above]
        name = "".join(each if each.isprintable() else "_" for each in "/".join([*above, last]))
        suffix = Path(name).suffix
        if len(suffix) > files.MAX_SUFFIX_LENGTH:  # not one, but tools would take it for one
            name, suffix = f"{name.removesuffix(suffix)}_{suffix[1:]}", ""
        base = name.removesuffix(suffix)
        if record.part:
            base, suffix = f"{name}.{record.part.number}", ".png"
        end = max(suffix, ".txt", key=len)
        free, number = files.shortened(base, end).removesuffix(end), 1
        while (digest := hashlib.blake2b(free.lower().encode(), digest_size=8).digest()) in self._taken:
            number += 1
            free = files.shortened(base, f"-{number}{end}").removesuffix(end)
        self._taken.add(digest)
        return free, suffix

    def _save(self, name: str, lines: list[str]) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(line + "\n" for line in lines), "ascii", newline="\n")


def rows(record: Record) -> list[str]:
    """Returns for each face "0 cx cy w h", then "x y 2" for each landmark, or "0 0 0" for one outside the image.

    Relative to the upright image's width and height, with six digits: trainers refuse values outside 0 to 1.
    """
    size_2 = np.array([record.width, record.height], np.float64)
    corners_N22 = record.boxes_N4.reshape(-1, 2, 2) / size_2
    centres_N2, sides_N2 = corners_N22.mean(axis=1), corners_N22[:, 1] - corners_N22[:, 0]
    lines = []
    for row, (centre_2, side_2) in enumerate(zip(centres_N2, sides_N2, strict=True)):
        numbers = [f"{value:.6f}" for value in (*centre_2, *side_2)]
        if record.landmarks_N52 is not None:
            numbers += [_point(*point_2) for point_2 in (record.landmarks_N52[row] / size_2).tolist()]
        lines.append(" ".join(["0", *numbers]))
    return lines


def configuration(landmarks: tuple[str, ...]) -> str:
    """Returns the text of data.yaml; its paths are relative to its folder."""
    lines = [
        "# Put the images into images/ with the names in labels.csv.",
        "train: images.txt",
        "val: images.txt  # the same images: split them before training",
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
        raise InputError(f"{folder} is not a folder for labels", "pass a folder")
    existing = [name for name in CONTENTS if os.path.lexists(folder / name)]
    if existing and not overwrite:
        raise InputError(f"{folder / existing[0]} already exists", "choose another folder, or pass --overwrite")
    if existing and not _is_by_mlcycle(folder / "labels.csv"):
        raise InputError(
            f"{folder / existing[0]} was not written by mlcycle, so it is not replaced", "choose another folder"
        )


def _is_by_mlcycle(table: Path) -> bool:
    try:
        with table.open(encoding="utf-8") as file:
            return file.readline().rstrip("\n") == ",".join(COLUMNS)
    except (OSError, UnicodeDecodeError):
        return False


def _begin(part: Path, overwrite: bool) -> None:
    if part.exists():
        if not overwrite:
            raise InputError(f"{part} was left by an interrupted run", "remove it, or pass --overwrite")
        if not set(os.listdir(part)) <= set(CONTENTS):  # noqa: PTH208 (only names are needed)
            raise InputError(f"{part} contains other files", "remove it, or choose another folder")
        shutil.rmtree(part)
    part.mkdir(parents=True)


def _move(part: Path, target: Path) -> None:
    if not target.exists():
        part.rename(target)
        return
    for name in CONTENTS:
        old = target / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        (part / name).rename(old)
    part.rmdir()
