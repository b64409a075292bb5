"""Conductor of `mlcycle train data check`: is a labelled set fit to train or measure on?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mlcycle.datasets.image_header import SIDEWAYS
from mlcycle.datasets.labelled_image import LabelledPhotograph
from mlcycle.datasets.quality.boxes import HEIGHT_EDGES, count_heights, faulty_boxes, repeated_boxes
from mlcycle.datasets.quality.findings import ERRORS, WARNINGS, Finding, Report
from mlcycle.datasets.quality.image_file import PhotoFile, inspect_files
from mlcycle.datasets.quality.perceptual_hash import near_duplicates

Photographs = Sequence[LabelledPhotograph]
ORDER = [*ERRORS, *WARNINGS]


def check(
    photographs: Photographs,
    against: Photographs = (),
    *,
    advance: Callable[[int], None] = lambda n: None,
    processes: int | None = None,
) -> Report:
    """Decodes every photograph to its end and compares it with its labels and with the others.

    Args:
        photographs: the set to check.
        against: another set that must have no photograph in common with it; its own faults are not reported.
        advance: called with 1 after each photograph of both sets.
        processes: how many; as many as there are cores if left out.
    """
    both = [*photographs, *against]
    files = []
    for file in inspect_files([photograph.path for photograph in both], processes):
        files.append(file)
        advance(1)
    with np.errstate(invalid="ignore"):  # what is no number is found, and not computed with
        findings = [
            finding
            for photograph, file in zip(photographs, files, strict=False)
            for finding in (*_of_file(photograph, file), *_of_labels(photograph, file))
        ]
    findings += _of_pairs(both, files, len(photographs))
    findings.sort(key=lambda finding: (ORDER.index(finding.kind), finding.photograph))
    return _report(photographs, findings)


def _of_file(photograph: LabelledPhotograph, file: PhotoFile) -> Iterator[Finding]:
    if file.problem == "missing":
        yield Finding("missing", photograph.name, str(photograph.path))
    elif file.problem:
        yield Finding("corrupt", photograph.name, file.problem)
    elif file.orientation != 1:
        yield Finding("turned", photograph.name, f"EXIF orientation {file.orientation}")


def _of_labels(photograph: LabelledPhotograph, file: PhotoFile) -> Iterator[Finding]:
    size = None if file.problem else file.size
    if size and photograph.size not in (None, size):
        yield Finding("size", photograph.name, _other_size(photograph, file))
        size = None
    for kind, _, detail in faulty_boxes(photograph.boxes_N4, photograph.ignore_N, size):
        yield Finding(kind, photograph.name, detail)
    for detail in repeated_boxes(photograph.boxes_N4, photograph.ignore_N):
        yield Finding("box twice", photograph.name, detail)


def _other_size(photograph: LabelledPhotograph, file: PhotoFile) -> str:
    stated, found = photograph.size or (0, 0), file.size
    text = f"the labels say {stated[0]} x {stated[1]}, the photograph has {found[0]} x {found[1]}"
    if file.orientation in SIDEWAYS and stated == found[::-1]:
        text += " when upright: the labels may be for the photograph as stored"
    return text


def _of_pairs(both: Photographs, files: Sequence[PhotoFile], own: int) -> Iterator[Finding]:
    """Pairs with the same bytes, and pairs that look the same; those with one in each set are leakage."""
    same = defaultdict(list)
    for index, file in enumerate(files):
        if file.sha256 and not file.problem:
            same[file.sha256].append(index)
    # Of k copies only the first in each set is compared with others: else they would give k² pairs.
    shown = [index for group in same.values() for index in _first_of_each_set(group, own)]
    for group in same.values():
        yield from _exact(both, group, own)
    thumbnails_NSS = np.array([files[index].thumbnail_SS for index in shown], np.uint8).reshape(len(shown), 32, 32)
    named = set()
    for first, second in near_duplicates(thumbnails_NSS):
        i, j = sorted((shown[first], shown[second]))
        if i >= own or files[i].sha256 == files[j].sha256:
            continue
        kind, here, other = ("leakage", i, j) if j >= own else ("near duplicate", j, i)
        # Of a whole film of alike pictures each is named once, with the first that it resembles.
        if (kind, here) not in named:
            named.add((kind, here))
            yield Finding(kind, both[here].name, f"looks the same as {both[other].name}", both[other].name)


def _first_of_each_set(group: list[int], own: int) -> list[int]:
    ours = [index for index in group if index < own]
    theirs = [index for index in group if index >= own]
    return ours[:1] + theirs[:1]


def _exact(both: Photographs, group: list[int], own: int) -> Iterator[Finding]:
    ours = [index for index in group if index < own]
    theirs = [index for index in group if index >= own]
    for index in ours[1:]:
        name = both[ours[0]].name
        yield Finding("duplicate", both[index].name, f"has the same bytes as {name}", name)
    for index in ours if theirs else []:
        name = both[theirs[0]].name
        yield Finding("leakage", both[index].name, f"has the same bytes as {name}", name)


def _report(photographs: Photographs, findings: list[Finding]) -> Report:
    ignored = sum(int(photograph.ignore_N.sum()) for photograph in photographs)
    faces_N4 = np.concatenate(
        [np.zeros((0, 4), np.float32), *(photograph.boxes_N4[~photograph.ignore_N] for photograph in photographs)]
    )
    pointed = sum(int(np.isfinite(photograph.landmarks_N52).all(axis=(1, 2)).sum()) for photograph in photographs)
    return Report(
        photographs=len(photographs),
        faces=len(faces_N4),
        ignored=ignored,
        with_landmarks=pointed,
        without_faces=sum(bool(photograph.ignore_N.all()) for photograph in photographs),
        height_edges=list(HEIGHT_EDGES),
        height_counts=count_heights(faces_N4),
        findings=findings,
    )
