"""The share of deliberately corrupted boxes that are in the first tenth of the list of `mlcycle data suspects`.

    python benchmarks/suspects.py MODEL --data PATH[,SPLIT] ... [--trained-on PATH[,SPLIT] ...] [--images 1000]

Needs only mlcycle. `--data` names labelled sets that the model was not trained on; `--trained-on` names sets it was
trained on, of which only a recipe's validation images (`--val-fraction`, 0.05) count as not trained on. Images not
trained on are taken first, up to `--images`, then images trained on. The results are for all images, and for each of
the two kinds.

A share of the boxes (`--share`, 0.05) is corrupted, a quarter in each kind: deleted; shifted by a third of their sides
in a random direction; enlarged by a factor of 1.6; and invented, a box of the same size where no label is. Landmarks
are left out, so that only boxes count. The list is cut after a tenth of the number of labels. A corrupted box is found
if its label is in the list, or, if it was deleted, shifted or resized, a row "no label" whose box overlaps the true box
with an intersection over union of at least .5. `--seeds` repeats the measurement with other boxes.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlcycle.datasets import image_header, reading
from mlcycle.datasets.labelled_image import LabelledImage
from mlcycle.evaluation import matching
from mlcycle.inference.batch.worker_threads import cores
from mlcycle.inference.detect import Detector, load_detector
from mlcycle.workflows import suspects
from mlcycle.workflows.predictions import Prediction, predict_all

KINDS = ("deleted", "shifted", "resized", "invented")
FIRST, TRIES = 0.1, 100
Sized = list[tuple[LabelledImage, tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class CorruptedBox:
    """One corrupted box: how, the number of its image, the box before and after (x1 y1 x2 y2 in pixels)."""

    kind: str
    image: int
    true_4: np.ndarray | None
    wrong_4: np.ndarray | None


def corrupt(images: Sized, share: float, seed: int) -> tuple[list[LabelledImage], list[CorruptedBox]]:
    """Returns the images with wrong labels, and the boxes that were corrupted."""
    random = np.random.default_rng(seed)
    faces = [(at, int(row)) for at, (each, _) in enumerate(images) for row in np.flatnonzero(~each.ignore_N)]
    quarter = round(share * len(faces) / len(KINDS))
    selected = random.permutation(len(faces))[: quarter * len(KINDS)]
    boxes = [each.boxes_N4.astype(float) for each, _ in images]
    kept = [np.ones(len(each), bool) for each in boxes]
    added: list[list[np.ndarray]] = [[] for _ in images]
    corrupted = []
    for number, each in enumerate(selected):
        at, row = faces[each]
        kind, true_4 = KINDS[number // quarter], boxes[at][row].copy()
        wrong_4 = None
        if kind == "deleted":
            kept[at][row] = False
        elif kind == "invented":
            wrong_4 = _invent(true_4, images[at][1], np.concatenate([boxes[at], *added[at]]), random)
            if wrong_4 is None:
                continue
            added[at].append(wrong_4[None])
        else:
            wrong_4 = boxes[at][row] = _wrong(kind, true_4, random)
        corrupted.append(CorruptedBox(kind, at, None if kind == "invented" else true_4, wrong_4))
    return [_labelled(each, *labels) for (each, _), *labels in zip(images, boxes, kept, added, strict=True)], corrupted


def _wrong(kind: str, box_4: np.ndarray, random: np.random.Generator) -> np.ndarray:
    sides_2, angle = box_4[2:] - box_4[:2], random.uniform(0, 2 * np.pi)
    if kind == "shifted":
        return box_4 + np.tile(sides_2 / 3 * [np.cos(angle), np.sin(angle)], 2)
    return box_4 + np.concatenate([-sides_2, sides_2]) * 0.3


def _invent(
    like_4: np.ndarray, size: tuple[int, int], labels_N4: np.ndarray, random: np.random.Generator
) -> np.ndarray | None:
    sides_2 = like_4[2:] - like_4[:2]
    space_2 = np.array(size) - sides_2
    for _ in range(TRIES if (space_2 > 0).all() else 0):
        corner_2 = random.random(2) * space_2
        box_4 = np.concatenate([corner_2, corner_2 + sides_2])
        if not matching.intersections(box_4[None], labels_N4).any():
            return box_4
    return None


def _labelled(image: LabelledImage, boxes_N4: np.ndarray, kept_N: np.ndarray, added: list[np.ndarray]) -> LabelledImage:
    boxes_N4 = np.concatenate([boxes_N4[kept_N], *added])
    return replace(
        image,
        boxes_N4=boxes_N4.astype(np.float32),
        ignore_N=np.append(image.ignore_N[kept_N], np.zeros(len(added), bool)),
        landmarks_N52=np.full((len(boxes_N4), 5, 2), np.nan, np.float32),
    )


def is_found(listed: Sequence[suspects.Suspect], images: Sequence[LabelledImage], corrupted: CorruptedBox) -> bool:
    """Returns whether a row of the list is about a corrupted box."""
    return any(_is_about(each, corrupted) for each in listed if each.image.name == images[corrupted.image].name)


def _is_about(suspect: suspects.Suspect, corrupted: CorruptedBox) -> bool:
    if suspect.labelled_4 is not None:
        return corrupted.wrong_4 is not None and bool(np.allclose(suspect.labelled_4, corrupted.wrong_4, atol=0.01))
    if corrupted.true_4 is None or suspect.suggested_4 is None:
        return False
    overlap = matching.overlaps(suspect.suggested_4[None].astype(float), corrupted.true_4[None], np.zeros(1, bool))
    return float(overlap[0, 0]) >= 0.5


def gather(data: list[str], trained_on: list[str], val_fraction: float) -> tuple[list[LabelledImage], ...]:
    """Returns the images that the model was not trained on, and those that it was trained on."""
    new, known = [_with_path_as_name(each) for name in data for each in _read(name)], []
    for image in (each for name in trained_on for each in _read(name)):
        (new if _share_of(image.name) < val_fraction else known).append(_with_path_as_name(image))
    return new, known


def _read(named: str) -> list[LabelledImage]:
    path, _, split = named.partition(",")
    return reading.read(path, split)


def _with_path_as_name(image: LabelledImage) -> LabelledImage:
    """Names an image by its path: names are unique within a set only."""
    return replace(image, name=str(image.path))


def _share_of(name: str) -> float:
    """Maps a name to 0 up to 1, as recipes do to choose validation images."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64


def measure(detector: Detector, images: Sized, predictions: list[Prediction], arguments: argparse.Namespace) -> str:
    """Returns how many corrupted boxes of each kind are found, over all seeds."""
    hits, of, labels, rows = Counter[str](), Counter[str](), 0, 0
    for seed in range(arguments.seeds):
        wrong, corrupted = corrupt(images, arguments.share, seed)
        ranked = suspects.rank(wrong, predictions, detector, arguments.long_side)
        labels, rows = ranked.labels, round(ranked.labels * FIRST)
        for each in corrupted:
            of[each.kind] += 1
            hits[each.kind] += is_found(ranked.listed[:rows], wrong, each)
    by_kind = ", ".join(f"{kind} {hits[kind] / max(1, of[kind]):.0%} of {of[kind]}" for kind in KINDS)
    share = sum(hits.values()) / max(1, sum(of.values()))
    return f"{len(images):,} images, {labels:,} labels: {share:.1%} found in the first {rows:,} rows ({by_kind})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", nargs="*", default=[], metavar="PATH[,SPLIT]")
    parser.add_argument("--trained-on", nargs="*", default=[], metavar="PATH[,SPLIT]")
    parser.add_argument("--val-fraction", type=float, default=0.05)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--long-side", type=int, help="resize images to this long side in pixels; 0: original size")
    parser.add_argument("--workers", type=int, default=0, help="number of threads; 0: one for each core")
    arguments = parser.parse_args()
    detector = load_detector(arguments.model, provider="cpu", threads=1)
    random = np.random.default_rng(0)
    new, known = gather(arguments.data, arguments.trained_on, arguments.val_fraction)
    new = [new[each] for each in random.permutation(len(new))[: arguments.images]]
    known = [known[each] for each in random.permutation(len(known))[: arguments.images - len(new)]]
    sized = [(each, image_header.upright_size(each.path)) for each in (*new, *known)]
    workers = min(arguments.workers or cores(), len(sized))
    predictions = list(predict_all(detector, [each.path for each, _ in sized], arguments.long_side, workers))
    parts = {"all": slice(None), "not trained on": slice(len(new)), "trained on": slice(len(new), None)}
    for name, part in parts.items():
        if sized[part] and (name == "all" or (new and known)):
            print(f"{name}: {measure(detector, sized[part], predictions[part], arguments)}", flush=True)


if __name__ == "__main__":
    main()
