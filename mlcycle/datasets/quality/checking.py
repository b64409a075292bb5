"""Conductor of `mlcycle data check`: is a labelled set fit for training and evaluation?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mlcycle.datasets.image_header import SIDEWAYS
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.datasets.quality.boxes import HEIGHT_EDGES, count_heights, faulty_boxes, repeated_boxes
from mlcycle.datasets.quality.findings import ERRORS, WARNINGS, CheckReport, Finding
from mlcycle.datasets.quality.image_file import ImageFile, inspect_files
from mlcycle.datasets.quality.perceptual_hash import near_duplicates

Images = Sequence[LabelledImage]
ORDER = [*ERRORS, *WARNINGS]


def check(
    images: Images,
    against: Images = (),
    *,
    advance: Callable[[int], None] = lambda n: None,
    processes: int | None = None,
) -> CheckReport:
    """Decodes every image completely and compares it with its labels and with the other images.

    Args:
        images: the set to check.
        against: another set that must share no image with the first; its own faults are not reported.
        advance: called with 1 after each image of both sets.
        processes: number of processes; None takes one for each core.
    """
    both = [*images, *against]
    files = []
    for file in inspect_files([image.path for image in both], processes):
        files.append(file)
        advance(1)
    with np.errstate(invalid="ignore"):  # non-finite boxes are reported
        findings = [
            finding
            for image, file in zip(images, files, strict=False)
            for finding in (*_of_file(image, file), *_of_labels(image, file))
        ]
    findings += _of_pairs(both, files, len(images))
    findings.sort(key=lambda finding: (ORDER.index(finding.kind), finding.image))
    return _report(images, findings)


def _of_file(image: LabelledImage, file: ImageFile) -> Iterator[Finding]:
    if file.problem == "missing":
        yield Finding("missing", image.name, str(image.path))
    elif file.problem:
        yield Finding("corrupt", image.name, file.problem)
    elif file.orientation != 1:
        yield Finding("rotated", image.name, f"EXIF orientation {file.orientation}")


def _of_labels(image: LabelledImage, file: ImageFile) -> Iterator[Finding]:
    size = None if file.problem else file.size
    if size and image.size not in (None, size):
        yield Finding("size", image.name, _other_size(image, file))
        size = None
    for kind, _, detail in faulty_boxes(image.boxes_N4, image.ignore_N, size):
        yield Finding(kind, image.name, detail)
    for detail in repeated_boxes(image.boxes_N4, image.ignore_N):
        yield Finding("duplicate box", image.name, detail)


def _other_size(image: LabelledImage, file: ImageFile) -> str:
    stated, found = image.size or (0, 0), file.size
    text = f"the labels state {stated[0]} x {stated[1]}, the image has {found[0]} x {found[1]}"
    if file.orientation in SIDEWAYS and stated == found[::-1]:
        text += " when upright: the labels may refer to the image as stored"
    return text


def _of_pairs(both: Images, files: Sequence[ImageFile], own: int) -> Iterator[Finding]:
    """Yields exact and near duplicates; a pair with one image in each set is leakage."""
    by_digest = defaultdict(list)
    for index, file in enumerate(files):
        if file.sha256 and not file.problem:
            by_digest[file.sha256].append(index)
    # Of k copies only the first in each set is compared with others: else they would give k² pairs.
    distinct = [index for group in by_digest.values() for index in _first_of_each_set(group, own)]
    for group in by_digest.values():
        yield from _exact(both, group, own)
    thumbnails_NSS = np.array([files[index].thumbnail_SS for index in distinct], np.uint8).reshape(
        len(distinct), 32, 32
    )
    named = set()
    for first, second in near_duplicates(thumbnails_NSS):
        i, j = sorted((distinct[first], distinct[second]))
        if i >= own or files[i].sha256 == files[j].sha256:
            continue
        kind, here, other = ("leakage", i, j) if j >= own else ("near duplicate", j, i)
        # Each image of a long series of near duplicates is named once, with the first one that it resembles.
        if (kind, here) not in named:
            named.add((kind, here))
            yield Finding(kind, both[here].name, f"is a near duplicate of {both[other].name}", both[other].name)


def _first_of_each_set(group: list[int], own: int) -> list[int]:
    ours = [index for index in group if index < own]
    theirs = [index for index in group if index >= own]
    return ours[:1] + theirs[:1]


def _exact(both: Images, group: list[int], own: int) -> Iterator[Finding]:
    ours = [index for index in group if index < own]
    theirs = [index for index in group if index >= own]
    for index in ours[1:]:
        name = both[ours[0]].name
        yield Finding("duplicate", both[index].name, f"has the same bytes as {name}", name)
    for index in ours if theirs else []:
        name = both[theirs[0]].name
        yield Finding("leakage", both[index].name, f"has the same bytes as {name}", name)


def _report(images: Images, findings: list[Finding]) -> CheckReport:
    ignored = sum(int(image.ignore_N.sum()) for image in images)
    faces_N4 = np.concatenate([np.zeros((0, 4), np.float32), *(image.boxes_N4[~image.ignore_N] for image in images)])
    with_landmarks = sum(
        int(np.isfinite(image.landmarks_N52[~image.ignore_N]).all(axis=(1, 2)).sum()) for image in images
    )
    return CheckReport(
        images=len(images),
        faces=len(faces_N4),
        ignored=ignored,
        with_landmarks=with_landmarks,
        without_faces=sum(bool(image.ignore_N.all()) for image in images),
        height_edges=list(HEIGHT_EDGES),
        height_counts=count_heights(faces_N4),
        findings=findings,
    )
